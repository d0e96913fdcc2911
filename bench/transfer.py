"""A 200 MB mesh in and out through the whole path, against a script that copies the same bytes.

The script reads, hashes, writes and fsyncs. An upload ends when the answer is there: durable in
storage. The downloading client hashes, writes and fsyncs what it gets, as the script does.
"""

from __future__ import annotations

import hashlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engines import LARGE_BYTES
from bench.mesh import ROOT, BenchMesh, running_mesh
from bench.report import Bar, Report
from bench.rounds import load_average, median_ratio, take_turns
from maquette import samples

_ROUNDS = 5
# As long as curl makes it.
_BOUNDARY = f"{'-' * 24}d74496d66958873e"
_STL_HEAD = 84
_BLOCK = 1 << 20
_GROWTH_LIMIT_MIB = 48
_SERVICES = ("gateway", "storage", "envoy")


def main() -> Report:
    """Measure."""
    with running_mesh() as mesh:
        folder = mesh.data_dir.parent
        source = _make_mesh(folder / "source.stl")
        with mesh.memory_growth() as up_growth, _processor_time(mesh) as up_cpu:
            ups = take_turns(
                _ROUNDS,
                {"mesh": lambda: _upload(mesh, source), "script": lambda: _script(source, folder / "copy")},
            )
        job = mesh.submit(
            {
                "image_file_id": mesh.upload(samples.path(samples.NAMES[0])),
                "model_preference": "bench_large",
            }
        )
        mesh.wait(job, "completed")
        with mesh.memory_growth() as down_growth, _processor_time(mesh) as down_cpu:
            downs = take_turns(
                _ROUNDS,
                {
                    "mesh": lambda: _download(mesh, job, folder / "download"),
                    "script": lambda: _script(source, folder / "copy"),
                },
            )
        dropped = [_download(mesh, job, None) for _ in range(_ROUNDS)]
        memory = mesh.peak_rss_mib()
    report = Report(
        "transfer",
        [
            Bar(
                "upload of 200 MB against the script",
                median_ratio(ups["mesh"], ups["script"]),
                "×",
                minimum=0.5,
            ),
            _growth_bar("upload", up_growth),
            Bar(
                "download of 200 MB against the script",
                median_ratio(downs["mesh"], downs["script"]),
                "×",
                minimum=0.5,
            ),
            _growth_bar("download", down_growth),
        ],
        {
            "bytes": LARGE_BYTES,
            "upload_mb_per_second": {name: _rounded(seen) for name, seen in ups.items()},
            "download_mb_per_second": {
                **{name: _rounded(seen) for name, seen in downs.items()},
                "mesh, bytes dropped": _rounded(dropped),
            },
            "cpu_seconds_each": {"upload": up_cpu, "download": down_cpu},
            "memory_growth_mib": {"upload": up_growth, "download": down_growth},
            "peak_rss_mib": memory,
            "load_average": load_average(),
        },
    )
    report.write()
    return report


@contextmanager
def _processor_time(mesh: BenchMesh) -> Iterator[dict[str, float]]:
    """Fill the yielded dict with the processor time a round takes of each process and of the client, s."""
    before = _cpu(mesh)
    used: dict[str, float] = {}
    yield used
    after = _cpu(mesh)
    used.update({name: round((after[name] - seconds) / _ROUNDS, 3) for name, seconds in before.items()})


def _cpu(mesh: BenchMesh) -> dict[str, float]:
    seen = mesh.cpu_seconds()
    return {"client": time.process_time(), **{name: seen[name] for name in _SERVICES}}


def _growth_bar(what: str, growth: dict[str, float]) -> Bar:
    most = max(growth[name] for name in _SERVICES)
    return Bar(f"{what}: most memory growth of a process", most, "MiB", maximum=_GROWTH_LIMIT_MIB)


def _make_mesh(path: Path) -> Path:
    """Write a binary STL: 80 bytes of header, the count, 50 bytes a triangle."""
    triangles = (LARGE_BYTES - _STL_HEAD) // 50
    block = os.urandom(50_000)
    with path.open("wb") as file:
        file.write(bytes(80) + triangles.to_bytes(4, "little"))
        for _ in range(triangles // 1000):
            file.write(block)
        file.write(block[: triangles % 1000 * 50])
    return path


def _upload(mesh: BenchMesh, source: Path) -> float:
    """Upload the mesh with a head of its own, so that no two are the same; return MB a second."""
    os.sync()
    size = source.stat().st_size
    head = (
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="large.stl"\r\n'
        "content-type: model/stl\r\n\r\n"
    ).encode() + os.urandom(16)
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    started = time.perf_counter()
    with _connected(mesh) as connection, source.open("rb") as file:
        connection.sendall(
            (
                "POST /api/v1/file-upload/mesh HTTP/1.1\r\nhost: localhost\r\n"
                f"content-type: multipart/form-data; boundary={_BOUNDARY}\r\n"
                f"content-length: {len(head) - 16 + size + len(tail)}\r\n\r\n"
            ).encode()
            + head
        )
        connection.sendfile(file, offset=16)
        connection.sendall(tail)
        answer = connection.recv(65536)
    seconds = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the upload failed: {answer[:500]!r}")
    return size / 1e6 / seconds


def _download(mesh: BenchMesh, job: str, target: Path | None) -> float:
    """Download the result, hashed and brought to the disk; ``None`` drops it. Return MB a second."""
    os.sync()
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    started = time.perf_counter()
    with _connected(mesh) as connection, (target or Path(os.devnull)).open("wb", buffering=0) as file:
        connection.sendall(
            f"GET /api/v1/system/jobs/{job}/download HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )
        head, _, rest = _until_body(connection)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the download failed: {head[:500]!r}")
        left = LARGE_BYTES - len(rest)
        digest.update(rest)
        file.write(rest)
        while left:
            count = connection.recv_into(buffer, min(left, _BLOCK), socket.MSG_WAITALL)
            if not count:
                raise RuntimeError(f"the download ended {left} bytes early")
            left -= count
            if target is not None:
                digest.update(buffer[:count])
                file.write(buffer[:count])
        if target is not None:
            os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    if target is not None:
        target.unlink()
    return LARGE_BYTES / 1e6 / seconds


def _until_body(connection: socket.socket) -> tuple[bytes, bytes, bytes]:
    seen = b""
    while b"\r\n\r\n" not in seen:
        got = connection.recv(65536)
        if not got:
            raise RuntimeError(f"no answer: {seen!r}")
        seen += got
    return seen.partition(b"\r\n\r\n")


def _connected(mesh: BenchMesh) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", mesh.port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _script(source: Path, target: Path) -> float:
    """Run the peer; return its MB a second, without its interpreter's start."""
    os.sync()
    command = [sys.executable, "-m", "bench.peers.write_fsync", str(source), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    target.unlink()
    return source.stat().st_size / 1e6 / float(done.stdout.split()[0])


def _rounded(values: list[float]) -> dict[str, object]:
    return {"median": round(statistics.median(values)), "rounds": [round(value) for value in values]}


if __name__ == "__main__":
    main()
