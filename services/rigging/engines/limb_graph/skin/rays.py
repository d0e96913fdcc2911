"""Rays through a surface that may be made of many pieces, one inside the other.

The inside is where the winding number is positive: a ray that goes on through the skin of an
arm into the sleeve around it has not left the body.
"""

from __future__ import annotations

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from services.rigging.engines.limb_graph.skin.surface import Points, Surface

_STEP = 2e-5
"""Length of the step past a hit as a share of the size; float32 knows no shorter one."""
_HITS = 12
"""Layers a ray is followed through."""


class Rays:
    """An embree scene of one surface. Directions need not be units; distances are metres."""

    def __init__(self, surface: Surface) -> None:
        self._scene = rtcore_scene.EmbreeScene()
        self._middle = (surface.points.min(axis=0) + surface.points.max(axis=0)) / 2
        self._normals = surface.normals
        self._step = _STEP * surface.size
        self._empty = not len(surface.faces)
        if not self._empty:
            TriangleMesh(
                self._scene,
                (surface.points - self._middle).astype(np.float32),
                surface.faces.astype(np.int32),
            )

    def first_hit(self, origins: Points, units: Points) -> tuple[Points, NDArray[np.int64]]:
        """Return the distances ``(n,)``, inf where nothing is hit, and the signs ``(n,)``.

        The sign is +1 where the ray leaves through the outside of a face, -1 where it enters.
        """
        if self._empty or not len(origins):
            return np.full(len(origins), np.inf), np.zeros(len(origins), dtype=np.int64)
        hit = self._scene.run(
            (origins - self._middle).astype(np.float32),
            np.ascontiguousarray(units, dtype=np.float32),
            output=1,
        )
        face = hit["primID"].astype(np.int64)
        struck = face >= 0
        distance = np.where(struck, hit["tfar"], np.inf).astype(np.float64)
        out = np.einsum("ij,ij->i", self._normals[face], units) > 0
        return distance, np.where(struck, np.where(out, 1, -1), 0)

    def crossings(self, origin: Points, unit: Points) -> tuple[list[float], list[int]]:
        """Return the distances and signs of all crossings of one ray, nearest first."""
        distances: list[float] = []
        signs: list[int] = []
        gone = 0.0
        for _ in range(8 * _HITS):
            distance, sign = self.first_hit((origin + gone * unit)[None], unit[None])
            if not sign[0]:
                break
            gone += float(distance[0])
            distances.append(gone)
            signs.append(int(sign[0]))
            gone += self._step
        return distances, signs

    def way_out(self, origin: Points, unit: Points) -> float | None:
        """Return how far a ray goes until it leaves the body for the first time; None from outside."""
        distances, signs = self.crossings(origin, unit)
        depth = sum(signs)
        if depth <= 0:
            return None
        for distance, sign in zip(distances, signs, strict=True):
            depth -= sign
            if depth <= 0:
                return distance
        return None

    def sees(self, origins: Points, targets: Points) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell which straight ways from ``origins (n, 3)`` just inside the surface stay in the body.

        Counts layers: entering another piece and leaving it again is no way out. Returns which
        ways are clear and which of them meet no surface at all, both ``(n,)``.
        """
        way = targets - origins
        length = np.linalg.norm(way, axis=1)
        units = way / np.maximum(length, 1e-300)[:, None]
        clear = length <= self._step
        bare = clear.copy()
        going = np.flatnonzero(~clear)
        depth = np.ones(len(origins), dtype=np.int64)
        gone = np.zeros(len(origins))
        for layer in range(_HITS):
            if not len(going):
                break
            start = origins[going] + gone[going, None] * units[going]
            distance, sign = self.first_hit(start, units[going])
            arrived = gone[going] + distance >= length[going]
            clear[going[arrived]] = True
            if layer == 0:
                bare[going[arrived]] = True
            depth[going] -= sign
            gone[going] += np.where(arrived, 0.0, distance) + self._step
            going = going[~arrived & (depth[going] > 0)]
        return clear, bare
