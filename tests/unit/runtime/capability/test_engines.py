"""What is told of an engine that cannot run here."""

from __future__ import annotations

import pytest

from maquette.runtime.capability.engines import missing_library


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ImportError("libGL.so.1: cannot open shared object file"), "apt-get install libgl1"),
        (OSError("libEGL.so.1: cannot open shared object file"), "apt-get install libegl1"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "Python package 'torch'"),
        (ImportError(""), "ImportError"),
    ],
)
def test_reason_names_what_to_install(error: Exception, says: str) -> None:
    assert says in missing_library(error)
