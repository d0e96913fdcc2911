"""Settings reach child processes whole, and secrets only those they are meant for."""

from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from maquette.runtime.settings import Settings, load_settings
from maquette.runtime.supervisor.environment import child_environment


@pytest.fixture
def settings() -> Settings:
    return Settings(
        port=8123,
        allowed_hosts=["a.example", "b.example"],
        jobs={"lease_seconds": 2},
        database={"jobs_dsn": "postgresql://j", "storage_dsn": "postgresql://s"},
        storage={"s3_secret_access_key": SecretStr("s3cret")},
        meshy={"api_key": SecretStr("msy_k3y")},
        segmind={"api_key": SecretStr("sg_k3y")},
        telemetry={"metrics_ports": {"jobs": 0}},
    )


def test_a_child_loads_the_settings_its_parent_had(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of these is for every service.
    plain = Settings()
    private = {name: getattr(plain, name) for name in ("database", "storage", "meshy", "segmind")}
    settings = settings.model_copy(update=private)
    monkeypatch.setattr(os, "environ", child_environment(settings, "jobs"))
    assert load_settings() == settings


@pytest.mark.parametrize("service", ["jobs", "storage", "meshgen", "rigging", "animation", "gateway"])
def test_a_service_is_told_no_secret_of_another(settings: Settings, service: str) -> None:
    values = child_environment(settings, service).values()
    assert ("postgresql://j" in values) == (service == "jobs")
    assert ("postgresql://s" in values) == (service == "storage")
    assert ("s3cret" in values) == (service == "storage")
    assert ("msy_k3y" in values) == (service in ("meshgen", "rigging", "animation"))
    assert ("sg_k3y" in values) == (service == "meshgen")
