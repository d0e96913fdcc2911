"""No two workers of one machine share a uid."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maquette.runtime.sandbox import uids as module
from maquette.runtime.sandbox.uids import UIDS, claimed_uids

BASE = 61_200

FEW = 20

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives uids away")


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lock is an open file, and those are few in places."""
    monkeypatch.setattr(module, "UIDS", FEW)


@root_only
def test_pools_of_one_owner_differ_and_so_do_their_workers(locks: Path) -> None:
    with claimed_uids(BASE, "same", 64, locks) as first, claimed_uids(BASE, "same", 64, locks) as second:
        uids = [*first, *second]
    assert len(set(uids)) == 128
    assert all(BASE <= uid < BASE + UIDS for uid in uids if uid is not None)


@root_only
def test_ranges_that_overlap_do_not_collide(locks: Path) -> None:
    with (
        claimed_uids(BASE, "a", 2_500, locks) as first,
        claimed_uids(BASE + 100, "b", 1_400, locks) as second,
    ):
        assert not set(first) & set(second)


@root_only
def test_too_few_free_uids_are_an_error_and_hold_none(locks: Path, few: None) -> None:
    with claimed_uids(BASE, "a", FEW - 1, locks):
        with pytest.raises(OSError, match="2 are needed"), claimed_uids(BASE, "b", 2, locks):
            pass
        with claimed_uids(BASE, "c", 1, locks) as last:
            assert len(last) == 1


@root_only
def test_uids_of_a_process_that_was_killed_are_free_again(locks: Path, few: None) -> None:
    script = (
        "import sys; from pathlib import Path; from maquette.runtime.sandbox import uids\n"
        f"uids.UIDS = {FEW}\n"
        f"with uids.claimed_uids({BASE}, 'x', {FEW}, Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(locks)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="are taken"), claimed_uids(BASE, "x", 1, locks):
            pass
        other.kill()
    with claimed_uids(BASE, "x", 1, locks) as free:
        assert len(free) == 1


@root_only
def test_a_folder_that_others_may_write_is_refused(locks: Path) -> None:
    locks.mkdir()
    locks.chmod(0o777)
    with pytest.raises(PermissionError), claimed_uids(BASE, "x", 1, locks):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root gives uids away")
def test_an_ordinary_user_keeps_its_own(locks: Path) -> None:
    with claimed_uids(BASE, "x", 2, locks) as uids:
        assert list(uids) == [None, None]
