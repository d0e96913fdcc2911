"""The skin: how much each joint moves each vertex.

Bone heat (Baran & Popović 2007) over the welded surface, with the bones a point sees inside
the body; ways through the solid (Dionne & de Lasa 2013) where it sees none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.rig import Skeleton, Skin
from services.rigging.engines.limb_graph.skin.bones import bones_of
from services.rigging.engines.limb_graph.skin.layers import weigh, weigh_tangle
from services.rigging.engines.limb_graph.skin.pieces import is_tangled
from services.rigging.engines.limb_graph.skin.prune import prune
from services.rigging.engines.limb_graph.skin.rays import Rays
from services.rigging.engines.limb_graph.skin.reach import reach
from services.rigging.engines.limb_graph.skin.surface import weld_surface

ReportSkin = Callable[[float, str], None]
"""Is told the share that is done, 0 to 1, and what comes next; may raise to stop the work."""


def bind(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    skeleton: Skeleton,
    *,
    report: ReportSkin | None = None,
) -> tuple[Skin, tuple[str, ...]]:
    """Bind a mesh to a skeleton.

    Takes ``vertices (n, 3)`` metres and ``faces (m, 3)``; vertices at one place get one row of
    weights. Returns the skin of the ``n`` vertices and warnings for people. The same input gives
    the same skin. Raises :class:`maquette.geometry.errors.MeshError` when no vertex has a place
    or a face names a vertex that does not exist.
    """
    tell = report or (lambda share, message: None)
    tell(0.0, "Welding the surface")
    surface = weld_surface(vertices, faces)
    rays = Rays(surface)
    bones = bones_of(skeleton, rays, surface.size)
    tell(0.1, "Finding the bones each point sees")
    if is_tangled(surface):
        weights, warnings = weigh_tangle(surface, bones, len(skeleton.names))
    else:
        near = reach(surface, bones, rays, len(skeleton.names))
        tell(0.4, "Balancing the heat of the bones")
        weights, warnings = weigh(surface, bones, near)
    tell(0.9, "Choosing the influences")
    return prune(weights, np.maximum(surface.source, 0)), warnings
