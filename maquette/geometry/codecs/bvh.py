"""Read BVH motion capture.

Biovision Hierarchy, after Meredith and Maddock, *Motion capture file formats explained* (2001).
Offsets are taken as metres: only proportions matter to who uses the motion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Clip, Skeleton

MAX_BYTES = 64 * 1024 * 1024
MAX_JOINTS = 1000
_CHANNELS = {f"{axis}{kind}".lower(): (kind, axis) for kind in ("position", "rotation") for axis in "XYZ"}
_WORDS = re.compile(r"\S+")
_SLOWEST, _FASTEST = 1.0, 1000.0


class UnreadableMotion(MeshError):
    """The file is no motion that can be read; the message says why."""


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[tuple[str, str]] = field(default_factory=list)


def read_bvh(data: bytes, *, max_seconds: float, name: str = "clip") -> tuple[Skeleton, Clip]:
    """Read the skeleton and the motion of a BVH file.

    The rest pose is that of the offsets. End sites become joints named after their parents. Raises
    :class:`UnreadableMotion` for files that break the format, for channels that are no numbers, for
    rates under 1 or over 1000 frames per second, and for more than ``max_seconds``.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableMotion(f"The BVH file is larger than {MAX_BYTES >> 20} MiB.")
    head, mark, tail = data.decode("utf-8", "replace").partition("MOTION")
    if not head.lstrip().upper().startswith("HIERARCHY") or not mark:
        raise UnreadableMotion("The file is no BVH file: HIERARCHY or MOTION is missing.")
    joints = _Hierarchy(head).read()
    rows, step = _motion(tail, sum(len(joint.channels) for joint in joints), max_seconds)
    skeleton = _skeleton(joints)
    return skeleton, _clip(skeleton, joints, rows, step, name)


class _Hierarchy:
    def __init__(self, text: str) -> None:
        self._lines: Iterator[list[str]] = (_WORDS.findall(line) for line in text.splitlines())
        self._joints: list[_Joint] = []

    def read(self) -> list[_Joint]:
        """Return the joints, parents first."""
        open_joints: list[int] = []
        awaited = -1
        for words in self._lines:
            if not words or words[0].upper() == "HIERARCHY":
                continue
            key = words[0].upper()
            if key in ("ROOT", "JOINT", "END"):
                awaited = self._begin(key, words, open_joints)
            elif key == "{":
                if awaited < 0:
                    raise UnreadableMotion("The BVH file has a bracket without a joint.")
                open_joints.append(awaited)
                awaited = -1
            elif key == "}" and open_joints:
                open_joints.pop()
            elif key in ("OFFSET", "CHANNELS") and open_joints:
                self._fill(self._joints[open_joints[-1]], key, words[1:])
            else:
                raise UnreadableMotion(
                    f"The hierarchy of the BVH file has a line that makes no sense: {key[:40]}."
                )
        if open_joints or not self._joints:
            raise UnreadableMotion("The hierarchy of the BVH file is not complete.")
        return self._joints

    def _begin(self, key: str, words: list[str], open_joints: list[int]) -> int:
        if (key == "ROOT") != (not open_joints):
            raise UnreadableMotion("A joint of the BVH file stands outside of the hierarchy.")
        if key == "ROOT" and self._joints:
            raise UnreadableMotion("The BVH file has several skeletons; only one can be read.")
        parent = open_joints[-1] if open_joints else -1
        name = f"{self._joints[parent].name}_end" if key == "END" else " ".join(words[1:])
        if not name:
            raise UnreadableMotion("A joint of the BVH file has no name.")
        taken = {joint.name for joint in self._joints}
        fresh, copy = name, 2
        while fresh in taken:
            fresh, copy = f"{name}_{copy}", copy + 1
        self._joints.append(_Joint(fresh, parent))
        if len(self._joints) > MAX_JOINTS:
            raise UnreadableMotion(f"The BVH file has more than {MAX_JOINTS} joints.")
        return len(self._joints) - 1

    def _fill(self, joint: _Joint, key: str, words: list[str]) -> None:
        if key == "OFFSET":
            values = _numbers(words)
            if len(values) != 3:
                raise UnreadableMotion(f"The offset of {joint.name} is no point.")
            joint.offset = tuple(values)
            return
        channels = [_CHANNELS.get(word.lower()) for word in words[1:]]
        if not words or not words[0].isdigit() or int(words[0]) != len(channels) or None in channels:
            raise UnreadableMotion(f"The channels of {joint.name} make no sense.")
        joint.channels = [channel for channel in channels if channel is not None]
        if len(set(joint.channels)) != len(joint.channels):
            raise UnreadableMotion(f"{joint.name} has one channel twice.")


