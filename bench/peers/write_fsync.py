"""Hash, write and fsync the bytes of a file, as a plain script does; print the seconds it took.

Run: ``python -m bench.peers.write_fsync SOURCE TARGET``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

_BLOCK = 1 << 20


def main() -> None:
    """Copy with SHA-256."""
    source, target = sys.argv[1:]
    started = time.perf_counter()
    digest = hashlib.sha256()
    with Path(source).open("rb", buffering=0) as reader, Path(target).open("wb", buffering=0) as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
        os.fsync(writer.fileno())
    print(time.perf_counter() - started, digest.hexdigest())


if __name__ == "__main__":
    main()
