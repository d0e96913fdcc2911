"""Pose characters that Maquette rigged and draw them: `docs/images/rigging.jpg` and single sheets.

python scripts/rig_pictures.py           the contact sheet, from the CC0 models of `../shared`
python scripts/rig_pictures.py FOLDER    one sheet a model, for looking; --true takes their own skeletons
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maquette.geometry.asset import Asset, Mesh, Part
from maquette.geometry.codecs import read_mesh
from maquette.geometry.render import View, render
from maquette.geometry.rig import Skeleton, Skin
from maquette.geometry.topology import vertex_normals
from services.rigging.engines.limb_graph.skeleton.fit import fit_skeleton
from services.rigging.engines.limb_graph.skin import bind

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT.parent / "shared" / "data" / "rigging"
SHEET = ROOT / "docs" / "images" / "rigging.jpg"
SHOWN = {
    "Casual_f": "humanoid",
    "Punk": "humanoid",
    "KK_Knight": "humanoid",
    "KK_Mage": "humanoid",
    "Husky": "quadruped",
    "Horse": "quadruped",
}
"""Models on the contact sheet and what each is rigged as; all CC0 (Quaternius; KayKit by Kay Lousberg)."""
SIDE = 300
VIEW = View(yaw=28.0, pitch=8.0, size=SIDE)

Vectors = NDArray[np.float64]
Turn = Callable[[Vectors], Vectors]
"""Takes the bone's direction as its parents have turned it; returns a rotation (3, 3) of the world."""


@dataclass(frozen=True, slots=True)
class Character:
    """An asset, all its vertices ``(n, 3)`` in one array, and its rig."""

    asset: Asset
    vertices: Vectors
    skeleton: Skeleton
    skin: Skin


def aim(x: float, y: float, z: float) -> Turn:
    """Point a bone this way: x to the character's left, y up, z to the front."""
    goal = np.array([x, y, z]) / np.linalg.norm([x, y, z])

    def turn(direction: Vectors) -> Vectors:
        axis = np.cross(direction, goal)
        sine, cosine = float(np.linalg.norm(axis)), float(direction @ goal)
        return _rotation(axis / max(sine, 1e-12), np.arctan2(sine, cosine))

    return turn


def spin(axis: tuple[float, float, float], degrees: float) -> Turn:
    """Turn about an axis of the world."""
    matrix = _rotation(np.array(axis), np.radians(degrees))
    return lambda _: matrix


def _rotation(axis: Vectors, angle: float) -> Vectors:
    """Return the matrix of a turn (Rodrigues)."""
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew)


