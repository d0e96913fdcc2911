"""The data folder: nobody looks in, and only as many pass as must."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.errors import SupervisorError
from maquette.runtime.supervisor.privileges import make_data_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_are_closed_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    passed = 0o711 if os.geteuid() == 0 else 0o700
    before = os.umask(umask)
    try:
        make_data_folder(settings)
    finally:
        os.umask(before)
    assert [mode(settings.data_dir / name) for name in ("blobs", "cache")] == [0o700, 0o700]
    assert (mode(settings.data_dir), mode(settings.tmp_dir)) == (passed, passed)


def test_folders_that_stood_open_are_closed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    (tmp_path / "blobs").mkdir(mode=0o755)
    make_data_folder(settings)
    assert mode(tmp_path / "blobs") == 0o700


def test_a_link_to_another_disk_is_left_as_it_is(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o755)
    disk.chmod(0o755)
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    (settings.data_dir / "blobs").symlink_to(disk)
    make_data_folder(settings)
    assert mode(disk) == 0o755


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(SupervisorError, match="cache"):
        make_data_folder(Settings(data_dir=tmp_path))
