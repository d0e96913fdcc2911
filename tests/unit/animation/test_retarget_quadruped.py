"""What the four-legged figure does is done by other bodies on four legs, and by no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import read_rig
from maquette.geometry.rig import Skeleton
from services.animation.library import MOVES
from services.animation.library.quadrupeds import QUADRUPED_MOVES
from services.animation.motion.figure import FIGURE
from services.animation.motion.quadruped import JOINTS, LEGS, QUADRUPED
from services.animation.retarget import NoFourLegs, NoHumanoid, Retargeted, retarget, take_of_motion
from services.animation.retarget.four_legs import map_four_legs

RIGS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "rigging" / "gt"
BEASTS = ("Alpaca", "Cow", "Fox", "Horse", "Husky")


def beast(*, size: float = 1.0, legs: float = 1.0, axes: bool = False) -> Skeleton:
    """The four-legged figure in another size, with longer legs, with joint axes of a tool's own."""
    offsets = QUADRUPED.local[:, :3, 3] * size
    heads = offsets.copy()
    for joint, parent in enumerate(QUADRUPED.parents.tolist()):
        longer = legs if any(part in QUADRUPED.names[joint] for part in ("LowerLeg", "Hock", "Foot")) else 1.0
        heads[joint] = offsets[joint] * longer + (heads[parent] if parent >= 0 else 0.0)
    heads[:, 1] -= heads[JOINTS["leftFrontFoot"], 1] - 0.02 * size
    rest = QUADRUPED.rest.copy()
    rest[:, :3, 3] = heads
    if axes:
        rest[:, :3, :3] = Rotation.random(len(rest), random_state=np.random.RandomState(5)).as_matrix()
    return Skeleton(QUADRUPED.names, QUADRUPED.parents, rest)


def play(name: str, skeleton: Skeleton, *, in_place: bool = False) -> Retargeted:
    move = QUADRUPED_MOVES[name]
    take = take_of_motion(move.perform(30.0), loop=move.loop)
    return retarget(take, skeleton, name=name, in_place=in_place)


def rig(name: str) -> Skeleton:
    path = RIGS / f"{name}.glb"
    if not path.is_file():
        pytest.skip("the shared rigs are not here")
    found = read_rig(GltfDocument(path.read_bytes(), 1_500_000))
    assert found is not None
    return found.skeleton


@pytest.mark.parametrize("name", sorted(QUADRUPED_MOVES))
@pytest.mark.parametrize("skeleton", [beast(), beast(size=3.0, axes=True), beast(legs=1.3)])
def test_paws_that_carry_stay_and_bones_keep_their_length(name: str, skeleton: Skeleton) -> None:
    done = play(name, skeleton)
    points = world_poses(skeleton, done.clip)[..., :3, 3]
    tall = float(np.ptp(skeleton.heads[:, 1]))
    paws = points[:, [JOINTS[f"{leg}Foot"] for leg in LEGS]]
    steps = np.linalg.norm(np.diff(paws, axis=0), axis=2) / tall
    still = done.standing[1:] & done.standing[:-1]
    assert still.any() and steps[still].max() < 0.006
    lengths = np.linalg.norm(points[:, 1:] - points[:, QUADRUPED.parents[1:]], axis=2)
    assert np.ptp(lengths, axis=0).max() < 1e-6 * tall
    assert points[..., 1].min() > -0.01 * tall


@pytest.mark.parametrize("name", [name for name, move in QUADRUPED_MOVES.items() if move.loop])
def test_loops_close_in_place(name: str) -> None:
    clip = play(name, beast(size=0.5), in_place=True).clip
    assert np.abs((clip.rotations[0] * clip.rotations[-1]).sum(axis=1)).min() > 1.0 - 1e-6
    assert np.allclose(clip.translations[0][0], clip.translations[0][-1], atol=1e-6)


def test_a_bigger_body_goes_further() -> None:
    ways = [
        np.ptp(play("quadruped_walk", beast(size=size)).clip.translations[0][:, 2]) for size in (1.0, 2.0)
    ]
    assert ways[1] == pytest.approx(2.0 * ways[0], rel=0.02)


@pytest.mark.parametrize("name", BEASTS)
def test_rigs_of_other_makers_are_understood(name: str) -> None:
    skeleton = rig(name)
    bones = map_four_legs(skeleton)
    heads = skeleton.heads
    assert all(heads[leg[-1], 1] < 0.25 * heads[leg[0], 1] for leg in bones.legs)
    done = play("quadruped_trot", skeleton)
    points = world_poses(skeleton, done.clip)[..., :3, 3]
    paws = [leg[-1] for leg in bones.legs]
    tall = float(np.ptp(heads[:, 1]))
    steps = np.linalg.norm(np.diff(points[:, paws], axis=0), axis=2) / tall
    still = done.standing[1:] & done.standing[:-1]
    assert steps[still].max() < 0.01


def test_a_persons_motion_on_four_legs_is_refused_with_what_there_is() -> None:
    take = take_of_motion(MOVES["casual_walk"].perform(30.0), loop=True)
    with pytest.raises(NoHumanoid, match="four legs") as told:
        retarget(take, beast(), name="casual_walk")
    assert all(name in str(told.value) for name in QUADRUPED_MOVES)


def test_a_motion_on_four_legs_is_refused_for_a_person() -> None:
    with pytest.raises(NoFourLegs, match="four legs"):
        play("quadruped_walk", FIGURE)
