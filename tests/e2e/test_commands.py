"""The commands, as a person types them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import trimesh
from PIL import Image

from maquette.cli.demo import MOTIONS
from maquette.cli.running import sample_picture
from maquette.runtime.supervisor.privileges import reachable
from tests.support.folders import open_folder
from tests.support.mesh import RunningMesh
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
NON_ROOT_UID = 54321
# For an interpreter that is not that of our virtual environment.
SEARCH_PATH = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))


def maquette(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "maquette.cli", *map(str, arguments)]


def run(*arguments: str | Path, timeout: float = 100.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        maquette(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@contextmanager
def up(
    folder: Path, *arguments: str, user: int | None = None, python: str = sys.executable
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `maquette up` on a data folder; yields the process and its port once it is ready."""
    port = free_port()
    command = [python, "-m", "maquette.cli", "up", "--data", str(folder), "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH, "HOME": str(folder.parent)}
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        user=user, group=user, extra_groups=[] if user is not None else None,
    )  # fmt: skip
    try:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "is ready on" in line:
                break
        else:
            pytest.fail("".join(lines))
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("up") as path:
        yield path


def test_ctrl_c_stops_everything_and_leaves_nothing(folder: Path) -> None:
    with up(folder / "data") as (process, port):
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 6
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
        assert [child for child in family if child.is_running()] == []
    assert list((folder / "data" / "run").rglob("*.sock")) == []
    assert list((folder / "data" / "run" / "pg").iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_nothing_outlives_a_supervisor_that_is_killed_and_the_next_start_works(folder: Path) -> None:
    with up(folder / "data") as (process, _):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(family, 60)
        assert alive == []
    with up(folder / "data") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0


def test_a_second_up_says_where_the_first_one_is(mesh: RunningMesh) -> None:
    settings = mesh.settings
    again = run("up", "--data", settings.data_dir, "--port", str(free_port()))
    assert again.returncode == 1
    expected = f"error: Maquette is already running on {settings.base_url} (pid {os.getpid()})"
    assert again.stderr.strip() == expected


def test_a_second_up_on_the_port_says_so(mesh: RunningMesh, folder: Path) -> None:
    again = run("up", "--data", folder / "data", "--port", str(mesh.settings.port))
    assert again.returncode == 1
    taken = rf"error: (Port {mesh.settings.port} is in use|Maquette is already running)"
    assert re.match(taken, again.stderr)
    assert len(again.stderr.splitlines()) == 1


def test_generate_goes_through_a_running_mesh(mesh: RunningMesh, tmp_path: Path) -> None:
    out = tmp_path / "model.ply"
    done = run("generate", sample_picture(), "-o", out, "--raw", "--url", mesh.url)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"ply")
    assert str(out) in done.stdout


def test_generate_takes_several_pictures_of_one_thing(mesh: RunningMesh, tmp_path: Path) -> None:
    pictures = []
    for name, width in (("front", 60), ("right", 30), ("back", 60)):
        picture = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
        picture.paste((90, 120, 200, 255), (50 - width // 2, 10, 50 + width // 2, 90))
        pictures.append(tmp_path / f"{name}.png")
        picture.save(pictures[-1])
    out = tmp_path / "box.stl"
    done = run("generate", *pictures, "--views", "front,right,back", "-o", out, "--raw", "--url", mesh.url)
    assert done.returncode == 0, done.stderr
    size = trimesh.load(out).extents
    assert size == pytest.approx((0.75, 1.0, 0.375), abs=0.03)
    refused = run("generate", *pictures, "--views", "front,right", "-o", out, "--url", mesh.url)
    assert refused.returncode == 2 and "3 pictures, 2 views" in refused.stderr


def test_generate_without_a_mesh_says_how_to_start_one(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("generate", sample_picture(), "-o", tmp_path / "x.glb", "--url", url)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: Maquette is not running on {url}; start it with: maquette up"


def test_status_lists_what_runs(mesh: RunningMesh) -> None:
    done = run("status", "--data", mesh.settings.data_dir)
    assert done.returncode == 0, done.stderr
    for name in mesh.pids():
        assert re.search(rf"^{name} +ready", done.stdout, re.MULTILINE)
    assert "healthy" in done.stdout


@pytest.mark.timeout(400)
def test_demo_makes_a_character_move_and_stops(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("demo", "--out", out, "--data", folder / "data", "--port", str(free_port()), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    moves = [f"anim_{number}.{ending}" for number in MOTIONS for ending in ("glb", "preview.webp")]
    for name in ("model.glb", "model.obj", "thumbnail.png", "rigged.glb", "rigged.thumbnail.png", *moves):
        assert (out / name).stat().st_size > 1000
    assert str(out / moves[1]) in done.stdout
    # With Blender there are FBX files; without, the demo says how to get them.
    assert (out / "rigged.fbx").is_file() or "No FBX files" in done.stdout
    assert not (folder / "data" / "run" / "mesh.json").exists()


def _uids(process: psutil.Process) -> set[int]:
    try:
        return {process.uids().real}
    except psutil.NoSuchProcess:  # a worker of the database that was done
        return set()


def _python_for_everybody() -> str | None:
    """Return an interpreter of our version that a user without rights can run; ours, if it is one."""
    candidates = (sys.executable, "/usr/bin/python3.11", "/usr/local/bin/python3.11")
    places = (ROOT, Path(sysconfig.get_path("purelib")))
    if not all(reachable(place, NON_ROOT_UID) for place in places):
        return None
    there = (path for path in candidates if Path(path).exists())
    return next((path for path in there if reachable(Path(path), NON_ROOT_UID)), None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    python = _python_for_everybody()
    if python is None:
        pytest.skip("no Python 3.11 with our packages that an ordinary user can run")
    home = folder / "home"
    home.mkdir()
    os.chown(home, NON_ROOT_UID, NON_ROOT_UID)
    with up(home / "data", user=NON_ROOT_UID, python=python) as (process, _):
        family = psutil.Process(process.pid).children(recursive=True)
        assert {uid for child in family for uid in _uids(child)} == {NON_ROOT_UID}
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
