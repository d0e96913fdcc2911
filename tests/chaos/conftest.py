"""One mesh that all chaos tests share, and each test's own doors to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.chaos.doors import SECTIONS, Doors, open_doors, until, with_test_node
from tests.support.mesh import RunningMesh, running_mesh


@pytest.fixture(scope="session")
def chaos_mesh() -> Iterator[RunningMesh]:
    """A mesh of two capability nodes with leases of two seconds."""
    with running_mesh(nodes=2, adapt=with_test_node, without=("rigging", "animation"), **SECTIONS) as mesh:
        yield mesh


@pytest.fixture
async def doors(chaos_mesh: RunningMesh) -> AsyncIterator[Doors]:
    """Connections to the mesh, all of which is ready and idle when a test begins."""
    async with open_doors(chaos_mesh) as opened:
        await until(opened.at_rest, "the mesh to be at rest", 90.0)
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the last words of every process where a test failed."""
    report = yield
    mesh = getattr(item, "funcargs", {}).get("chaos_mesh")
    if report.when == "call" and report.failed and mesh is not None:
        for name in mesh.mesh.processes:
            report.sections.append((f"log of {name}", mesh.log(name, 3000)))
    return report
