"""Save a job's files side by side, so that those that name each other find each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from maquette.cli.client import Client, Result


def file_names(files: Iterable[Mapping[str, Any]], mesh: str) -> list[tuple[str, int, str]]:
    """Return (role, ordinal, file name to save under) of a result's files.

    The mesh gets the name asked for, further meshes the same with a number, the thumbnail
    ``<name>.thumbnail.png`` and the preview ``<name>.preview.webp``. Everything else keeps its own
    name: an OBJ names its material, and the material its texture.
    """
    seen: Counter[str] = Counter()
    named = []
    stem, ending = Path(mesh).stem, Path(mesh).suffix
    for file in files:
        role = str(file["role"])
        ordinal = seen[role]
        seen[role] += 1
        info = file["file_info"]
        # Never a path, whatever the server says.
        own = Path(str(info["filename"])).name
        names = {
            "mesh": f"{stem}-{ordinal + 1}{ending}" if ordinal else mesh,
            "thumbnail": f"{stem}.thumbnail{info['file_extension']}",
            "preview": f"{stem}.preview{info['file_extension']}",
        }
        if ordinal == 0 or role not in ("thumbnail", "preview"):
            named.append((role, ordinal, names.get(role, own)))
    return named


def save(
    client: Client,
    result: Result,
    mesh: Path,
    *,
    thumbnail: Path | None = None,
    without: Collection[str] = (),
) -> None:
    """Download the files of a result beside ``mesh`` and note them in ``result.saved``.

    ``thumbnail`` renames the preview picture; files with a role in ``without`` are left out.
    """
    mesh.parent.mkdir(parents=True, exist_ok=True)
    for role, ordinal, name in file_names(result.job["result"]["files"], mesh.name):
        if role in without:
            continue
        to = thumbnail if role == "thumbnail" and thumbnail is not None else mesh.parent / name
        client.download(result.job["job_id"], to, role=role, ordinal=ordinal)
        result.saved.append((role, to))
