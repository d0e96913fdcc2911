"""Hand settings on to child processes, whatever argument, file or variable they came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

import maquette
from maquette.runtime.settings import Settings

# Settings that only the services that use them may know: nobody else can lose them.
_PRIVATE: Mapping[str, tuple[str, ...]] = {
    "MAQUETTE_DATABASE__JOBS_DSN": ("jobs",),
    "MAQUETTE_DATABASE__STORAGE_DSN": ("storage",),
    "MAQUETTE_STORAGE__S3_ACCESS_KEY_ID": ("storage",),
    "MAQUETTE_STORAGE__S3_SECRET_ACCESS_KEY": ("storage",),
    "MAQUETTE_MESHY__API_KEY": ("meshgen", "rigging", "animation"),
    "MAQUETTE_SEGMIND__API_KEY": ("meshgen",),
}


def child_environment(settings: Settings, service: str) -> dict[str, str]:
    """Return the environment of a service: ours, with every setting it may know as a variable.

    ``PYTHONPATH`` names the folder this package was imported from, so that a checkout works
    without being installed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAQUETTE_")}
    source = str(Path(maquette.__file__).resolve().parents[1])
    paths = [source, *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        # Everything is in variables: a file found in some folder has nothing to add.
        "MAQUETTE_CONFIG": os.devnull,
        **{
            name: value
            for name, value in settings_variables(settings)
            if service in _PRIVATE.get(name, (service,))
        },
    }


def settings_variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Return settings as the variables `load_settings` reads them from; None values are left out."""
    return _variables(settings, "MAQUETTE_")


def _variables(model: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        variable = prefix + name.upper()
        if value is None:
            continue
        if isinstance(value, BaseModel):
            yield from _variables(value, f"{variable}__")
        elif isinstance(value, SecretStr):
            yield variable, value.get_secret_value()
        elif isinstance(value, str | Path):
            yield variable, str(value)
        else:
            yield variable, json.dumps(value)
