"""Every malformed file goes through its loader within 2 s and 512 MiB, and never takes the process down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "malformed"
FILES = sorted(FOLDER.glob("*")) if FOLDER.is_dir() else []

_CHILD = """
import json, resource, sys, time
from pathlib import Path
from maquette.geometry import codecs, images, inspect
from maquette.geometry.codecs import glb, gltf, obj, ply, stl
from maquette.geometry.errors import GeometryError
from maquette.geometry.topology import measure
limit = 512 * 1024 * 1024
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
for line in sys.stdin:
    path = Path(line.rstrip("\\n"))
    start = time.process_time()
    try:
        if path.suffix.lower() in (".glb", ".gltf", ".obj", ".ply", ".stl"):
            said = measure(codecs.read_mesh(path))
        else:
            said = inspect.inspect_image_file(str(path), {})
    except GeometryError as error:
        said = {"refused": str(error)}
    print(json.dumps({"seconds": time.process_time() - start, "said": said}), flush=True)
status = open("/proc/self/status").read()
print(json.dumps({"peak_kib": int(status.split("VmHWM:")[1].split()[0])}), flush=True)
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, object]]:
    names = "".join(f"{path}\n" for path in FILES)
    run = subprocess.run(
        [sys.executable, "-c", _CHILD], input=names, capture_output=True, text=True, timeout=250
    )
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert lines.pop()["peak_kib"] < 512 * 1024
    return dict(zip([path.name for path in FILES], lines, strict=True))


@pytest.mark.skipif(not FILES, reason="the folder of malformed files is not here")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_malformed_file_is_read_or_refused_in_time(
    path: Path, answers: dict[str, dict[str, object]]
) -> None:
    answer = answers[path.name]
    assert float(str(answer["seconds"])) <= 2.0
    said = answer["said"]
    assert isinstance(said, dict)
    if "refused" in said:
        assert len(str(said["refused"])) > 15 and str(said["refused"]).endswith(".")
    else:
        assert said["face_count"] > 0 and all(abs(value) < 1e16 for value in said["bounds_max"])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("deep.gltf", b'{"asset":{"version":"2.0"},"extras":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        ("claims.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 19000000\nproperty double x\n"
         b"property double y\nproperty double z\nend_header\n"),
        ("claims.stl", bytes(80) + (4_000_000_000).to_bytes(4, "little") + bytes(5000)),
        ("fan.obj", b"v 0 0 0\n" * 10 + b"f " + b"1 " * 800_000 + b"\n"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x06\0\0\0"),
    ],
)  # fmt: skip
def test_a_small_file_with_large_claims_is_refused_cheaply(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", _CHILD], input=f"{path}\n", capture_output=True, text=True, timeout=250
    )
    assert run.returncode == 0, run.stderr[-2000:]
    answer, peak = (json.loads(line) for line in run.stdout.splitlines())
    assert "refused" in answer["said"] and answer["seconds"] <= 2.0 and peak["peak_kib"] < 512 * 1024
