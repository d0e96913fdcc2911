"""What a worker is: plain values, decided by the parent, obeyed by the child."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import maquette


@dataclass(frozen=True, slots=True)
class Step:
    """A function that a worker runs before its door closes, with trusted arguments only."""

    target: str
    """`module:function`."""
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One kind of worker."""

    name: str
    """For logs and folders, e.g. "meshgen"."""
    modules: tuple[str, ...] = ()
    """Imported before the door closes."""
    packages: tuple[str, ...] = ()
    """Further modules it may read."""
    steps: tuple[Step, ...] = ()
    threads: int = 1
    """Threads that OpenMP, OpenBLAS, numba and OpenCV may use."""
    require_confinement: bool = True
    """Refuse to work where the kernel takes neither the filter nor the uid."""
    processes: bool = False
    """May start programs; they live under the same limits, and their memory counts with its own."""
    readable: tuple[Path, ...] = ()
    """Further folders it may read."""
    uid_base: int = 61200
    """First of the numeric uids that workers take when we are root."""
    recycle_after: int = 0
    """Calls after which a worker is replaced; 0 never."""
    max_file_mib: int = 2048
    """Longest file a worker may write."""
    jit_cache: Path | None = None
    """Folder in which compiled functions outlive a worker."""


def cores() -> int:
    """Return the cores we may use."""
    return len(os.sched_getaffinity(0))


def code_root() -> Path:
    """Return the folder that holds our packages."""
    return Path(maquette.__file__).resolve().parent.parent


def readable_roots(spec: WorkerSpec) -> list[str]:
    """Return what a worker may read: the interpreter, its packages, our code, the system's libraries."""
    roots = [sys.prefix, sys.base_prefix, *_SYSTEM]
    # Not our own root: data and secrets may lie beside the packages.
    ours = (code_root(), *code_root().parents)
    roots += [entry for entry in sys.path if entry and Path(entry).absolute() not in ours]
    named = [*spec.modules, *spec.packages, *(step.target.split(":")[0] for step in spec.steps)]
    packages = {"maquette", *(name.split(".")[0] for name in named)}
    for package in sorted(packages):
        place = code_root() / package
        roots.append(str(place if place.is_dir() else place.with_suffix(".py")))
    return [*roots, *map(str, spec.readable)]


_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/opt")


def environment(spec: WorkerSpec, scratch: Path) -> dict[str, str]:
    """Return the whole environment of a worker: nothing of ours goes in."""
    threads = str(max(1, spec.threads))
    # A Python whose own libraries lie elsewhere does not start without it.
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {
        **libraries,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch),
        "NUMBA_CACHE_DIR": str(scratch / "jit"),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "NUMEXPR_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "OPENCV_FOR_THREADS_NUM": threads,
        # Idle OpenMP threads must sleep: other workers need the cores.
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_ARENA_MAX": "4",
    }
