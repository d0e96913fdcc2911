"""Fail when a file of the project names a place of one machine: a home folder, a package registry."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Written in pieces, so that this file passes its own check.
_PLACES = (
    r"/(?:ro" r"ot|wo" r"rk)/[\w.]",
    r"/ho" r"me/\w+/",
    r"/Us" r"ers/\w+/",
    r"files\.pythonho" r"sted\.org",
    r"pypi\.o" r"rg/simple",
    r"registry\.np" r"mjs\.org",
    r"--(?:extra-)?index-u" r"rl|^--find-li" r"nks",
)
_PATTERN = re.compile("|".join(_PLACES), re.MULTILINE)


def project_files() -> list[Path]:
    """Return the files that are committed or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def findings(path: Path) -> list[str]:
    """Return one line for each place named in a text file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return []
    found = []
    for match in _PATTERN.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        found.append(f"{path.relative_to(ROOT)}:{line}: {match.group()}")
    return found


def main() -> None:
    """Look through every file."""
    found = [finding for path in project_files() for finding in findings(path)]
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
