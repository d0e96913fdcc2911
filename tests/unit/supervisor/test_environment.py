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
        telemetry={"metrics_ports": {"jobs": 0}},
    )


def test_a_child_loads_the_settings_its_parent_had(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of these is for every service.
    settings = settings.model_copy(update={"database": Settings().database, "storage": Settings().storage})
    monkeypatch.setattr(os, "environ", child_environment(settings, "jobs"))
    assert load_settings() == settings


@pytest.mark.parametrize("service", ["jobs", "storage", "meshgen", "gateway"])
def test_a_service_is_told_no_secret_of_another(settings: Settings, service: str) -> None:
    values = child_environment(settings, service).values()
    assert ("postgresql://j" in values) == (service == "jobs")
    assert ("postgresql://s" in values) == (service == "storage")
    assert ("s3cret" in values) == (service == "storage")
