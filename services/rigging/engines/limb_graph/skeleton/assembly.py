"""From joint positions to a skeleton with axes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maquette.geometry.rig import Skeleton
from services.rigging.engines.limb_graph.skeleton.body import Body
from services.rigging.engines.limb_graph.skeleton.fitted import Vectors
from services.rigging.engines.limb_graph.skeleton.templates import ROOT, Joint, Pole

_POLES: Mapping[Pole, tuple[int, Vectors]] = {
    Pole.SIDE: (0, np.array([1.0, 0.0, 0.0])),
    Pole.FRONT: (2, np.array([0.0, 0.0, 1.0])),
    Pole.UP: (2, np.array([0.0, 1.0, 0.0])),
}
"""The axis of the joint that follows a direction of the body."""
_SPARE = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


def assemble(
    body: Body, table: tuple[Joint, ...], positions: Mapping[str, Vectors], ends: Mapping[str, Vectors]
) -> tuple[Skeleton, Vectors]:
    """Build the skeleton of the joints that have a position, in the space of the mesh.

    ``positions`` and ``ends`` are in the body's space; ``ends`` tells where the last bones of the limbs
    end. The root lies on the ground below the hips and ends where it begins: it moves nothing alone.
    Returns the skeleton and the tails ``(j, 3)``.
    """
    rows = [row for row in table if row.name in positions or row.name == ROOT]
    number = {row.name: index for index, row in enumerate(rows)}
    above = {row.name: row.parent for row in table}
    parents = np.array([_present(above, row.parent, number) for row in rows], np.int32)
    first = rows[1].name
    ground = np.array([0.0, body.ground, positions[first][2]])
    heads = np.array([positions.get(row.name, ground) for row in rows], np.float64)
    tails = np.array([_tail(index, rows, parents, heads, ends) for index in range(len(rows))])
    rest = np.tile(np.eye(4), (len(rows), 1, 1))
    for index, row in enumerate(rows):
        bone = tails[index] - heads[index]
        if np.linalg.norm(bone) < 1e-9 * body.size:
            bone = _POLES[Pole.UP][1]
        rest[index, :3, :3] = body.axes @ joint_axes(bone, row.pole)
    rest[:, :3, 3] = body.to_mesh(heads)
    return Skeleton(tuple(row.name for row in rows), parents, rest), body.to_mesh(tails)


def joint_axes(bone: Vectors, pole: Pole) -> Vectors:
    """Return the axes ``(3, 3)``, as columns, of a joint whose bone runs along ``bone (3,)``."""
    along = bone / np.linalg.norm(bone)
    axis, wanted = _POLES[pole]
    for direction in (wanted, *_SPARE):
        across = direction - (direction @ along) * along
        if np.linalg.norm(across) > 0.2:
            break
    across /= np.linalg.norm(across)
    third = np.cross(across, along) if axis == 0 else np.cross(along, across)
    return np.stack([across, along, third] if axis == 0 else [third, along, across], axis=1)


def _present(above: Mapping[str, str], name: str, number: Mapping[str, int]) -> int:
    """Return the number of the nearest ancestor that is there, -1 for none."""
    while name and name not in number:
        name = above[name]
    return number.get(name, -1)


def _tail(
    index: int, rows: list[Joint], parents: np.ndarray, heads: Vectors, ends: Mapping[str, Vectors]
) -> Vectors:
    """Return where a bone ends: at a given point, at the next joint of its line, or in its own direction."""
    name = rows[index].name
    if name == ROOT:
        return np.asarray(heads[index])
    if name in ends:
        return np.asarray(ends[name])
    children = [child for child in np.flatnonzero(parents == index) if not rows[child].branch]
    if children:
        return np.asarray(heads[children[0]])
    onward = heads[index] - heads[parents[index]]
    return np.asarray(heads[index] + 0.5 * onward)
