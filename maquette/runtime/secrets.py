"""Secrets made at first start, one file each, readable by their owner only."""

from __future__ import annotations

import os
import secrets as random_source
from typing import Literal

from maquette.runtime.settings import Settings

SecretName = Literal["internal", "privileged", "grants", "urls"]
"""`internal` opens any service's door; `privileged` (gateway, jobs, storage) opens every blob;
`grants` (jobs, storage) signs task grants; `urls` (storage) signs download URLs."""


def load_secret(settings: Settings, name: str) -> bytes:
    """Return a secret of 64 hex digits, made on first use.

    Two processes that ask at once get the same one: the file is linked into place whole.
    """
    folder = settings.secrets_dir
    path = folder / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f".{name}.{os.getpid()}.{random_source.token_hex(4)}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(random_source.token_hex(32).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_bytes()
