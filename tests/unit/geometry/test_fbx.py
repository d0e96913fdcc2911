"""FBX where it cannot be had: what is missing is said with the line that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maquette.geometry.codecs import fbx
from maquette.geometry.errors import UnreadableMesh


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_without_blender_the_line_that_installs_it_is_told(folder: Path) -> None:
    assert "make fbx" in fbx.missing_parts(folder)


def test_without_a_system_library_its_package_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".venv" / ".ready").touch()
    monkeypatch.setattr(fbx, "_LIBRARIES", {"libnobodyhas.so.9": "libnobodyhas9", "libc.so.6": "libc6"})
    told = fbx.missing_parts(folder)
    assert told.endswith("apt-get install libnobodyhas9")


def test_with_all_that_it_needs_nothing_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".venv" / ".ready").touch()
    monkeypatch.setattr(fbx, "_LIBRARIES", {"libc.so.6": "libc6"})
    assert fbx.missing_parts(folder) == ""


def test_fbx_is_known_by_its_head_and_text_is_refused() -> None:
    assert fbx.is_fbx(b"Kaydara FBX Binary  \x00\x1a\x00")
    assert not fbx.is_fbx(b"glTF")
    with pytest.raises(UnreadableMesh, match="binary FBX"):
        fbx.is_fbx(b"; FBX 7.7.0 project file\n")


def test_the_worker_s_licence_is_its_own() -> None:
    worker = Path(__file__).resolve().parents[3] / "workers" / "blender"
    assert "GNU GENERAL PUBLIC LICENSE" in (worker / "LICENSE").read_text()
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in (worker / "convert.py").read_text()
