"""Draw motions of the library on characters of other makers: `docs/images/motion-*.webp`.

python scripts/motion_pictures.py           the loops of docs/animation.md, from the CC0 models of `../shared`
python scripts/motion_pictures.py FOLDER    a sheet of eight moments of every motion, for looking
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs import MeshLimits, decode
from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.codecs.gltf_rig import FileRig, read_rig
from maquette.geometry.render import View, render
from services.animation.library import MOVES, NAMED
from services.animation.retarget import Flesh, flesh_of, retarget, take_of_motion

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT.parent / "shared" / "data" / "rigging" / "gt"
IMAGES = ROOT / "docs" / "images"
LIMITS = MeshLimits(max_vertices=1_500_000)
SHOWN: tuple[tuple[str, str, float], ...] = (
    ("casual_walk", "Casual_f", 40.0),
    ("sprint", "Casual", 50.0),
    ("wave", "KK_Mage", 20.0),
    ("pick_up", "Casual", 55.0),
    ("push_up", "Punk", 65.0),
    ("cartwheel", "Casual_f", 20.0),
    ("roundhouse_kick", "Punk", 40.0),
    ("cast_spell", "KK_Mage", 45.0),
    ("hip_hop", "Casual", 25.0),
    ("die_backwards", "KK_Knight", 55.0),
    ("quadruped_trot", "Husky", 60.0),
    ("quadruped_gallop", "Horse", 65.0),
)
"""Motion, model, direction to look from; the models are CC0 (Quaternius; KayKit by Kay Lousberg)."""
BUILDS = ("Casual_f", "Punk", "KK_Knight")
"""Whom the sheets of all motions are drawn on, in turn."""
SIDE, RATE, MOST = 176, 12.0, 30
LIGHT, DARK = (214, 219, 222, 255), (190, 197, 202, 255)


@dataclass(frozen=True, slots=True)
class Character:
    """A rigged model, ready to be posed; ``ground`` and ``tall`` in its own unit."""

    rig: FileRig
    puppet: Puppet
    flesh: Flesh
    ground: float
    tall: float


def read(name: str) -> Character:
    """Read a model without the clips that it has."""
    document = GltfDocument((MODELS / f"{name}.glb").read_bytes(), LIMITS.max_vertices)
    document.json.pop("animations", None)
    rig = read_rig(document)
    if rig is None:
        raise ValueError(f"{name} has no skeleton")
    asset = decode(document.encode(), "glb", LIMITS)
    puppet = Puppet(document, rig, asset, LIMITS.max_vertices)
    heights = np.concatenate([part.mesh.vertices[:, 1] for part in asset.parts])
    return Character(rig, puppet, flesh_of(*puppet.skin), float(heights.min()), float(np.ptp(heights)))


def pictures(name: str, who: Character, yaw: float, moments: int | None) -> tuple[list[Image.Image], float]:
    """Draw a motion at some moments, or at ``RATE``; return the pictures and how many seconds they last."""
    move = NAMED[name]
    take = take_of_motion(move.perform(30.0), loop=move.loop)
    clip = retarget(take, who.rig.skeleton, name=name, ground=who.ground, flesh=who.flesh).clip
    world = world_poses(who.rig.skeleton, clip)
    last = len(world) - 1
    count = moments or min(max(round(clip.seconds * RATE), 8), MOST)
    # The last pose of a loop is its first again.
    poses = world[np.linspace(0, last, count + int(move.loop)).round().astype(int)[:count]]
    way = poses[:, 1, :3, 3] - world[0, 1, :3, 3]
    way[:, 1] = 0.0
    poses = poses.copy()
    poses[:, :, :3, 3] -= way[:, None]
    assets = [who.puppet.pose(pose) for pose in poses]
    view = View(yaw=yaw, pitch=9.0, size=SIDE, supersampling=2 if moments is None else 1)
    room = box(assets, who)
    floors = [floor(who, world[0, 1, :3, 3], step) for step in way]
    return [
        drawn(Asset("scene", (*asset.parts, tiles)), view, room)
        for asset, tiles in zip(assets, floors, strict=True)
    ], clip.seconds


def drawn(scene: Asset, view: View, room: Asset) -> Image.Image:
    """Draw on white."""
    picture = Image.fromarray(render(scene, view, around=room), "RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def floor(who: Character, at: NDArray[np.float64], way: NDArray[np.float64]) -> Part:
    """Lay tiles under the character that stay where they are while the camera goes along."""
    size = 0.3 * who.tall
    reach = round(1.1 * who.tall / size)
    corners: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    colors: list[tuple[int, int, int, int]] = []
    first = np.floor((at + way)[[0, 2]] / size).astype(int)
    for row in range(first[0] - reach, first[0] + reach):
        for column in range(first[1] - reach, first[1] + reach):
            start = 4 * len(colors)
            for x, z in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corners.append(((row + x) * size - way[0], who.ground, (column + z) * size - way[2]))
            colors.append(LIGHT if (row + column) % 2 else DARK)
            faces += [(start, start + 2, start + 1), (start, start + 3, start + 2)]
    points = np.array(corners, np.float32) - np.array([0, 2e-3 * who.tall, 0], np.float32)
    tints = np.repeat(np.array(colors, np.uint8), 4, axis=0)
    return Part("floor", Mesh(points, np.array(faces, np.int32), colors=tints), Material())


def box(assets: Sequence[Asset], who: Character) -> Asset:
    """Return a box that holds all of the assets and the floor under them."""
    points = np.concatenate([part.mesh.vertices for asset in assets for part in asset.parts])
    low, high = points.min(axis=0), points.max(axis=0)
    low[1] = min(float(low[1]), who.ground)
    corners = np.where(np.indices((2, 2, 2)).reshape(3, -1).T == 1, high, low).astype(np.float32)
    return Asset("box", (Part("box", Mesh(corners, np.array([[0, 1, 2]], np.int32)), Material()),))


def write_loops() -> None:
    """Write the loops of the documents."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, model, yaw in SHOWN:
        frames, seconds = pictures(name, read(model), yaw, None)
        frames[0].save(
            IMAGES / f"motion-{name.replace('_', '-')}.webp",
            save_all=True,
            append_images=frames[1:],
            duration=round(1000.0 * seconds / len(frames)),
            loop=0,
            quality=68,
            method=5,
        )


def write_sheets(folder: Path) -> None:
    """Write a row of eight moments of every motion of a person."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = [read(name) for name in BUILDS]
    for number, name in enumerate(MOVES):
        frames, _ = pictures(name, characters[number % len(characters)], 32.0, 8)
        row = Image.new("RGB", (SIDE * len(frames), SIDE), "white")
        for place, frame in enumerate(frames):
            row.paste(frame, (place * SIDE, 0))
        row.save(folder / f"{name}.png")


def main() -> int:
    """Draw the loops, or a sheet a motion into a folder."""
    if not MODELS.is_dir():
        print("motion_pictures: the models are not here; nothing drawn")
        return 0
    if len(sys.argv) > 1:
        write_sheets(Path(sys.argv[1]))
    else:
        write_loops()
    return 0


if __name__ == "__main__":
    sys.exit(main())
