"""Secrets are made once, whole, and only their owner can read them."""

import stat
from concurrent.futures import ThreadPoolExecutor

from maquette.runtime.secrets import load_secret
from maquette.runtime.settings import Settings


def test_processes_that_ask_at_once_get_the_same_secret(tmp_path):
    settings = Settings(data_dir=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: load_secret(settings, "internal"), range(64)))
    assert len(found) == 1
    assert len(found.pop()) == 64
    assert sorted(p.name for p in settings.secrets_dir.iterdir()) == ["internal"]


def test_nobody_else_can_read_a_secret(tmp_path):
    settings = Settings(data_dir=tmp_path)
    load_secret(settings, "urls")
    assert stat.S_IMODE(settings.secrets_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.secrets_dir / "urls").stat().st_mode) == 0o600


def test_secrets_of_different_names_differ(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert load_secret(settings, "grants") != load_secret(settings, "urls")
