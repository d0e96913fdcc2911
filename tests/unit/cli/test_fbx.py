"""Blender is installed before the demo where it can be, by a script that tests replace by their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from maquette.cli import main
from maquette.geometry.codecs import fbx as codec
from tests.support.blender_setup import runs, script

SUCCEEDS = "mkdir -p .venv && touch .venv/.ready\n"
FAILS = 'echo "ERROR: No matching distribution found for bpy"\nexit 1\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(codec, "_LIBRARIES", {"libc.so.6": "libc6"})
    monkeypatch.setenv("MAQUETTE_FBX__FOLDER", str(tmp_path))
    known = structlog.get_config()
    yield tmp_path
    structlog.configure(**known)


def test_it_is_installed_once_and_the_second_time_says_nothing(folder: Path) -> None:
    script(folder, SUCCEEDS)
    first = CliRunner().invoke(main, ["fbx", "--optional"])
    assert first.exit_code == 0
    [said] = first.output.splitlines()
    assert said.startswith("Installing Blender for FBX, once (about 1 GB)")
    second = CliRunner().invoke(main, ["fbx", "--optional"])
    assert (second.exit_code, second.output) == (0, "")
    assert runs(folder) == 1


def test_where_it_cannot_be_had_the_demo_goes_on_with_the_reason_and_the_line(folder: Path) -> None:
    script(folder, FAILS)
    for _ in range(2):
        done = CliRunner().invoke(main, ["fbx", "--optional"])
        assert done.exit_code == 0
        said = done.output.splitlines()[-1]
        assert said.startswith("No FBX files: ") and "No matching distribution" in said and "make fbx" in said
    assert runs(folder) == 1, "what failed lately is not tried again"
    asked = CliRunner().invoke(main, ["fbx"])
    assert asked.exit_code == 1


def test_libraries_that_are_missing_are_told_before_a_gigabyte_is_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(folder, SUCCEEDS)
    monkeypatch.setattr(codec, "_LIBRARIES", {"libnobodyhas.so.9": "libnobodyhas9"})
    done = CliRunner().invoke(main, ["fbx", "--optional"])
    assert done.exit_code == 0 and "apt-get install libnobodyhas9" in done.output
    assert runs(folder) == 0


def test_switched_off_nothing_is_installed_and_the_line_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(folder, SUCCEEDS)
    monkeypatch.setenv("MAQUETTE_FBX__INSTALL", "false")
    done = CliRunner().invoke(main, ["fbx", "--optional"])
    assert done.exit_code == 0 and "make fbx" in done.output
    assert runs(folder) == 0