UP, SIDEWAYS = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
HUMAN_POSES: tuple[Mapping[str, Turn], ...] = (
    {
        "left upperarm": aim(0.55, 0.8, 0.2),
        "left lowerarm": aim(-0.35, 0.85, 0.4),
        "right upperarm": aim(-0.3, -0.95, 0.05),
        "right lowerarm": aim(-0.1, -0.25, 0.95),
    },
    {
        "spine": spin(SIDEWAYS, 20.0),
        "left upperleg": aim(0.3, -0.3, 0.9),
        "left lowerleg": aim(0.05, -0.95, -0.3),
        "left foot": spin(SIDEWAYS, 0.0),
        "right upperleg": aim(-0.3, -0.3, 0.9),
        "right lowerleg": aim(-0.05, -0.95, -0.3),
        "left upperarm": aim(0.3, -0.3, 0.9),
        "right upperarm": aim(-0.3, -0.3, 0.9),
    },
    {
        "spine": spin(UP, 20.0),
        "chest": spin(UP, 25.0),
        "neck": spin(UP, 20.0),
        "head": spin(UP, 35.0),
        "left upperarm": aim(0.3, -0.95, 0.0),
        "right upperarm": aim(-0.3, -0.95, 0.0),
    },
)
BEAST_POSES: tuple[Mapping[str, Turn], ...] = (
    {
        "left frontupperleg": aim(0.05, -0.75, 0.65),
        "left frontlowerleg": aim(0.0, -0.8, -0.6),
        "right frontupperleg": aim(-0.05, -0.85, -0.5),
        "left backupperleg": aim(0.05, -0.9, -0.3),
        "right backupperleg": aim(-0.05, -0.6, 0.8),
        "right backlowerleg": aim(0.0, -0.9, -0.4),
    },
    {"neck": spin(SIDEWAYS, 25.0), "head": spin(SIDEWAYS, 25.0), "tail": spin(SIDEWAYS, 20.0)},
    {"spine": spin(UP, 12.0), "chest": spin(UP, 12.0), "neck": spin(UP, 18.0), "tail": spin(UP, -18.0)},
)
BEND_POSES: tuple[Mapping[str, Turn], ...] = (
    {"": spin(SIDEWAYS, 12.0)},
    {"": spin(UP, 12.0)},
    {"": spin((0.0, 0.0, 1.0), 12.0)},
)
"""For bodies of any other kind: every joint a little."""
ROLES = (
    (r"front.*up(per)?leg", "frontupperleg"),
    (r"front.*low(er)?leg", "frontlowerleg"),
    (r"back.*up(per)?leg", "backupperleg"),
    (r"back.*low(er)?leg", "backlowerleg"),
    (r"upper_?arm", "upperarm"),
    (r"(lower|fore)_?arm", "lowerarm"),
    (r"upper_?leg|thigh", "upperleg"),
    (r"lower_?leg|shin|calf", "lowerleg"),
    (r"foot", "foot"),
    (r"tail", "tail"),
    (r"head", "head"),
    (r"neck", "neck"),
    (r"chest|torso2", "chest"),
    (r"spine|abdomen|torso$", "spine"),
)


def role_of(name: str) -> str:
    """Tell what a joint does from its name, with its side before it; "" when no name is known."""
    lower = name.lower()
    side = next((word for word in ("left", "right") if re.search(rf"{word}|[._]{word[0]}$", lower)), "")
    found = next((role for pattern, role in ROLES if re.search(pattern, lower)), "")
    return f"{side} {found}".strip() if found else ""


def poses_for(skeleton: Skeleton) -> tuple[Mapping[str, Turn], ...]:
    """Choose the poses a skeleton can take."""
    roles = {role_of(name) for name in skeleton.names}
    if "left frontupperleg" in roles and "left backupperleg" in roles:
        return BEAST_POSES
    return HUMAN_POSES if {"left upperarm", "left upperleg"} <= roles else BEND_POSES


def posed(character: Character, pose: Mapping[str, Turn]) -> Vectors:
    """Return the vertices ``(n, 3)`` in a pose, by linear blend skinning."""
    skeleton, skin = character.skeleton, character.skin
    moves = np.tile(np.eye(4), (len(skeleton.names), 1, 1))
    for joint, name in enumerate(skeleton.names):
        parent = int(skeleton.parents[joint])
        if parent < 0:
            continue
        moves[joint] = moves[parent]
        turn = pose.get(role_of(name)) or pose.get("")
        if turn is not None:
            head = skeleton.heads[joint]
            rotation = turn(moves[parent, :3, :3] @ _bone_direction(skeleton, joint))
            local = np.eye(4)
            local[:3, :3] = rotation
            place = moves[parent, :3, :3] @ head + moves[parent, :3, 3]
            local[:3, 3] = place - rotation @ place
            moves[joint] = local @ moves[parent]
    blended = np.einsum("nk,nkab->nab", skin.weights.astype(np.float64), moves[skin.joints])
    return np.asarray(np.einsum("nab,nb->na", blended[:, :3, :3], character.vertices) + blended[:, :3, 3])


def _bone_direction(skeleton: Skeleton, joint: int) -> Vectors:
    """Return the unit direction to the child that goes on straight, else the joint's +Y axis."""
    ahead = skeleton.rest[joint, :3, 1]
    ways = skeleton.heads[skeleton.parents == joint] - skeleton.heads[joint]
    units = ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-12)
    if not len(units):
        return np.asarray(ahead)
    return np.asarray(units[int(np.argmax(units @ ahead))])


