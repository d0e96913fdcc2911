"""Give a body that mirrors itself joints that mirror each other."""

from __future__ import annotations

import numpy as np

from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors

_ALIKE = 0.04
"""Of the body's size: joints of both sides that miss each other by more stay where they are."""
_MIRROR = np.array([-1.0, 1.0, 1.0])


def mirror_joints(body: Body, joints: dict[str, Vectors]) -> dict[str, Vectors]:
    """Average left and right joints where all of a limb's agree; put the others as they are.

    A limb is judged as a whole, so that a bent arm keeps its own elbow.
    """
    result = dict(joints)
    for limb in ("Arm", "Leg"):
        pairs = [
            (name, "right" + name[4:])
            for name in joints
            if name.startswith("left") and _limb_of(name) == limb and "right" + name[4:] in joints
        ]
        misses = [np.linalg.norm(joints[left] - joints[right] * _MIRROR) for left, right in pairs]
        if not pairs or max(misses) > _ALIKE * body.size:
            continue
        for left, right in pairs:
            middle = (joints[left] + joints[right] * _MIRROR) / 2
            result[left], result[right] = middle, middle * _MIRROR
    return result


def _limb_of(name: str) -> str:
    return "Leg" if any(word in name for word in ("Leg", "Foot", "Toes", "Hip", "Hock")) else "Arm"
