# SPDX-License-Identifier: GPL-3.0-or-later
"""Clips on their way between GLB and FBX: each a take of its own, with its name, length and rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RATES = (24, 25, 30, 48, 50, 60, 120)
"""Frames a second that keys which are not at an even rate may lie on."""
USUAL_RATE = 30.0
SLOWEST, FASTEST = 10.0, 240.0
"""Rates that keys are taken to have been sampled at; sparser ones are keys that somebody has set."""
MOST_SECONDS = 600.0
"""Longest clip that is carried."""
MOST_FRAMES = 60_000
"""Frames of all clips that are carried; clips after them are left out."""
_SLACK = 2e-3
"""Seconds times rate: the share of a frame that a key may lie beside a frame."""
_STILL = 1e-6


@dataclass
class Clip:
    """A clip in Blender: what of it moves which object or set of shape keys."""

    name: str
    parts: list[tuple[Any, Any, Any]] = field(default_factory=list)
    """Whom it moves, the action, the action's slot."""

    def times(self, fps: float) -> Any:
        """Return all moments at which something is keyed, in seconds."""
        frames = [
            _read(curve, "co")[:, 0] for _, action, slot in self.parts for curve in _curves(action, slot)
        ]
        return np.unique(np.round(np.concatenate([np.empty(0), *frames]) / fps, 5))


def rate_of(times: Any, usual: float = USUAL_RATE) -> float:
    """Return the rate at which a clip was sampled, or one on whose frames its keys lie."""
    steps = np.diff(times)
    if len(steps):
        rate = len(steps) / float(times[-1] - times[0])
        rate = float(round(rate)) if abs(rate - round(rate)) < 0.005 * rate else rate
        even = np.abs((times - times[0]) * rate - np.arange(len(times))).max()
        if even < 0.1 and SLOWEST <= rate <= FASTEST:
            return rate
        for known in (usual, *RATES):
            frames = (times - times[0]) * known
            if np.abs(frames - np.round(frames)).max() < known * _SLACK:
                return float(known)
    return float(usual)


def moments(times: Any, rate: float) -> Any:
    """Return the moments to sample: every frame from the first key, and the last key."""
    length = float(times[-1] - times[0])
    count = math.floor(length * rate + 0.01)
    frames = times[0] + np.arange(count + 1) / rate
    if length - count / rate > 0.01 / rate:
        frames = np.append(frames, times[-1])
    return frames


def common_rate(rates: list[float]) -> float:
    """Return a rate whose frames hold those of all rates, when there is one that is not too high."""
    if not rates:
        return USUAL_RATE
    if all(rate == int(rate) for rate in rates):
        shared = math.lcm(*(int(rate) for rate in rates))
        if shared <= FASTEST:
            return float(shared)
    return max(rates)


def within_limits(clips: list[Clip], fps: float, usual: float = USUAL_RATE) -> tuple[list[Clip], list[str]]:
    """Return the clips that can be carried, and the names of those that are left out."""
    kept, left_out, frames = [], [], 0.0
    for clip in clips:
        times = clip.times(fps)
        whole = len(times) and np.isfinite(times).all() and times[-1] - times[0] <= MOST_SECONDS
        count = float(times[-1] - times[0]) * rate_of(times, usual) + 1 if whole else 0.0
        if whole and frames + count <= MOST_FRAMES:
            kept.append(clip)
            frames += count
        else:
            left_out.append(clip.name)
    return kept, left_out


# -- GLB to FBX


def clips_of_tracks(bpy: Any) -> list[Clip]:
    """Take the clips that the glTF importer has put on tracks, in the order of the file."""
    found: dict[str, Clip] = {}
    for owner in _owners(bpy):
        if owner.animation_data is None:
            continue
        for track in reversed(list(owner.animation_data.nla_tracks)):
            for strip in list(track.strips)[:1]:
                clip = found.setdefault(track.name, Clip(track.name))
                clip.parts.append((owner, strip.action, strip.action_slot))
        owner.animation_data_clear()
    order = [track.name for track in getattr(bpy.context.scene, "gltf2_animation_tracks", ())]
    return sorted(found.values(), key=lambda clip: order.index(clip.name) if clip.name in order else -1)


