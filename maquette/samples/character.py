"""Draw the sample character: a young explorer in A-pose, arms and legs clear of the body.

Run as ``python -m maquette.samples.character``; it takes a minute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maquette.samples.draw import (
    Array,
    Paint,
    Setup,
    blend,
    capsule,
    draw_cut_out,
    ellipsoid,
    nearest,
    sphere,
)

PAINTS = (
    Paint((0.96, 0.78, 0.62), 0.15, 20),  # 0 skin
    Paint((0.16, 0.47, 0.72), 0.2, 25),  # 1 jacket
    Paint((0.93, 0.72, 0.20), 0.25, 30),  # 2 scarf and stripe
    Paint((0.30, 0.26, 0.40), 0.2, 25),  # 3 trousers
    Paint((0.62, 0.27, 0.16), 0.35, 40),  # 4 boots and belt
    Paint((0.36, 0.20, 0.12), 0.3, 30),  # 5 hair
    Paint((0.09, 0.08, 0.10), 0.9, 120),  # 6 eyes
    Paint((0.99, 0.99, 0.99), 0.3, 60),  # 7 glint
    Paint((0.72, 0.30, 0.26), 0.15, 20),  # 8 mouth
    Paint((0.95, 0.60, 0.50), 0.15, 20),  # 9 cheeks
    Paint((0.95, 0.93, 0.88), 0.25, 30),  # 10 gloves
)
SETUP = Setup(yaw=0, pitch=4, centre=(0, 1.02, 0), half_height=1.14, key=(-0.42, 0.5, 0.9))

_SHOULDER, _ELBOW, _WRIST = (0.25, 1.30, 0.0), (0.53, 1.10, 0.0), (0.78, 0.90, 0.03)
_FINGERS = (0.88, 0.82, 0.05)
_HIP, _KNEE, _ANKLE = (0.15, 0.80, 0.0), (0.21, 0.46, 0.02), (0.26, 0.15, 0.0)


def character(p: Array) -> tuple[Array, Array]:
    """Model a child of 2 units with jacket, scarf, trousers, boots and gloves, looking along +Z."""
    side = np.stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]], axis=1).astype(np.float32)
    trunk = blend(
        capsule(p, (0, 0.86, 0), (0, 1.20, 0), 0.22, 0.23),
        ellipsoid(p, (0, 1.26, 0), (0.30, 0.14, 0.19)),
        0.1,
    )
    sleeve = blend(
        capsule(side, _SHOULDER, _ELBOW, 0.115, 0.10), capsule(side, _ELBOW, _WRIST, 0.10, 0.095), 0.05
    )
    jacket = blend(trunk, sleeve, 0.07)
    hand = blend(sphere(side, _FINGERS, 0.095), capsule(side, _WRIST, _FINGERS, 0.08, 0.09), 0.03)
    leg = blend(capsule(side, _HIP, _KNEE, 0.145, 0.12), capsule(side, _KNEE, _ANKLE, 0.12, 0.105), 0.04)
    trousers = blend(leg, ellipsoid(p, (0, 0.80, 0), (0.24, 0.13, 0.19)), 0.06)
    shaft = capsule(side, (0.25, 0.24, 0.0), (0.265, 0.12, 0.0), 0.13, 0.13)
    boot = blend(shaft, ellipsoid(side, (0.275, 0.09, 0.10), (0.135, 0.10, 0.24)), 0.05)
    boot = np.maximum(boot, -p[:, 1])
    head = blend(
        ellipsoid(p, (0, 1.66, 0.01), (0.27, 0.27, 0.26)), sphere(side, (0.27, 1.62, 0.0), 0.055), 0.03
    )
    neck = capsule(p, (0, 1.30, 0), (0, 1.5, 0), 0.10, 0.10)
    skin = blend(head, neck, 0.03)
    hair = ellipsoid(p, (0, 1.74, -0.04), (0.295, 0.265, 0.285))
    hair = np.maximum(hair, 0.9 * (p[:, 2] - 0.10) - 0.75 * (p[:, 1] - 1.72))
    hair = blend(hair, ellipsoid(p, (-0.05, 1.95, 0.13), (0.13, 0.06, 0.10)), 0.05)
    ring = np.hypot(np.hypot(p[:, 0] / 1.05, p[:, 2]) - 0.17, (p[:, 1] - 1.395) * 0.9) - 0.075
    belt = np.hypot(np.hypot(p[:, 0], p[:, 2] * 1.1) - 0.215, (p[:, 1] - 0.90) * 0.6) - 0.035
    eye = ellipsoid(side, (0.105, 1.655, 0.235), (0.042, 0.062, 0.035))
    glint = sphere(side, (0.095, 1.68, 0.268), 0.014)
    distance, paint = nearest(
        (skin, 0), (jacket, 1), (ring, 2), (trousers, 3), (boot, 4), (belt, 4), (hair, 5), (eye, 6),
        (glint, 7), (hand, 10),
    )  # fmt: skip
    return distance, _marks(p, paint)


def _marks(p: Array, paint: Array) -> Array:
    """Paint a zip and a pocket on the jacket, a smile and cheeks on the face; end the jacket at the belt."""
    paint = np.where((paint == 1) & (p[:, 1] < 0.9) & (np.abs(p[:, 0]) < 0.4), 3, paint)
    front = p[:, 2] > 0
    jacket = (paint == 1) & front
    paint = np.where(jacket & (np.abs(p[:, 0]) < 0.018), 2, paint)
    pocket = (np.abs(p[:, 0] - 0.13) < 0.055) & (np.abs(p[:, 1] - 1.16) < 0.045)
    paint = np.where(jacket & pocket, 2, paint)
    face = (paint == 0) & front & (p[:, 1] > 1.4)
    smile = np.abs(np.hypot(p[:, 0], p[:, 1] - 1.585) - 0.072) < 0.012
    paint = np.where(face & smile & (p[:, 1] < 1.555), 8, paint)
    cheek = np.hypot(np.abs(p[:, 0]) - 0.16, p[:, 1] - 1.57)
    return np.asarray(np.where(face & (cheek < 0.038), 9, paint))


def draw_character(target: Path) -> None:
    """Draw the cut-out with transparency."""
    draw_cut_out(character, PAINTS, SETUP, target)


if __name__ == "__main__":
    draw_character(Path(__file__).with_name("character.png"))