def _numbers(words: list[str]) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise UnreadableMotion("The BVH file has words where numbers belong.") from error
    if not np.isfinite(values).all() or (np.abs(values) > 1e9).any():
        raise UnreadableMotion("The BVH file has values that are no numbers to compute with.")
    return values


def _motion(text: str, width: int, max_seconds: float) -> tuple[NDArray[np.float64], float]:
    """Return the channels ``(t, c)`` and the seconds between frames."""
    found = re.match(r"\s*Frames:\s*(\S+)\s*Frame\s+Time:\s*(\S+)(?:\s|$)", text, re.IGNORECASE)
    if found is None:
        raise UnreadableMotion("The BVH file does not tell its frames and their time.")
    if not found[1].isdigit() or int(found[1]) < 1:
        raise UnreadableMotion("The BVH file has no frames.")
    frames, (step,) = int(found[1]), _numbers([found[2]])
    if not 1.0 / _FASTEST <= step <= 1.0 / _SLOWEST:
        rate = "no" if step <= 0 else f"{1.0 / step:.4g}"
        raise UnreadableMotion(
            f"The BVH file has {rate} frames per second; {_SLOWEST:g} to {_FASTEST:g} can be read."
        )
    if (frames - 1) * step > max_seconds:
        raise UnreadableMotion(
            f"The motion is {(frames - 1) * step:.0f} seconds long; at most {max_seconds:.0f} can be used."
        )
    if not width:
        raise UnreadableMotion("No joint of the BVH file has a channel.")
    values = _numbers(text[found.end() :].split())
    if len(values) != frames * width:
        raise UnreadableMotion(
            f"The BVH file tells of {frames} frames of {width} values, but holds {len(values)} values."
        )
    return np.array(values).reshape(frames, width), step


def _skeleton(joints: list[_Joint]) -> Skeleton:
    rest = np.tile(np.eye(4), (len(joints), 1, 1))
    for number, joint in enumerate(joints):
        above = rest[joint.parent, :3, 3] if joint.parent >= 0 else 0.0
        rest[number, :3, 3] = np.asarray(joint.offset) + above
    parents = np.array([joint.parent for joint in joints], np.int32)
    return Skeleton(tuple(joint.name for joint in joints), parents, rest)


def _clip(
    skeleton: Skeleton, joints: list[_Joint], rows: NDArray[np.float64], step: float, name: str
) -> Clip:
    rotations = np.zeros((len(rows), len(joints), 4))
    rotations[..., 3] = 1.0
    translations = {}
    column = 0
    for number, joint in enumerate(joints):
        values = rows[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        turns = [place for place, (kind, _) in enumerate(joint.channels) if kind == "rotation"]
        if turns:
            # The channels are turned by in their order, each about the axes that those before have turned.
            axes = "".join(joint.channels[place][1] for place in turns)
            rotations[:, number] = _euler(axes, values[:, turns])
        if any(kind == "position" for kind, _ in joint.channels):
            path = np.tile(np.asarray(joint.offset), (len(rows), 1))
            for place, (kind, axis) in enumerate(joint.channels):
                if kind == "position":
                    path[:, "XYZ".index(axis)] = values[:, place]
            translations[number] = path
    times = np.arange(len(rows), dtype=np.float64) * step
    return Clip(name, times, rotations, translations)


def _euler(axes: str, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = Rotation.identity(len(degrees))
    for place, axis in enumerate(axes):
        about = np.eye(3)["XYZ".index(axis)]
        whole = whole * Rotation.from_rotvec(np.radians(degrees[:, place, None]) * about)
    return np.asarray(whole.as_quat())
