"""What joints are called: names of many conventions to the roles of the VRM humanoid.

Known are VRM, Mixamo and HumanIK (``LeftUpLeg``), Blender and Rigify (``DEF-thigh.L``), Unreal
(``calf_l``), 3ds Max Biped (``Bip01 L Thigh``), MakeHuman (``upperleg01.L``), DAZ and Poser
(``lShldrBend``), Kinect-like (``LeftElbow``) and those of common game characters (``upperarm.l``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
_EMPTY = frozenset(
    [
        "mixamorig",
        "def",
        "org",
        "bip",
        "b",
        "j",
        "jnt",
        "joint",
        "joints",
        "bone",
        "rig",
        "armature",
        "valvebiped",
        "cc",
        "base",
        "sk",
        "skel",
        "bend",
        "human",
        "character",
        "root",
    ]
)
"""Words that say nothing about where a joint sits."""
_NEVER = frozenset(
    [
        "ik",
        "fk",
        "pole",
        "target",
        "control",
        "ctrl",
        "handle",
        "end",
        "tip",
        "nub",
        "site",
        "twist",
        "roll",
        "slot",
        "helper",
        "socket",
        "front",
        "back",
        "rear",
        "hind",
        "tail",
        "ear",
        "eye",
        "jaw",
        "breast",
        "prop",
        "weapon",
        "metacarpal",
        "metatarsal",
        "carpal",
        "tongue",
        "hair",
        "skirt",
        "cape",
        "wing",
    ]
)
"""Words of joints that have no role, whatever else they are called."""

LIMBS: Mapping[str, tuple[str, ...]] = {
    "UpperLeg": ("upperleg", "upleg", "thigh", "legupper", "hip", "femur"),
    "LowerLeg": ("lowerleg", "lowleg", "calf", "shin", "knee", "leglower", "leg", "tibia"),
    "Foot": ("foot", "ankle", "feet"),
    "Toes": ("toe", "toes", "toebase", "ball"),
    "Shoulder": ("shoulder", "clavicle", "collar", "collarbone", "shldr"),
    "UpperArm": ("upperarm", "uparm", "armupper", "humerus", "arm"),
    "LowerArm": ("lowerarm", "lowarm", "forearm", "elbow", "armlower"),
    "Hand": ("wrist", "hand", "palm"),
}
"""Words of a role on either side, the surest first."""
MIDDLE: Mapping[str, tuple[str, ...]] = {
    "hips": ("hips", "hip", "pelvis", "hipsroot"),
    "head": ("head",),
}
_FINGERS: Mapping[str, tuple[str, ...]] = {
    "Thumb": ("thumb", "handthumb", "finger1"),
    "Index": ("index", "handindex", "findex", "indexfinger", "finger2"),
    "Middle": ("middle", "mid", "handmiddle", "fmiddle", "middlefinger", "finger3"),
    "Ring": ("ring", "handring", "fring", "ringfinger", "finger4"),
    "Little": ("little", "pinky", "handpinky", "fpinky", "pinkyfinger", "littlefinger", "finger5"),
}
_PARTS = ("metacarpal", "proximal", "intermediate", "distal")
_ROLE_OF = {word: (role, rank) for role, words in LIMBS.items() for rank, word in enumerate(words)}
_FINGER_OF = {word: finger for finger, words in _FINGERS.items() for word in words}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name says: ``side`` is ``left``, ``right`` or empty; a smaller ``rank`` is surer."""

    side: str
    role: str
    rank: int


def meaning_of(name: str) -> Meaning | None:
    """Tell the role that a joint's name speaks of, None for none.

    Limbs and fingers have a side; a finger's role is its name alone, for a chain is told by its order.
    """
    words = [word.lower() for word in _WORDS.findall(re.split(r"[:|]", name)[-1])]
    sides = [_SIDES[word] for word in words if word in _SIDES]
    numbers = [word for word in words if word.isdigit()]
    kept = [word for word in words if word not in _SIDES and word not in _EMPTY and not word.isdigit()]
    if not kept or (set(kept) & _NEVER and not _is_finger_part(kept)):
        return None
    word = "".join(kept)
    side = sides[0] if sides else ""
    if not side:
        side, word = _side_in_front(word)
    return _role(side, word, numbers)


def _is_finger_part(words: list[str]) -> bool:
    return "thumb" in words and "metacarpal" in words


def _role(side: str, word: str, numbers: list[str]) -> Meaning | None:
    if side:
        for part in _PARTS:
            word = word.removesuffix(part)
        finger = _FINGER_OF.get(word) or _FINGER_OF.get(f"{word}{int(numbers[0])}" if numbers else "")
        if finger:
            return Meaning(side, finger, 0)
        if word in _ROLE_OF:
            role, rank = _ROLE_OF[word]
            return Meaning(side, role, rank)
        return None
    for role, words in MIDDLE.items():
        if word in words:
            return Meaning("", role, words.index(word))
    return None


def _side_in_front(word: str) -> tuple[str, str]:
    """Part a side from a word it is written to, as in ``lfoot`` or ``leftupperarm``."""
    for mark in ("left", "right", "l", "r"):
        rest = word.removeprefix(mark)
        if rest != word and (rest in _ROLE_OF or rest in _FINGER_OF):
            return _SIDES[mark], rest
    return "", word
