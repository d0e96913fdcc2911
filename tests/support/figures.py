"""Characters as models, for tests that rig something."""

from __future__ import annotations

import numpy as np

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.topology import vertex_normals
from tests.support.capsules import person


def humanoid() -> Asset:
    """Return a person of 1.75 m in T-pose, looking along +Z."""
    found = person()
    points, faces = found.vertices.astype(np.float32), found.faces.astype(np.int32)
    mesh = Mesh(points, faces, vertex_normals(points, faces))
    return Asset("person", (Part("person", mesh, Material("skin", base_color=(0.8, 0.6, 0.5, 1.0))),))
