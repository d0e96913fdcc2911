"""Generate `maquette/api` from `protos/`, or check that it is up to date.

python scripts/protos.py           write the stubs and the descriptor set
python scripts/protos.py --check   fail when they differ from what is committed
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
THIRD_PARTY = PROTOS / "third_party"
API = ROOT / "maquette" / "api"
# Envoy needs these in the descriptor set to print errors that carry details.
ALSO_DESCRIBED = ("google/rpc/status.proto", "google/rpc/error_details.proto")


def generate(out: Path) -> None:
    """Write stubs and `descriptors.binpb` below ``out``, as `maquette/api` is laid out."""
    sources = sorted(str(p.relative_to(PROTOS)) for p in (PROTOS / "maquette").rglob("*.proto"))
    include = [f"-I{PROTOS}", f"-I{THIRD_PARTY}", f"-I{files('grpc_tools') / '_proto'}"]
    scripts = sysconfig.get_path("scripts")
    plugins = [f"--plugin=protoc-gen-{kind}={scripts}/protoc-gen-{kind}" for kind in ("mypy", "mypy_grpc")]
    with tempfile.TemporaryDirectory() as scratch:
        _protoc(
            [
                *include,
                *plugins,
                *(f"--{kind}_out={scratch}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")),
                *sources,
            ]
        )
        _protoc(
            [
                *include,
                "--include_imports",
                f"--descriptor_set_out={scratch}/descriptors.binpb",
                *sources,
                *ALSO_DESCRIBED,
            ]
        )
        generated = Path(scratch) / "maquette" / "api"
        (Path(scratch) / "descriptors.binpb").rename(generated / "descriptors.binpb")
        (generated / "__init__.py").write_text('"""Generated from `protos/`; never edited by hand."""\n')
        for folder in {p.parent for p in generated.rglob("*_pb2.py")}:
            while folder != generated:
                (folder / "__init__.py").touch()
                folder = folder.parent
        shutil.copytree(generated, out, dirs_exist_ok=True)


def _protoc(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit("protoc failed")


def _differences(a: filecmp.dircmp[str]) -> list[str]:
    found = [*a.left_only, *a.right_only, *a.diff_files]
    for sub in a.subdirs.values():
        found += _differences(sub)
    return found


def main() -> None:
    """Generate, or compare with what is there."""
    if "--check" not in sys.argv:
        shutil.rmtree(API, ignore_errors=True)
        generate(API)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        drift = _differences(filecmp.dircmp(API, fresh, ignore=["__pycache__"]))
    if drift:
        raise SystemExit(
            f"maquette/api is not what protos/ says; run `make protos`: {', '.join(sorted(drift))}"
        )


if __name__ == "__main__":
    main()
