"""Characters built from capsules, whose joints are known because the capsules end there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


@dataclass(frozen=True)
class Character:
    """A mesh and where its joints are, by the names of the templates."""

    vertices: Points
    faces: Faces
    joints: dict[str, Points]

    def turned(self, rotation: Points) -> Character:
        joints = {name: rotation @ point for name, point in self.joints.items()}
        return Character(self.vertices @ rotation.T, self.faces, joints)


def about(axis: str, degrees: float) -> Points:
    """Return the rotation ``(3, 3)`` about an axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def capsule(start: list[float], end: list[float], radius: float, around: int = 12) -> tuple[Points, Faces]:
    """Return a closed capsule: a tube with round ends."""
    a, b = np.array(start, float), np.array(end, float)
    along = (b - a) / np.linalg.norm(b - a)
    side = np.cross(along, [0.0, 0.0, 1.0] if abs(along[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(along, side)
    rings = [(a, angle) for angle in np.radians([-67.5, -45, -22.5, 0])]
    rings += [(b, angle) for angle in np.radians([0, 22.5, 45, 67.5])]
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    circle = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other
    rows = [centre + radius * (np.sin(angle) * along + np.cos(angle) * circle) for centre, angle in rings]
    points = np.concatenate([*rows, [a - radius * along], [b + radius * along]])
    faces = []
    for ring in range(len(rings) - 1):
        for step in range(around):
            p, q = ring * around + step, ring * around + (step + 1) % around
            faces += [[p, q, q + around], [p, q + around, p + around]]
    first, last, low, high = 0, (len(rings) - 1) * around, len(points) - 2, len(points) - 1
    for step in range(around):
        following = (step + 1) % around
        faces += [[low, first + following, first + step], [high, last + step, last + following]]
    return points, np.array(faces)


def join(parts: list[tuple[Points, Faces]]) -> tuple[Points, Faces]:
    """Return one mesh of several."""
    points, faces, count = [], [], 0
    for part, corners in parts:
        points.append(part)
        faces.append(corners + count)
        count += len(part)
    return np.concatenate(points), np.concatenate(faces)


def box(middle: list[float], extent: list[float], steps: int = 4) -> tuple[Points, Faces]:
    """Return a closed box whose sides are cut into ``steps`` × ``steps`` squares."""
    grid = np.linspace(-0.5, 0.5, steps + 1)
    parts = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = np.meshgrid(grid, grid, indexing="ij")
            points = np.zeros((u.size, 3))
            points[:, axis] = 0.5 * sign
            points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = u.ravel(), v.ravel()
            faces = []
            for i in range(steps):
                for j in range(steps):
                    a = i * (steps + 1) + j
                    quad = [a, a + steps + 1, a + steps + 2, a + 1]
                    quad = quad if sign > 0 else quad[::-1]
                    faces += [[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]]
            parts.append((points * np.array(extent) + np.array(middle), np.array(faces)))
    return join(parts)


def person(arms_down: float = 0.0, tail: bool = False) -> Character:
    """Return a person 1.75 m tall looking along +Z, arms so many degrees below the horizontal."""
    fall = np.radians(arms_down)
    reach = np.array([np.cos(fall), -np.sin(fall), 0.0])
    parts = [
        capsule([0, 1.0, 0], [0, 1.28, 0], 0.13),
        capsule([-0.06, 1.0, 0], [0.06, 1.0, 0], 0.13),
        capsule([-0.08, 1.36, 0], [0.08, 1.36, 0], 0.075),
        capsule([0, 1.4, 0], [0, 1.52, 0], 0.05),
        capsule([0, 1.6, 0], [0, 1.65, 0], 0.1),
    ]
    joints = {"head": np.array([0, 1.5, 0]), "hips": np.array([0, 0.95, 0])}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        mirror = np.array([sign, 1.0, 1.0])
        shoulder, hip, ankle = np.array([0.17, 1.37, 0]), np.array([0.1, 0.92, 0]), np.array([0.11, 0.09, 0])
        elbow, wrist, fingers = (shoulder + length * reach for length in (0.28, 0.53, 0.72))
        knee = (hip + ankle) / 2
        for a, b, radius in (
            (shoulder, elbow, 0.055),
            (elbow, wrist, 0.045),
            (wrist, fingers, 0.04),
            (hip, knee, 0.08),
            (knee, ankle, 0.06),
            (np.array([0.11, 0.04, -0.03]), np.array([0.12, 0.04, 0.16]), 0.04),
        ):
            parts.append(capsule((a * mirror).tolist(), (b * mirror).tolist(), radius))
        for name, point in (
            ("UpperArm", shoulder), ("LowerArm", elbow), ("Hand", wrist),
            ("UpperLeg", hip), ("LowerLeg", knee), ("Foot", ankle),
        ):  # fmt: skip
            joints[side + name] = point * mirror
    if tail:
        parts.append(capsule([0, 0.95, -0.08], [0, 0.85, -0.45], 0.06))
        parts.append(capsule([0, 0.85, -0.45], [0, 0.9, -0.8], 0.045))
    return Character(*join(parts), joints)


def animal() -> Character:
    """Return a four-legged animal 1.5 m long that looks along +Z."""
    parts = [
        capsule([0, 0.75, -0.4], [0, 0.75, 0.4], 0.17),
        capsule([0, 0.8, 0.45], [0, 1.1, 0.65], 0.09),
        capsule([0, 1.12, 0.66], [0, 1.05, 0.9], 0.08),
        capsule([0, 0.85, -0.5], [0, 0.6, -0.75], 0.035),
    ]
    joints = {"hips": np.array([0, 0.78, -0.42])}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for end, depth in (("Front", 0.38), ("Back", -0.38)):
            parts.append(capsule([0.11 * sign, 0.05, depth], [0.11 * sign, 0.7, depth], 0.05))
            parts.append(capsule([0.11 * sign, 0.05, depth], [0.11 * sign, 0.05, depth + 0.06], 0.05))
            joints[f"{side}{end}UpperLeg"] = np.array([0.11 * sign, 0.7, depth])
            joints[f"{side}{end}Foot"] = np.array([0.11 * sign, 0.1, depth])
    return Character(*join(parts), joints)


def cow() -> Character:
    """Return a heavy animal that looks along +Z: stood on its rump it has a person's outline."""
    parts = [
        capsule([0, 0.75, -0.35], [0, 0.75, 0.35], 0.2),
        capsule([0, 0.8, 0.5], [0, 0.95, 0.75], 0.1),
        capsule([0, 0.97, 0.78], [0, 0.9, 1.0], 0.11),
    ]
    for across in (-0.12, 0.12):
        parts.append(capsule([across, 0.7, -0.4], [across, 0.4, -0.48], 0.08))
        parts.append(capsule([across, 0.4, -0.48], [across, 0.05, -0.48], 0.06))
        parts.append(capsule([across, 0.05, 0.35], [across, 0.7, 0.35], 0.06))
    return Character(*join(parts), {})


def ant() -> tuple[Points, Faces]:
    """Return an insect on six legs."""
    parts = [
        capsule([0, 0.5, -0.5], [0, 0.55, -0.8], 0.2),
        capsule([0, 0.5, -0.35], [0, 0.5, 0.25], 0.12),
        capsule([0, 0.55, 0.3], [0, 0.55, 0.5], 0.16),
    ]
    for sign in (-1.0, 1.0):
        for root, tip in ((-0.25, -0.5), (0.0, 0.0), (0.2, 0.5)):
            knee = [0.35 * sign, 0.6, (root + tip) / 2]
            parts.append(capsule([0.08 * sign, 0.5, root], knee, 0.035))
            parts.append(capsule(knee, [0.55 * sign, 0.04, tip], 0.035))
    return join(parts)


def chair() -> tuple[Points, Faces]:
    """Return a chair with four legs and a back."""
    legs = [box([x, 0.22, z], [0.05, 0.45, 0.05]) for x in (-0.2, 0.2) for z in (-0.2, 0.2)]
    return join([box([0, 0.45, 0], [0.5, 0.05, 0.5]), box([0, 0.75, -0.22], [0.5, 0.6, 0.05]), *legs])


def ball() -> tuple[Points, Faces]:
    """Return a sphere."""
    return capsule([0, 0, -1e-6], [0, 0, 1e-6], 1.0, around=32)


def star(limbs: int = 5) -> tuple[Points, Faces]:
    """Return a body with so many limbs in a plane."""
    turn = np.linspace(0, 2 * np.pi, limbs, endpoint=False) + np.pi / 2
    ends = [[float(np.cos(t)), float(np.sin(t)), 0.0] for t in turn]
    return join([capsule([0, 0, 0], end, 0.12) for end in ends])
