"""Temporary folders that users other than the tests' own can pass, as PostgreSQL's must."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """Make a folder that goes at the end. Pytest's own are closed to every other user."""
    folder = Path(tempfile.mkdtemp(prefix=f"maquette-{name}-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
