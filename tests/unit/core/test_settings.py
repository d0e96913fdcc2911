"""Settings come from the environment, then the file, then the defaults, and are checked."""

import os

import pytest
from pydantic import ValidationError

from maquette.runtime.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("MAQUETTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_environment_is_stronger_than_the_file(monkeypatch, tmp_path):
    file = tmp_path / "box.toml"
    file.write_text('port = 9000\nbind = "127.0.0.2"\n[jobs]\nlease_seconds = 7\n')
    monkeypatch.setenv("MAQUETTE_CONFIG", str(file))
    monkeypatch.setenv("MAQUETTE_PORT", "9001")
    settings = load_settings()
    assert (settings.port, settings.bind, settings.jobs.lease_seconds) == (9001, "127.0.0.2", 7)


def test_nested_values_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("MAQUETTE_JOBS__LEASE_SECONDS", "2")
    assert load_settings().jobs.lease_seconds == 2


def test_the_public_listener_is_loopback_by_default():
    settings = Settings()
    assert settings.bind == "127.0.0.1"
    assert settings.allowed_origins == []


@pytest.mark.parametrize(("name", "value"), [("PORT", "0"), ("PORT", "x"), ("JOBS__LEASE_SECONDS", "-1")])
def test_a_wrong_value_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"MAQUETTE_{name}", value)
    with pytest.raises(ValidationError):
        load_settings()


def test_a_misspelt_key_in_the_file_is_refused(monkeypatch, tmp_path):
    file = tmp_path / "box.toml"
    file.write_text("[jobs]\nlease_secnds = 7\n")
    monkeypatch.setenv("MAQUETTE_CONFIG", str(file))
    with pytest.raises(ValidationError, match="lease_secnds"):
        load_settings()


def test_sockets_stay_bindable_below_a_long_data_folder(tmp_path):
    deep = tmp_path / ("d" * 120)
    for service in ("jobs", "gateway-edge"):
        path = Settings(data_dir=deep).socket(service).removeprefix("unix:")
        assert len(os.fsencode(path)) <= 107


def test_the_base_url_is_a_setting_and_has_no_trailing_slash():
    assert Settings(port=8000).base_url == "http://localhost:8000"
    assert Settings(public_base_url="https://box.example/").base_url == "https://box.example"