def draw(character: Character, vertices: Vectors, colors: NDArray[np.uint8] | None = None) -> Image.Image:
    """Draw the asset with its vertices elsewhere, on white."""
    parts, first = [], 0
    for part in character.asset.parts:
        chosen = slice(first, first + len(part.mesh.vertices))
        first = chosen.stop
        points = vertices[chosen].astype(np.float32)
        mesh = replace(part.mesh, vertices=points, normals=_normals(points, part.mesh))
        if colors is not None:
            mesh = Mesh(points, part.mesh.faces, mesh.normals, None, colors[chosen])
        parts.append(Part(part.name, mesh, part.material))
    picture = Image.fromarray(render(Asset("posed", tuple(parts)), VIEW), "RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _normals(points: NDArray[np.float32], mesh: Mesh) -> NDArray[np.float32]:
    return np.asarray(vertex_normals(points, mesh.faces))


def weight_colors(skin: Skin, joints: int) -> NDArray[np.uint8]:
    """Mix a colour a joint by weight: ``(n, 4)``."""
    hue = np.arange(joints) * 0.61803
    palette = 0.55 + 0.4 * np.cos(2 * np.pi * (hue[:, None] + np.array([0.0, 1 / 3, 2 / 3])))
    mixed = np.einsum("nk,nkc->nc", skin.weights.astype(np.float64), palette[skin.joints])
    opaque = np.concatenate([mixed, np.ones((len(mixed), 1))], axis=1)
    return np.clip(opaque * 255, 0, 255).astype(np.uint8)


def sheet(character: Character) -> Image.Image:
    """Draw a row: the weights, then three poses."""
    colors = weight_colors(character.skin, len(character.skeleton.names))
    tiles = [draw(character, character.vertices, colors)]
    tiles += [draw(character, posed(character, pose)) for pose in poses_for(character.skeleton)]
    row = Image.new("RGB", (SIDE * len(tiles), SIDE), "white")
    for place, tile in enumerate(tiles):
        row.paste(tile, (place * SIDE, 0))
    return row


def gathered(asset: Asset) -> tuple[Vectors, NDArray[np.int64]]:
    """Return vertices and faces of all parts together."""
    meshes = [part.mesh for part in asset.parts]
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float64)
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)])
    return vertices, faces.astype(np.int64)


def rigged(path: Path) -> Character:
    """Rig a model as the service does."""
    asset = read_mesh(path)
    vertices, faces = gathered(asset)
    kind = SHOWN.get(path.stem, "auto")
    skeleton = fit_skeleton(vertices, faces, character_type=kind).skeleton
    return Character(asset, vertices, skeleton, bind(vertices, faces, skeleton)[0])


def truly_rigged(path: Path) -> Character:
    """Bind a model to the skeleton its maker gave it."""
    true_rigs: Any = importlib.import_module("quality.true_rigs")
    rig = true_rigs.read_true_rig(MODELS / "gt" / path.name)
    mesh = Mesh(rig.vertices.astype(np.float32), rig.faces.astype(np.int32))
    skin = bind(rig.vertices, rig.faces, rig.skeleton)[0]
    return Character(Asset(path.stem, (Part(path.stem, mesh),)), rig.vertices, rig.skeleton, skin)


def main() -> int:
    """Draw the contact sheet, or one sheet a model into a folder."""
    if not MODELS.is_dir():
        print("rig_pictures: the models are not here; nothing drawn")
        return 0
    arguments = [argument for argument in sys.argv[1:] if argument != "--true"]
    make = truly_rigged if "--true" in sys.argv else rigged
    if arguments:
        folder = Path(arguments[0])
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((MODELS / "input").glob("*.glb")):
            try:
                sheet(make(path)).save(folder / f"{path.stem}.png")
            except ValueError as error:
                print(f"{path.stem}: {error}")
        return 0
    rows = [sheet(rigged(MODELS / "input" / f"{name}.glb")) for name in SHOWN]
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    whole = Image.new("RGB", (rows[0].width, SIDE * len(rows)), "white")
    for place, row in enumerate(rows):
        whole.paste(row, (0, place * SIDE))
    whole.save(SHEET, quality=86)
    return 0


if __name__ == "__main__":
    sys.exit(main())
