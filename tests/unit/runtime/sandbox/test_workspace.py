"""Folders of workers: what they may read, and what they cannot make us open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maquette.runtime.sandbox import jitcache
from maquette.runtime.sandbox.errors import RemoteFailure
from maquette.runtime.sandbox.imports import reachable
from maquette.runtime.sandbox.workspace import CallFolder, Workspace
from tests.support.folders import open_folder

UID = 61200 if os.getuid() == 0 else None


@pytest.fixture
def folder() -> Iterator[CallFolder]:
    with open_folder("workspace") as root:
        workspace = Workspace(root / "work", "test")
        yield workspace.room(0, UID).call()
        workspace.close()


def made(path: Path, text: str = "made") -> Path:
    path.write_text(text)
    if UID is not None:
        os.chown(path, UID, UID)
    return path


def test_output_is_opened_by_relative_and_absolute_name(folder: CallFolder) -> None:
    made(folder.outputs / "a.txt")
    for name in ("a.txt", str(folder.outputs / "a.txt")):
        fd = folder.open_output(name)
        assert os.read(fd, 10) == b"made"
        os.close(fd)


@pytest.mark.parametrize("name", ["", ".", "..", "../in/x", "/etc/passwd", "missing", "folder", "pipe"])
def test_what_is_no_file_of_the_worker_is_not_opened(folder: CallFolder, name: str) -> None:
    (folder.outputs / "folder").mkdir()
    os.mkfifo(folder.outputs / "pipe")
    (folder.inputs / "x").write_text("ours")
    with pytest.raises(RemoteFailure):
        folder.open_output(name)


def test_links_are_not_followed(folder: CallFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder.outputs / "link").symlink_to(secret)
    (folder.outputs / "folder").symlink_to(tmp_path)
    for name in ("link", "folder/secret"):
        with pytest.raises(RemoteFailure):
            folder.open_output(name)


@pytest.mark.skipif(UID is None, reason="only root has files that a worker does not own")
def test_hard_link_to_our_file_is_not_opened(folder: CallFolder) -> None:
    (folder.inputs / "ours").write_text("ours")
    os.link(folder.inputs / "ours", folder.outputs / "hard")
    with pytest.raises(RemoteFailure):
        folder.open_output("hard")


@pytest.mark.skipif(UID is None, reason="only root's workers need another folder")
def test_closed_data_folder_is_left_closed_and_another_is_used() -> None:
    with open_folder("closed") as root:
        closed = root / "data"
        closed.mkdir(mode=0o700)
        workspace = Workspace(closed / "work", "test")
        assert reachable(workspace.path) and not workspace.path.is_relative_to(root)
        assert closed.stat().st_mode & 0o777 == 0o700
        workspace.close()
        assert not workspace.path.exists()


def test_cache_gives_copies_and_takes_only_news(tmp_path: Path) -> None:
    shared, mine, other = tmp_path / "shared", tmp_path / "mine", tmp_path / "other"
    jitcache.check_out(shared, mine)
    (mine / "module").mkdir(parents=True)
    (mine / "module" / "f.nbc").write_text("code")
    assert jitcache.publish(mine, shared)
    jitcache.check_out(shared, other)
    assert (other / "module" / "f.nbc").read_text() == "code"
    assert not jitcache.publish(other, shared)


def test_room_is_made_anew_while_a_call_in_it_is_being_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder("workspace") as root:
        workspace = Workspace(root / "work", "test")
        call = workspace.room(0, UID).call()
        rmdir = os.rmdir

        def removed_by_another(path: str, *, dir_fd: int | None = None) -> None:
            rmdir(path, dir_fd=dir_fd)
            if path == call.inputs.name:
                raise FileNotFoundError(2, "No such file or directory", path)

        monkeypatch.setattr(os, "rmdir", removed_by_another)
        room = workspace.room(0, UID)
        assert not call.inputs.exists()
        assert list(room.inputs.iterdir()) == list(room.outputs.iterdir()) == []
        workspace.close()
