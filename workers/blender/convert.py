# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write FBX with Blender, one job a process: see README.md beside this file."""

from __future__ import annotations

import ctypes
import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

LIBRARIES = "libgl1 libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6 libxext6"
_PR_SET_PDEATHSIG = 1


def check(bpy: Any) -> dict[str, Any]:
    """Tell the version of Blender."""
    print(f"Blender {bpy.app.version_string} reads and writes FBX")
    return {}


def to_glb(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Read an FBX file and write all of it as GLB."""
    _read_fbx(bpy, source)
    _say(
        bpy.ops.export_scene.gltf(
            filepath=target,
            export_format="GLB",
            export_yup=True,
            export_animation_mode="ACTIONS",
            export_image_format="AUTO",
        )
    )
    return {"pictures_missing": sum(not image.has_data for image in bpy.data.images)}


def to_fbx(bpy: Any, source: str, target: str) -> dict[str, Any]:
    """Write the FBX file of a GLB; tell what is in it when it is read again."""
    _say(
        bpy.ops.import_scene.gltf(
            filepath=source, disable_bone_shape=True, merge_vertices=False, bone_heuristic="BLENDER"
        )
    )
    _to_rest(bpy)
    _say(
        bpy.ops.export_scene.fbx(
            filepath=target,
            path_mode="COPY",
            embed_textures=True,
            add_leaf_bones=False,
            use_armature_deform_only=False,
            bake_anim=False,
            object_types={"ARMATURE", "MESH", "EMPTY", "OTHER"},
        )
    )
    _read_fbx(bpy, target)
    return _facts(bpy)


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


def _read_fbx(bpy: Any, source: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    _say(bpy.ops.import_scene.fbx(filepath=source, ignore_leaf_bones=False, automatic_bone_orientation=False))
    if not any(_meshes(bpy)):
        raise RuntimeError("The FBX file holds no mesh.")


def _to_rest(bpy: Any) -> None:
    """Let nothing move: the clips of the model have put it into the pose of some frame."""
    for thing in bpy.data.objects:
        thing.animation_data_clear()
        if thing.type == "ARMATURE":
            for bone in thing.pose.bones:
                bone.matrix_basis.identity()
    bpy.context.view_layer.update()


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


JOBS = {"check": check, "to-glb": to_glb, "to-fbx": to_fbx, "weights": weights}


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
