# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write FBX with Blender, one job a process: see README.md beside this file."""

from __future__ import annotations

import ctypes
import json
import math
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import fbx_clips

LIBRARIES = "libgl1 libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libxext6"
_PR_SET_PDEATHSIG = 1


def check(bpy: Any) -> dict[str, Any]:
    """Tell the version of Blender."""
    print(f"Blender {bpy.app.version_string} reads and writes FBX")
    return {}


def to_glb(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Read an FBX file and write all of it as GLB, clips included."""
    clips, rate = _read_fbx(bpy, source)
    if not any(_meshes(bpy)):
        raise RuntimeError("The FBX file holds no mesh.")
    facts = _write_glb(bpy, target, clips, rate)
    return facts | {"pictures_missing": sum(not image.has_data for image in bpy.data.images)}


def motion_to_glb(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Read the skeleton and the clips of an FBX file, with a mesh or without, and write them as GLB."""
    clips, rate = _read_fbx(bpy, source)
    armatures = [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]
    if not armatures:
        raise RuntimeError("The FBX file holds no skeleton.")
    if not clips:
        raise RuntimeError("The FBX file holds no clip.")
    for mesh in list(_meshes(bpy)):
        bpy.data.objects.remove(mesh)
    for armature in armatures:
        _wear_a_point(bpy, armature)
    facts = _write_glb(bpy, target, clips, rate)
    if not facts["clips"]:
        raise RuntimeError(f"The clips are longer than {fbx_clips.MOST_SECONDS:.0f} seconds.")
    _forget_meshes(Path(target))
    return facts


def _write_glb(bpy: Any, target: str, clips: list[fbx_clips.Clip], rate: float) -> dict[str, Any]:
    fps = bpy.context.scene.render.fps
    clips, left_out = fbx_clips.within_limits(clips, fps, rate)
    facts = {"clips": fbx_clips.told(clips, fps, rate), "clips_left_out": left_out}
    if clips:
        fbx_clips.put_on_tracks(bpy, clips, rate)
    _say(
        bpy.ops.export_scene.gltf(
            filepath=target,
            export_format="GLB",
            export_yup=True,
            export_animations=bool(clips),
            export_animation_mode="NLA_TRACKS",
            export_merge_animation="NLA_TRACK",
            export_optimize_disable_viewport=True,
            export_image_format="AUTO",
        )
    )
    return facts


def to_fbx(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Write the FBX file of a GLB, clips included; tell what is in it when it is read again."""
    _say(
        bpy.ops.import_scene.gltf(
            filepath=source, disable_bone_shape=True, merge_vertices=False, bone_heuristic="BLENDER"
        )
    )
    clips, left_out = fbx_clips.within_limits(fbx_clips.clips_of_tracks(bpy), bpy.context.scene.render.fps)
    poses = _to_rest(bpy)
    with fbx_clips.exported(bpy, clips, poses):
        _say(
            bpy.ops.export_scene.fbx(
                filepath=target,
                path_mode="COPY",
                embed_textures=True,
                add_leaf_bones=False,
                use_armature_deform_only=False,
                bake_anim=bool(clips),
                object_types={"ARMATURE", "MESH", "EMPTY", "OTHER"},
            )
        )
    found, rate = _read_fbx(bpy, target)
    fps = bpy.context.scene.render.fps
    return _facts(bpy) | {"clips": fbx_clips.told(found, fps, rate), "fps": rate, "clips_left_out": left_out}


def weights(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Write an FBX file's vertices (Y up, metres) and their weights as arrays."""
    import numpy as np

    _read_fbx(bpy, source)
    bones = [bone.name for _, bone in _bones(bpy)]
    rows, points = [], []
    for thing in _meshes(bpy):
        groups = {group.index: group.name for group in thing.vertex_groups}
        for vertex in thing.data.vertices:
            points.append(_y_up(thing.matrix_world @ vertex.co))
            row = [0.0] * len(bones)
            for group in vertex.groups:
                if groups[group.group] in bones:
                    row[bones.index(groups[group.group])] += group.weight
            rows.append(row)
    np.savez(target, vertices=np.array(points), weights=np.array(rows), bones=np.array(bones))
    return _facts(bpy)


def poses(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Write an FBX file's vertices (Y up, metres) at rest and at five moments of each clip, as arrays."""
    import numpy as np

    clips, rate = _read_fbx(bpy, source)
    scene = bpy.context.scene
    found = {"rest": np.concatenate([_points(bpy, mesh) for mesh in _meshes(bpy)])}
    for number, clip in enumerate(clips):
        for owner, action, slot in clip.parts:
            owner.animation_data_create()
            owner.animation_data.action, owner.animation_data.action_slot = action, slot
        times = clip.times(scene.render.fps)
        moments = np.linspace(times[0], times[-1], 5)
        shapes = []
        for frame in (moments * scene.render.fps).tolist():
            scene.frame_set(math.floor(frame), subframe=frame - math.floor(frame))
            shapes.append(np.concatenate([_points(bpy, mesh) for mesh in _meshes(bpy)]))
        found[f"times_{number}"], found[f"clip_{number}"] = moments - times[0], np.array(shapes)
    np.savez(target, **found)
    return _facts(bpy) | {"clips": fbx_clips.told(clips, scene.render.fps, rate), "fps": rate}


def _points(bpy: Any, thing: Any) -> Any:
    import numpy as np

    seen = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.array([_y_up(seen.matrix_world @ vertex.co) for vertex in seen.data.vertices])


def _read_fbx(bpy: Any, source: str) -> tuple[list[fbx_clips.Clip], float]:
    """Read a file into an empty scene at rest; return its clips and its rate in frames a second."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    clips: list[fbx_clips.Clip] = []
    rates: list[float] = []
    with fbx_clips.imported(bpy, clips, rates):
        _say(
            bpy.ops.import_scene.fbx(
                filepath=source, ignore_leaf_bones=False, automatic_bone_orientation=False, anim_offset=0.0
            )
        )
    return clips, min(max(rates[0], fbx_clips.SLOWEST), fbx_clips.FASTEST) if rates else fbx_clips.USUAL_RATE


def _to_rest(bpy: Any) -> dict[tuple[str, str], Any]:
    """Let nothing move and all stand as it was bound; return how the bones stood before."""
    poses = {}
    for thing in bpy.data.objects:
        thing.animation_data_clear()
        if thing.type == "ARMATURE":
            for bone in thing.pose.bones:
                poses[thing.name, bone.name] = bone.matrix_basis.copy()
                bone.matrix_basis.identity()
    bpy.context.view_layer.update()
    return poses


def _wear_a_point(bpy: Any, armature: Any) -> None:
    """Bind a triangle without extent to an armature: glTF tells joints by the skins they are in."""
    mesh = bpy.data.meshes.new("point")
    mesh.from_pydata([(0.0, 0.0, 0.0)] * 3, [], [(0, 1, 2)])
    thing = bpy.data.objects.new("point", mesh)
    bpy.context.scene.collection.objects.link(thing)
    thing.parent = armature
    thing.modifiers.new("point", "ARMATURE").object = armature
    thing.vertex_groups.new(name=armature.data.bones[0].name).add([0, 1, 2], 1.0, "REPLACE")


def _forget_meshes(path: Path) -> None:
    """Take the meshes out of a GLB, but not the skins."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + size])
    for name in ("meshes", "materials", "textures", "images", "samplers"):
        document.pop(name, None)
    for node in document["nodes"]:
        node.pop("mesh", None)
        node.pop("skin", None)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    path.write_bytes(head + text + rest)


def _facts(bpy: Any) -> dict[str, Any]:
    bones = []
    for thing, bone in _bones(bpy):
        place = thing.matrix_world @ bone.matrix_local
        turn = _turn_up() @ place.to_quaternion()
        bones.append(
            {
                "name": bone.name,
                "parent": bone.parent.name if bone.parent else None,
                "position": [round(value, 6) for value in _y_up(place.to_translation())],
                "rotation": [round(value, 6) for value in (turn.x, turn.y, turn.z, turn.w)],
            }
        )
    meshes = list(_meshes(bpy))
    armed = [m for m in meshes if any(mod.type == "ARMATURE" for mod in m.modifiers)]
    return {
        "bones": bones,
        "vertex_count": sum(len(mesh.data.vertices) for mesh in meshes),
        "face_count": sum(len(mesh.data.polygons) for mesh in meshes),
        "has_skinning": any(vertex.groups for mesh in armed for vertex in mesh.data.vertices),
        "unweighted_vertices": sum(
            not any(group.weight > 0 for group in vertex.groups)
            for mesh in armed
            for vertex in mesh.data.vertices
        ),
    }


def _meshes(bpy: Any) -> Any:
    return (thing for thing in bpy.data.objects if thing.type == "MESH")


def _bones(bpy: Any) -> Any:
    return [
        (thing, bone) for thing in bpy.data.objects if thing.type == "ARMATURE" for bone in thing.data.bones
    ]


def _y_up(point: Any) -> list[float]:
    return [float(point.x), float(point.z), float(-point.y)]


def _turn_up() -> Any:
    from mathutils import Quaternion

    return Quaternion((1.0, 0.0, 0.0), -math.pi / 2)


def _say(outcome: set[str]) -> None:
    if "FINISHED" not in outcome:
        raise RuntimeError("Blender could not read or write the file.")


JOBS = {
    "check": check,
    "to-glb": to_glb,
    "motion-to-glb": motion_to_glb,
    "to-fbx": to_fbx,
    "weights": weights,
    "poses": poses,
}


def main(arguments: list[str]) -> int:
    """Do one job; the last argument is where to tell what came of it."""
    # Nobody waits for the work of a process whose parent is gone.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    name, *files = arguments
    told = Path(files.pop()) if files else None
    try:
        import bpy
    except ImportError as error:
        facts: dict[str, Any] = {"ok": False, "error": f"{error}; apt-get install {LIBRARIES}"}
        print(facts["error"], file=sys.stderr)
    else:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        try:
            facts = {"ok": True, **JOBS[name](bpy, *files)}
        except Exception as error:  # told to whoever started us, who decides
            text = str(error).removeprefix("Error: ").strip()
            facts = {"ok": False, "error": text.splitlines()[-1] if text else type(error).__name__}
    if told is not None:
        told.write_text(json.dumps(facts))
    return 0 if facts["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