@contextmanager
def exported(bpy: Any, clips: list[Clip], poses: dict[tuple[str, str], Any]) -> Iterator[None]:
    """Let the FBX exporter write these clips while the block runs.

    Its own ways tie names to objects and all clips to one rate of whole frames, so its place is taken.
    ``poses`` holds how each bone stands (its basis) where a clip does not move it.
    """
    from io_scene_fbx import export_fbx_bin as exporter

    theirs = exporter.fbx_animations
    scene = bpy.context.scene
    before = scene.render.fps, scene.render.fps_base

    def animations(scene_data: Any) -> tuple[list[Any], set[Any], float, float]:
        rates = [rate_of(clip.times(before[0])) for clip in clips]
        shared = common_rate(rates)
        baker = _Baker(bpy, scene_data, clips, poses, shared)
        stacks = [stack for clip, rate in zip(clips, rates, strict=True) if (stack := baker.bake(clip, rate))]
        # From here on the exporter counts in frames of the file's rate.
        scene.render.fps = round(shared)
        scene.render.fps_base = round(shared) / shared
        animated = {(key, name) for stack in stacks for key, (_, nodes) in stack[1].items() for name in nodes}
        return stacks, animated, 0.0, max((stack[5] for stack in stacks), default=0.0)

    exporter.fbx_animations = animations
    try:
        yield
    finally:
        exporter.fbx_animations = theirs
        scene.render.fps, scene.render.fps_base = before


class _Baker:
    """Samples clips with Blender and makes the exporter's curves of them."""

    def __init__(
        self, bpy: Any, scene_data: Any, clips: list[Clip], poses: dict[tuple[str, str], Any], rate: float
    ) -> None:
        self._scene = bpy.context.scene
        self._data = scene_data
        self._poses = poses
        self._rate = rate
        owners = {part[0] for clip in clips for part in clip.parts}
        self._owners = owners
        self._armatures = [owner for owner in owners if getattr(owner, "pose", None)]
        self._movers = [
            mover
            for mover in scene_data.objects
            if not mover.parented_to_armature
            and (mover.armature.bdata in owners if mover.is_bone else mover.bdata in owners)
        ]

    def bake(self, clip: Clip, rate: float) -> tuple[Any, ...] | None:
        """Return the exporter's stack of a clip; None when it moves nothing."""
        from io_scene_fbx import fbx_utils
        from io_scene_fbx.export_fbx_bin import AnimationCurveNodeWrapper

        fps = self._scene.render.fps
        times = moments(clip.times(fps), rate)
        ticks = np.round((times - times[0]) * fbx_utils.FBX_KTIME).astype(np.int64)
        reference = clip.parts[0][1]
        key = (self._scene, reference)
        with self._played(clip):
            places, keys = self._sample(times * fps)
        nodes = []
        for mover, values in zip(self._movers, places, strict=True):
            rest = mover.fbx_object_tx(self._data)
            defaults = (rest[0], tuple(math.degrees(angle) for angle in rest[1]), rest[2])
            kinds = ("LCL_TRANSLATION", "LCL_ROTATION", "LCL_SCALING")
            for kind, default, rows in zip(kinds, defaults, np.split(values, 3), strict=True):
                node = AnimationCurveNodeWrapper(mover.key, kind, True, False, default)
                still = np.abs(rows - rows[:, :1]).max() <= _STILL * max(1.0, float(np.abs(rows).max()))
                chosen = [0, -1] if still and len(ticks) > 1 else slice(None)
                node.set_keyframes(ticks[chosen], rows[:, chosen])
                nodes.append(node)
        for (channel, mesh, shape), row in zip(self._shapes(), keys, strict=True):
            node = AnimationCurveNodeWrapper(channel, "SHAPE_KEY", True, False, (0.0,))
            node.add_group(mesh, shape.name, shape.name, (shape.name,))
            node.set_keyframes(ticks, row * 100.0)
            nodes.append(node)
        stack: dict[Any, Any] = {}
        for node in nodes:
            for owner, group_key, group, name, label in node.get_final_data(*key, True):
                stack.setdefault(owner, ("", {}))[1][name] = (group_key, group, label)
        if not stack:
            return None
        length = float(times[-1] - times[0]) * self._rate
        return (
            fbx_utils.get_blender_anim_stack_key(*key),
            stack,
            fbx_utils.get_blender_anim_layer_key(*key),
            clip.name.encode(),
            0.0,
            length,
        )

    @contextmanager
    def _played(self, clip: Clip) -> Iterator[None]:
        """Let the scene play a clip, and nothing else."""
        bases = {bone: bone.matrix_basis.copy() for owner in self._armatures for bone in owner.pose.bones}
        for bone in bases:
            bone.matrix_basis = self._poses.get((bone.id_data.name, bone.name), bases[bone])
        for owner, action, slot in clip.parts:
            owner.animation_data_create()
            owner.animation_data.action = action
            owner.animation_data.action_slot = slot
        try:
            yield
        finally:
            for owner, _, _ in clip.parts:
                owner.animation_data_clear()
            for bone, basis in bases.items():
                bone.matrix_basis = basis
            self._scene.frame_set(0)

    def _sample(self, frames: Any) -> tuple[Any, Any]:
        """Return places, turns (degrees) and scales ``(m, 9, t)``, and shape keys' values ``(s, t)``."""
        shapes = self._shapes()
        turns = [mover.fbx_object_tx(self._data)[1] for mover in self._movers]
        places = np.empty((len(self._movers), 9, len(frames)))
        keys = np.empty((len(shapes), len(frames)))
        for column, frame in enumerate(frames.tolist()):
            whole = math.floor(frame + 1e-6)
            self._scene.frame_set(whole, subframe=min(max(frame - whole, 0.0), 0.999999))
            for row, mover in enumerate(self._movers):
                place, turn, scale, _, _ = mover.fbx_object_tx(self._data, rot_euler_compat=turns[row])
                turns[row] = turn
                places[row, :3, column], places[row, 3:6, column] = place, turn
                places[row, 6:, column] = scale
            for row, (_, _, shape) in enumerate(shapes):
                keys[row, column] = shape.value
        places[:, 3:6] = np.degrees(places[:, 3:6])
        return places, keys

    def _shapes(self) -> list[tuple[str, str, Any]]:
        return [
            (channel[0], mesh_key, shape)
            for mesh, (mesh_key, _, shapes) in self._data.data_deformers_shape.items()
            if mesh.shape_keys in self._owners
            for shape, channel in shapes.items()
        ]


