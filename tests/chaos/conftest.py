"""One mesh that all chaos tests share, and each test's own doors to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chaos.doors import SECTIONS, Doors, open_doors, until, with_test_node
from tests.support.mesh import RunningMesh, running_mesh


@pytest.fixture(scope="session")
def chaos_mesh() -> Iterator[RunningMesh]:
    """A mesh of two capability nodes with leases of two seconds."""
    with running_mesh(nodes=2, adapt=with_test_node, **SECTIONS) as mesh:
        yield mesh


@pytest.fixture
async def doors(chaos_mesh: RunningMesh) -> AsyncIterator[Doors]:
    """Connections to the mesh, all of which is ready and idle when a test begins."""
    async with open_doors(chaos_mesh) as opened:
        await until(opened.at_rest, "the mesh to be at rest", 90.0)
        yield opened
