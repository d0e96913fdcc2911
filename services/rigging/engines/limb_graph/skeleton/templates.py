"""The joints a template can have, their parents, axes and names elsewhere.

Humanoid names are those of VRM 1.0 (which glTF avatars use); fingers are numbered from the knuckle as in
HumanIK and Mixamo, since creatures have fewer joints in them than VRM names. Where a body lacks a
joint of the table its children hang on the nearest ancestor that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum


class Pole(Enum):
    """What a joint's axes are laid by; +Y always runs along the bone."""

    SIDE = "+X points to the character's left, as far as the bone allows"
    FRONT = "+Z points where the character looks, as far as the bone allows"
    UP = "+Z points up, as far as the bone allows"


@dataclass(frozen=True, slots=True)
class Joint:
    """A row of a template.

    ``branch`` marks a joint that leaves the line of its parent's bone: the parent's bone does not
    end there.
    """

    name: str
    parent: str
    pole: Pole = Pole.SIDE
    vrm: str = ""
    mixamo: str = ""
    branch: bool = False


ROOT = "root"
SIDES = ("left", "right")
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
_VRM_PHALANGES = ("Proximal", "Intermediate", "Distal")
_VRM_THUMB = ("Metacarpal", "Proximal", "Distal")
_MIXAMO_FINGER = {"Little": "Pinky"}


def humanoid_table(tail: int = 0) -> tuple[Joint, ...]:
    """Return the joints a body on two legs can have, with ``tail`` joints in its tail."""
    rows = [
        Joint(ROOT, ""),
        Joint("hips", ROOT, vrm="hips", mixamo="Hips"),
        Joint("spine", "hips", vrm="spine", mixamo="Spine"),
        Joint("chest", "spine", vrm="chest", mixamo="Spine1"),
        Joint("upperChest", "chest", vrm="upperChest", mixamo="Spine2"),
        Joint("neck", "upperChest", vrm="neck", mixamo="Neck"),
        Joint("head", "neck", vrm="head", mixamo="Head"),
    ]
    for side in SIDES:
        rows += _arm(side)
        rows += _leg(side)
    return tuple(rows) + tuple(_chain("tail", tail, "hips"))


def _arm(side: str) -> Iterator[Joint]:
    mixamo = side.capitalize()
    yield Joint(f"{side}Shoulder", "upperChest", Pole.FRONT, f"{side}Shoulder", f"{mixamo}Shoulder", True)
    yield Joint(f"{side}UpperArm", f"{side}Shoulder", Pole.FRONT, f"{side}UpperArm", f"{mixamo}Arm")
    yield Joint(f"{side}LowerArm", f"{side}UpperArm", Pole.FRONT, f"{side}LowerArm", f"{mixamo}ForeArm")
    yield Joint(f"{side}Hand", f"{side}LowerArm", Pole.FRONT, f"{side}Hand", f"{mixamo}Hand")
    for finger in FINGERS:
        parent = f"{side}Hand"
        pole = Pole.UP if finger == "Thumb" else Pole.FRONT
        for number in range(1, 4):
            phalanx = (_VRM_THUMB if finger == "Thumb" else _VRM_PHALANGES)[number - 1]
            name = f"{side}{finger}{number}"
            elsewhere = f"{mixamo}Hand{_MIXAMO_FINGER.get(finger, finger)}{number}"
            yield Joint(name, parent, pole, f"{side}{finger}{phalanx}", elsewhere, number == 1)
            parent = name


def _leg(side: str) -> Iterator[Joint]:
    mixamo = side.capitalize()
    yield Joint(f"{side}UpperLeg", "hips", vrm=f"{side}UpperLeg", mixamo=f"{mixamo}UpLeg", branch=True)
    yield Joint(f"{side}LowerLeg", f"{side}UpperLeg", vrm=f"{side}LowerLeg", mixamo=f"{mixamo}Leg")
    yield Joint(f"{side}Foot", f"{side}LowerLeg", vrm=f"{side}Foot", mixamo=f"{mixamo}Foot")
    yield Joint(f"{side}Toes", f"{side}Foot", vrm=f"{side}Toes", mixamo=f"{mixamo}ToeBase")


def quadruped_table(neck: int, tail: int) -> tuple[Joint, ...]:
    """Return the joints a body on four legs can have, with so many joints in neck and tail.

    The aliases are those of a person on all fours, by which motions of people can be carried over.
    """
    rows = [
        Joint(ROOT, ""),
        Joint("hips", ROOT, vrm="hips", mixamo="Hips"),
        Joint("spine", "hips", vrm="spine", mixamo="Spine"),
        Joint("chest", "spine", vrm="chest", mixamo="Spine1"),
        Joint("upperChest", "chest", vrm="upperChest", mixamo="Spine2"),
    ]
    parent = "upperChest"
    for number in range(1, neck + 1):
        first = number == 1
        name = f"neck{number}"
        rows.append(Joint(name, parent, vrm="neck" if first else "", mixamo="Neck" if first else ""))
        parent = name
    rows.append(Joint("head", parent, vrm="head", mixamo="Head"))
    for side in SIDES:
        mixamo = side.capitalize()
        rows += [
            Joint(
                f"{side}FrontShoulder",
                "chest",
                vrm=f"{side}Shoulder",
                mixamo=f"{mixamo}Shoulder",
                branch=True,
            ),
            Joint(
                f"{side}FrontUpperLeg", f"{side}FrontShoulder", vrm=f"{side}UpperArm", mixamo=f"{mixamo}Arm"
            ),
            Joint(
                f"{side}FrontLowerLeg",
                f"{side}FrontUpperLeg",
                vrm=f"{side}LowerArm",
                mixamo=f"{mixamo}ForeArm",
            ),
            Joint(f"{side}FrontFoot", f"{side}FrontLowerLeg", vrm=f"{side}Hand", mixamo=f"{mixamo}Hand"),
            Joint(f"{side}BackHip", "hips", branch=True),
            Joint(f"{side}BackUpperLeg", f"{side}BackHip", vrm=f"{side}UpperLeg", mixamo=f"{mixamo}UpLeg"),
            Joint(f"{side}BackLowerLeg", f"{side}BackUpperLeg", vrm=f"{side}LowerLeg", mixamo=f"{mixamo}Leg"),
            Joint(f"{side}BackHock", f"{side}BackLowerLeg", vrm=f"{side}Foot", mixamo=f"{mixamo}Foot"),
            Joint(f"{side}BackFoot", f"{side}BackHock", vrm=f"{side}Toes", mixamo=f"{mixamo}ToeBase"),
        ]
    return tuple(rows) + tuple(_chain("tail", tail, "hips"))


def _chain(name: str, count: int, parent: str) -> Iterator[Joint]:
    for number in range(1, count + 1):
        yield Joint(f"{name}{number}", parent, branch=number == 1)
        parent = f"{name}{number}"


def aliases_of(table: tuple[Joint, ...], names: tuple[str, ...]) -> Mapping[str, Mapping[str, str]]:
    """Return the names elsewhere of the joints that have some."""
    rows = {row.name: row for row in table}
    found = {}
    for name in names:
        row = rows[name]
        elsewhere = {"vrm": row.vrm, "mixamo": f"mixamorig:{row.mixamo}" if row.mixamo else ""}
        if any(elsewhere.values()):
            found[name] = {key: alias for key, alias in elsewhere.items() if alias}
    return found
