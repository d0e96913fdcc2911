"""One mesh for all end-to-end tests that only use it; those that break one start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mesh import RunningMesh, running_mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[RunningMesh]:
    with running_mesh() as running:
        yield running
