"""The skeleton: joints where the limbs bend, clear refusals, and the same answer every time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from quality.true_rigs import read_true_rig
from services.rigging.engines.limb_graph.skeleton import Fitted, PoseEstimationFailed, fit_skeleton
from services.rigging.engines.limb_graph.skeleton.body import upright_bodies
from services.rigging.engines.limb_graph.skeleton.fit_quadruped import fit_quadruped
from services.rigging.engines.limb_graph.skeleton.search import UPS
from tests.support import capsules

RIGS = Path(__file__).resolve().parents[4] / "shared" / "data" / "rigging"
TOLERANCE = {
    "UpperArm": 0.06,
    "LowerArm": 0.06,
    "Hand": 0.08,
    "UpperLeg": 0.12,
    "LowerLeg": 0.1,
    "Foot": 0.08,
}
"""Of the height: how far a joint may lie from where the capsules end."""


@cache
def fitted_person(arms_down: float) -> tuple[capsules.Character, Fitted]:
    character = capsules.person(arms_down)
    return character, fit_skeleton(character.vertices, character.faces, character_type="humanoid")


def assert_joints_near(character: capsules.Character, fitted: Fitted, height: float = 1.75) -> None:
    heads = dict(zip(fitted.skeleton.names, fitted.skeleton.heads, strict=True))
    missed = {}
    for name, point in character.joints.items():
        allowed = next((v for key, v in TOLERANCE.items() if name.endswith(key)), 0.08)
        miss = float(np.linalg.norm(heads[name] - point)) / height
        if miss > allowed:
            missed[name] = round(miss, 3)
    assert not missed


@pytest.mark.parametrize("arms_down", [0.0, 45.0])
def test_joints_lie_where_the_limbs_bend(arms_down: float) -> None:
    assert_joints_near(*fitted_person(arms_down))


@pytest.mark.parametrize(
    ("robe", "warning"),
    [(0.0, "touch the trunk"), (0.22, "touch the trunk"), (0.28, "laid along its outline")],
)
def test_arms_at_the_sides_and_inside_a_robe_get_their_shoulders(robe: float, warning: str) -> None:
    character = capsules.person(85.0)
    body = [(character.vertices, character.faces)]
    if robe:
        body.append(capsules.capsule([0, 0.85, 0], [0, 1.25, 0], robe))
    fitted = fit_skeleton(*capsules.join(body), character_type="humanoid")
    assert_joints_near(character, fitted)
    assert any(warning in told for told in fitted.warnings)
    assert fitted.confidence < 0.85


def test_the_pose_is_recognised() -> None:
    assert fitted_person(0.0)[1].pose.kind == "T"
    pose = fitted_person(45.0)[1].pose
    assert pose.kind == "A"
    assert pose.arm_angle == pytest.approx(45.0, abs=8.0)


def test_left_is_left_and_facing_is_where_the_feet_point() -> None:
    fitted = fitted_person(0.0)[1]
    heads = dict(zip(fitted.skeleton.names, fitted.skeleton.heads, strict=True))
    assert fitted.facing == pytest.approx([0, 0, 1])
    assert heads["leftHand"][0] > 0.3 > -0.3 > heads["rightHand"][0]


def test_a_character_turned_and_laid_z_up_is_found_as_it_stands() -> None:
    character = capsules.person(0.0).turned(capsules.about("x", 90) @ capsules.about("y", 30))
    fitted = fit_skeleton(character.vertices, character.faces, character_type="humanoid")
    assert_joints_near(character, fitted)
    assert fitted.up == pytest.approx([0, 0, 1])
    looks = capsules.about("x", 90) @ capsules.about("y", 30) @ np.array([0, 0, 1.0])
    assert fitted.facing @ looks > np.cos(np.radians(5))


def test_a_symmetric_body_gets_a_symmetric_skeleton() -> None:
    fitted = fitted_person(0.0)[1]
    heads = dict(zip(fitted.skeleton.names, fitted.skeleton.heads, strict=True))
    for name, point in heads.items():
        if name.startswith("left"):
            mirrored = point - 2 * (point @ fitted.plane_normal - fitted.plane_offset) * fitted.plane_normal
            assert heads["right" + name[4:]] == pytest.approx(mirrored, abs=1e-9)


def test_the_root_stands_on_the_ground_above_all_joints_and_bones_run_along_y() -> None:
    character, fitted = fitted_person(0.0)
    skeleton = fitted.skeleton
    assert skeleton.names[:2] == ("root", "hips")
    assert skeleton.heads[0][1] == pytest.approx(character.vertices[:, 1].min())
    rotation = skeleton.rest[:, :3, :3]
    assert np.einsum("jki,jkl->jil", rotation, rotation) == pytest.approx(
        np.broadcast_to(np.eye(3), rotation.shape)
    )
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    bones = fitted.tails - skeleton.heads
    long = np.linalg.norm(bones, axis=1) > 1e-6
    along = bones[long] / np.linalg.norm(bones[long], axis=1, keepdims=True)
    assert np.einsum("ji,ji->j", rotation[long][:, :, 1], along) == pytest.approx(1.0)


def test_joints_have_names_elsewhere() -> None:
    aliases = fitted_person(0.0)[1].aliases
    assert aliases["leftLowerArm"] == {"vrm": "leftLowerArm", "mixamo": "mixamorig:LeftForeArm"}
    assert aliases["hips"]["mixamo"] == "mixamorig:Hips"


def test_a_tail_makes_a_biped_with_a_tail() -> None:
    character = capsules.person(0.0, tail=True)
    fitted = fit_skeleton(character.vertices, character.faces, character_type="humanoid")
    assert fitted.template == "biped_with_tail"
    names = fitted.skeleton.names
    tail = [index for index, name in enumerate(names) if name.startswith("tail")]
    assert names[fitted.skeleton.parents[tail[0]]] == "hips"
    assert fitted.tails[tail[-1]] == pytest.approx([0, 0.9, -0.84], abs=0.06)


def test_four_legs_make_a_quadruped_that_looks_where_its_head_is() -> None:
    character = capsules.animal().turned(capsules.about("y", 180))
    fitted = fit_skeleton(character.vertices, character.faces, character_type="auto")
    assert fitted.template == "quadruped"
    assert fitted.facing == pytest.approx([0, 0, -1], abs=0.05)
    assert {"tail1", "neck1", "head", "leftBackHock"} <= set(fitted.skeleton.names)
    heads = dict(zip(fitted.skeleton.names, fitted.skeleton.heads, strict=True))
    for name, point in character.joints.items():
        assert np.linalg.norm(heads[name] - point) < 0.14, name


def test_an_animal_asked_to_be_a_person_is_refused_and_told_what_to_ask_for() -> None:
    """Its file lays it on its rump, where it passes for a person; on its feet it is none."""
    animal = capsules.cow().turned(capsules.about("x", 90) @ capsules.about("y", 30))
    with pytest.raises(PoseEstimationFailed, match=r"four legs, .* character_type quadruped or auto"):
        fit_skeleton(animal.vertices, animal.faces, character_type="humanoid")


def test_a_person_asked_to_be_an_animal_is_refused_and_told_what_to_ask_for() -> None:
    person = fitted_person(45.0)[0]
    with pytest.raises(
        PoseEstimationFailed, match=r"upright on two legs, .* character_type humanoid or auto"
    ):
        fit_skeleton(person.vertices, person.faces, character_type="quadruped")


def test_hems_before_and_behind_an_upright_body_make_no_animal() -> None:
    person = capsules.person(20.0)
    hems = [capsules.capsule([x, 0.05, z], [x, 0.5, z], 0.07) for x in (-0.14, 0.14) for z in (-0.17, 0.17)]
    robe = capsules.capsule([0, 0.5, 0], [0, 1.25, 0], 0.24)
    vertices, faces = capsules.join([(person.vertices, person.faces), robe, *hems])
    body = next(upright_bodies(vertices, faces, UPS[0], 1.0))
    with pytest.raises(PoseEstimationFailed, match="stands upright"):
        fit_quadruped(body)


def test_an_insect_asked_to_be_a_person_is_refused_and_told_what_to_ask_for() -> None:
    with pytest.raises(PoseEstimationFailed, match=r"6 legs, .* character_type generic or auto"):
        fit_skeleton(*capsules.ant(), character_type="humanoid")


@pytest.mark.skipif(not RIGS.is_dir(), reason="the rigs lie beside the repository")
@pytest.mark.parametrize("name", ["Alpaca", "Cow", "Fox", "Horse", "Husky"])
def test_no_real_animal_is_rigged_as_a_person(name: str) -> None:
    rig = read_true_rig(RIGS / "gt" / f"{name}.glb")
    with pytest.raises(PoseEstimationFailed, match="stands on four legs"):
        fit_skeleton(rig.vertices, rig.faces, character_type="humanoid")


@pytest.mark.skipif(not RIGS.is_dir(), reason="the rigs lie beside the repository")
def test_a_mage_in_a_coat_is_a_person_and_no_animal() -> None:
    rig = read_true_rig(RIGS / "gt" / "KK_Mage.glb")
    assert fit_skeleton(rig.vertices, rig.faces, character_type="auto").template == "humanoid"
    with pytest.raises(PoseEstimationFailed, match="upright on two legs"):
        fit_skeleton(rig.vertices, rig.faces, character_type="quadruped")


@pytest.mark.parametrize(
    ("kind", "thing"),
    [("humanoid", "chair"), ("quadruped", "chair"), ("humanoid", "box"), ("quadruped", "ball")],
)
def test_what_is_no_character_is_refused_with_a_reason(kind: str, thing: str) -> None:
    made = {
        "chair": capsules.chair,
        "ball": capsules.ball,
        "box": lambda: capsules.box([0, 1, 0], [1, 2, 0.6]),
    }
    vertices, faces = made[thing]()
    with pytest.raises(PoseEstimationFailed) as refusal:
        fit_skeleton(vertices, faces, character_type=kind)
    assert len(refusal.value.reason) > 15


def test_two_characters_are_refused() -> None:
    one = capsules.person(0.0)
    vertices, faces = capsules.join(
        [(one.vertices, one.faces), (one.vertices + np.array([0.0, 0.0, 1.2]), one.faces)]
    )
    with pytest.raises(PoseEstimationFailed, match="2 separate bodies"):
        fit_skeleton(vertices, faces, character_type="humanoid")


def test_three_points_are_refused() -> None:
    with pytest.raises(PoseEstimationFailed, match="points"):
        fit_skeleton(np.eye(3), np.array([[0, 1, 2]]), character_type="auto")


@pytest.mark.parametrize("count", [3, 7, 12, 40])
def test_a_generic_skeleton_has_as_many_bones_as_asked_for(count: int) -> None:
    vertices, faces = capsules.star()
    fitted = fit_skeleton(vertices, faces, character_type="generic", bone_count=count)
    assert len(fitted.skeleton.names) == count


def test_a_generic_skeleton_reaches_into_every_limb() -> None:
    vertices, faces = capsules.star()
    fitted = fit_skeleton(vertices, faces, character_type="generic")
    reach = np.linalg.norm(fitted.tails, axis=1)
    assert (reach > 1.1).sum() == 5
    assert fitted.template == "generic"


def test_a_body_without_limbs_gets_a_chain() -> None:
    vertices, faces = capsules.capsule([0, 0, -1], [0, 0, 1], 0.15)
    fitted = fit_skeleton(vertices, faces, character_type="generic", bone_count=6)
    assert fitted.template == "chain"
    assert len(fitted.skeleton.names) == 6


def test_the_same_mesh_gets_the_same_skeleton() -> None:
    character, first = fitted_person(0.0)
    again = fit_skeleton(character.vertices, character.faces, character_type="humanoid")
    assert again.skeleton.names == first.skeleton.names
    assert np.array_equal(again.skeleton.rest, first.skeleton.rest)


@pytest.mark.skipif(not RIGS.is_dir(), reason="the rigs lie beside the repository")
@pytest.mark.parametrize(
    ("name", "kind", "bar"),
    [("Suit", "humanoid", 2.5), ("Fox", "quadruped", 4.5)],
)
def test_joints_of_real_characters_lie_near_their_makers(name: str, kind: str, bar: float) -> None:
    rig = read_true_rig(RIGS / "gt" / f"{name}.glb")
    fitted = fit_skeleton(rig.vertices, rig.faces, character_type=kind)
    size = np.ptp(rig.vertices, axis=0).max()
    ours, theirs = fitted.skeleton.heads[1:] / size, rig.skeleton.heads / size
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    assert 50 * (apart.min(axis=0).mean() + apart.min(axis=1).mean()) < bar


def test_an_unknown_type_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="character_type"):
        fit_skeleton(np.zeros((3, 3)), np.zeros((1, 3), int), character_type="dragon")