# -- FBX in


@contextmanager
def imported(bpy: Any, clips: list[Clip], rates: list[float]) -> Iterator[None]:
    """Take the clips that the FBX importer finds while the block runs, and the rate of the file."""
    from io_scene_fbx import import_fbx as importer

    theirs = importer.blen_read_animations

    def read(layer: Any, stack_template: Any, stacks: Any, scene: Any, *more: Any) -> None:
        # The importer places keys by the whole rate, whatever its base is.
        rates.append(scene.render.fps / scene.render.fps_base)
        scene.render.fps_base = 1.0
        for number, stack in stacks.items():
            theirs(layer, stack_template, {number: stack}, scene, *more)
            clip = Clip(importer.elem_name_ensure_class(stack[0][0], b"AnimStack"))
            for owner in _owners(bpy):
                data = owner.animation_data
                if data is not None and data.action is not None:
                    clip.parts.append((owner, data.action, data.action_slot))
                    data.action = None
            if clip.parts:
                clips.append(clip)

    importer.blen_read_animations = read
    try:
        yield
    finally:
        importer.blen_read_animations = theirs


def put_on_tracks(bpy: Any, clips: list[Clip], usual: float) -> None:
    """Lay the clips out for the glTF exporter, at a rate that fits all of them."""
    scene = bpy.context.scene
    fps = scene.render.fps
    rate = common_rate([rate_of(clip.times(fps), usual) for clip in clips])
    whole = max(1, round(rate))
    for clip in clips:
        first = float(clip.times(fps)[0])
        for owner, action, slot in clip.parts:
            for curve in _curves(action, slot):
                _move_keys(curve, first * fps, whole / fps)
            owner.animation_data_create()
            track = owner.animation_data.nla_tracks.new()
            track.name = clip.name
            strip = track.strips.new(clip.name, 0, action)
            strip.action_slot = slot
            # The exporter samples whole frames: the last one holds the last key.
            length = max(1, math.ceil(action.frame_range[1] - 0.01))
            strip.action_frame_start, strip.action_frame_end = 0.0, float(length)
            strip.frame_start, strip.frame_end = 0.0, float(length)
            strip.extrapolation = "HOLD"
    scene.render.fps, scene.render.fps_base = whole, 1.0


def _move_keys(curve: Any, first: float, factor: float) -> None:
    for name in ("co", "handle_left", "handle_right"):
        points = _read(curve, name)
        points[:, 0] = (points[:, 0] - first) * factor
        curve.keyframe_points.foreach_set(name, points.astype(np.float32).ravel())
    curve.update()


def _read(curve: Any, name: str) -> Any:
    """Return a property of a curve's keys, ``(k, 2)``: frame and value."""
    points = np.empty(2 * len(curve.keyframe_points), np.float32)
    curve.keyframe_points.foreach_get(name, points)
    return points.reshape(-1, 2).astype(np.float64)


def told(clips: list[Clip], fps: float, usual: float) -> list[dict[str, Any]]:
    """Tell of each clip its name, length in seconds, count of frames and rate."""
    facts = []
    for clip in clips:
        times = clip.times(fps)
        length = float(times[-1] - times[0]) if len(times) else 0.0
        facts.append(
            {
                "name": clip.name,
                "seconds": round(length, 4),
                "frames": len(times),
                "fps": round(rate_of(times, usual), 3),
            }
        )
    return facts


def _curves(action: Any, slot: Any) -> list[Any]:
    return [
        curve
        for layer in action.layers
        for strip in layer.strips
        if (bag := strip.channelbag(slot)) is not None
        for curve in bag.fcurves
    ]


def _owners(bpy: Any) -> list[Any]:
    return [*bpy.data.objects, *bpy.data.shape_keys]
