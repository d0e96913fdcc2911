"""Write the configuration file that Envoy starts with."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from maquette.runtime.settings import Settings
from services.gateway.envoy.config import envoy_config


def write_config(settings: Settings, path: Path) -> None:
    """Write Envoy's configuration as JSON, mode 0600, replacing ``path`` in one step.

    The file's name must end in ``.json``: Envoy goes by it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(envoy_config(settings), option=orjson.OPT_INDENT_2))
    draft.replace(path)
