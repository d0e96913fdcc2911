"""Joints are known by the names of many tools, and by their places where names fail."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.geometry.rig import Skeleton
from services.animation.motion.figure import FIGURE
from services.animation.retarget import NoHumanoid, map_bones
from services.animation.retarget.names import meaning_of

LIMBS = ("Shoulder", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot", "Toes")
CONVENTIONS = {
    "mixamo": ("mixamorig:{S}Shoulder {S}Arm {S}ForeArm {S}Hand {S}UpLeg {S}Leg {S}Foot {S}ToeBase", "LR"),
    "unreal": ("clavicle_{s} upperarm_{s} lowerarm_{s} hand_{s} thigh_{s} calf_{s} foot_{s} ball_{s}", "lr"),
    "rigify": (
        "DEF-shoulder.{S} DEF-upper_arm.{S} DEF-forearm.{S} DEF-hand.{S} DEF-thigh.{S} DEF-shin.{S} "
        "DEF-foot.{S} DEF-toe.{S}",
        "LR",
    ),
    "biped": (
        "Bip01_{S}_Clavicle Bip01_{S}_UpperArm Bip01_{S}_Forearm Bip01_{S}_Hand Bip01_{S}_Thigh "
        "Bip01_{S}_Calf Bip01_{S}_Foot Bip01_{S}_Toe0",
        "LR",
    ),
    "makehuman": (
        "clavicle.{S} upperarm01.{S} lowerarm01.{S} wrist.{S} upperleg01.{S} lowerleg01.{S} foot.{S} "
        "toe1-1.{S}",
        "LR",
    ),
    "daz": ("{s}Collar {s}ShldrBend {s}ForearmBend {s}Hand {s}ThighBend {s}Shin {s}Foot {s}Toe", "lr"),
    "sensor": (
        "{S}Collar {S}Shoulder {S}Elbow {S}Wrist {S}Hip {S}Knee {S}Ankle {S}Toe",
        ("Left", "Right"),
    ),
    "game": (
        "shoulder.{s} upperarm.{s} lowerarm.{s} wrist.{s} upperleg.{s} lowerleg.{s} foot.{s} toes.{s}",
        "lr",
    ),
    "joined": (
        "{s}shoulder {s}upperarm {s}forearm {s}hand {s}thigh {s}shin {s}foot {s}toes",
        ("left", "right"),
    ),
}


def renamed(names: dict[str, str], other: str = "bone") -> Skeleton:
    """The figure with other names; joints that are not named get numbers."""
    told = tuple(names.get(name, f"{other}{number}x") for number, name in enumerate(FIGURE.names))
    return Skeleton(told, FIGURE.parents, FIGURE.rest)


@pytest.mark.parametrize("tool", CONVENTIONS)
def test_names_of_a_convention_are_understood(tool: str) -> None:
    pattern, sides = CONVENTIONS[tool]
    names = {"hips": "Hips", "head": "Head"}
    for side, mark in zip(("left", "right"), sides, strict=True):
        full = {"L": "Left", "R": "Right"}.get(mark, mark) if tool == "mixamo" else mark
        words = pattern.format(S=full, s=mark).split()
        names |= {side + part: word for part, word in zip(LIMBS, words, strict=True)}
    bones = map_bones(renamed(names))
    assert bones.by_names
    expected = {side + part for side in ("left", "right") for part in LIMBS}
    found = {role: FIGURE.names[joint] for role, joint in bones.roles.items() if role in expected}
    assert found == {role: role for role in expected}
    assert [FIGURE.names[joint] for joint in bones.spine] == ["spine", "chest", "upperChest"]
    assert [FIGURE.names[joint] for joint in bones.neck] == ["neck", "head"]


def test_a_skeleton_without_names_is_understood_by_its_shape() -> None:
    bones = map_bones(renamed({}))
    assert not bones.by_names
    for side in ("left", "right"):
        for part in ("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot"):
            assert FIGURE.names[bones.roles[side + part]] == side + part
    assert FIGURE.names[bones.hips] == "hips"


@pytest.mark.parametrize("name", ["IK-foot.l", "thigh_twist_01_l", "PoleTarget.L", "BackUpperLeg.L", "Tail1"])
def test_handles_and_helpers_are_no_limbs(name: str) -> None:
    assert meaning_of(name) is None


def test_fingers_are_known_by_their_order() -> None:
    names = {name: name for name in FIGURE.names if "Index" not in name}
    names |= {
        f"left{part}": f"index_0{k}_l"
        for k, part in enumerate(("IndexProximal", "IndexIntermediate", "IndexDistal"), 1)
    }
    roles = map_bones(renamed(names)).roles
    assert FIGURE.names[roles["leftIndexIntermediate"]] == "leftIndexIntermediate"


def test_a_body_on_four_legs_is_refused() -> None:
    rest = FIGURE.rest.copy()
    leg = {"leftUpperLeg", "leftLowerLeg", "leftFoot", "leftToes"}
    leg |= {name.replace("left", "right") for name in leg}
    for joint, name in enumerate(FIGURE.names):
        if name not in leg:
            x, y, z = FIGURE.heads[joint] - FIGURE.heads[0]
            # The trunk is laid forwards and the arms reach the ground.
            rest[joint, :3, 3] = FIGURE.heads[0] + np.array([x, -z, y])
    with pytest.raises(NoHumanoid, match="four legs"):
        map_bones(Skeleton(FIGURE.names, FIGURE.parents, rest))


def test_a_chain_is_refused_with_a_reason() -> None:
    rest = np.tile(np.eye(4), (4, 1, 1))
    rest[:, 1, 3] = np.arange(4)
    with pytest.raises(NoHumanoid, match="two arms and two legs"):
        map_bones(Skeleton(("a", "b", "c", "d"), np.arange(-1, 3, dtype=np.int32), rest))
