"""Moods: how a state of mind carries the body, as offsets on any motion's channels.

After the postural cues that viewers read most surely (Coulson, *Attributing emotion to static body
postures*, 2004): head and trunk angle, arms open or drawn in, weight and spring of the step.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.animation.motion.channels import HIGH, INDEX, LOW, expand
from services.animation.motion.keys import Curve

MOODS: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "happy": {"bend": -4, "nod": -5, "spread": 5, "shrug": 2},
    "sad": {"bend": 13, "nod": 18, "spread": -3, "shrug": -4, "reach": 9, "y": -0.012},
    "angry": {"bend": 7, "nod": 6, "spread": 9, "elbow": 16, "fist": 0.6, "shrug": 4},
    "afraid": {"bend": 10, "nod": -6, "elbow": 26, "shrug": 11, "spread": -4, "y": -0.03},
    "tired": {"bend": 17, "nod": 12, "spread": -2, "shrug": -5, "reach": 7, "y": -0.03},
    "proud": {"bend": -7, "nod": -8, "spread": 7, "reach": -8},
    "tense": {"bend": 5, "shrug": 8, "elbow": 14, "fist": 0.35, "y": -0.015},
    "relaxed": {"bend": 3, "spread": 2, "shrug": -2},
}


def carried(curve: Curve, mood: str, share: float = 1.0) -> Curve:
    """Lay a mood over a motion. Raises KeyError for a mood that does not exist."""
    moved = curve.copy()
    for name, offset in expand(MOODS[mood]).items():
        index = INDEX[name]
        moved[:, index] = (moved[:, index] + share * offset).clip(LOW[index], HIGH[index])
    return moved
