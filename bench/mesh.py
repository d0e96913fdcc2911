"""A mesh of its own for one benchmark: started by the command line, looked at from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_REST_SECONDS = 60.0
_REST_WINDOW = 0.5
_REST_SHARE = 0.1
"""Of one core, over the window."""
_ENGINES = {"MAQUETTE_CAPABILITY__EXTRA_ENGINES": '{"meshgen": ["bench.engines:engines"]}'}
_MIB = 1 << 20
_HOT_CHILDREN = ("meshgen", "gateway")


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class BenchMesh:
    """A running mesh. ``environment`` makes any program find it by its settings."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.data_dir = folder / "data"
        self.port = free_port()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MAQUETTE_CONFIG": os.devnull,
            "MAQUETTE_DATA_DIR": str(self.data_dir),
            "MAQUETTE_PORT": str(self.port),
            "MAQUETTE_DRAIN_SECONDS": "1",
            **settings,
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)
        self._log = folder / "mesh.log"
        self._process: subprocess.Popen[bytes] | None = None

    # Life.

    def start(self, *, whole: bool = True) -> float:
        """Start; return the seconds until every process was ready. Raises RuntimeError.

        Without ``whole`` it need not be complete: until it says that it is ready.
        """
        self._log.unlink(missing_ok=True)
        started = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "maquette.cli", "up"],
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not (self._complete() if whole else self._told_ready()):
            if self._process.poll() is not None or time.monotonic() > started + _START_SECONDS:
                raise RuntimeError(f"the mesh did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return time.monotonic() - started

    def _told_ready(self) -> bool:
        return "Maquette is ready" in self._log.read_text()

    def _complete(self) -> bool:
        rows = self._rows()
        return bool(rows) and all(row["state"] == "ready" for row in rows.values())

    def _rows(self) -> dict[str, Any]:
        try:
            rows: dict[str, Any] = json.loads((self.data_dir / "run" / "mesh.json").read_text())["processes"]
        except FileNotFoundError:
            return {}
        return rows

    def stop(self) -> None:
        """Stop in order; kill what does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def show_logs(self) -> None:
        """Print the end of every process's log."""
        for path in sorted((self.data_dir / "logs").glob("*.log")):
            print(f"-- {path.name}", path.read_text(errors="replace")[-2000:], sep="\n", file=sys.stderr)

    # What its processes use.

    def processes(self) -> dict[str, psutil.Process]:
        """Return its processes by name; workers are `<service>/worker-<n>`."""
        found: dict[str, psutil.Process] = {}
        for name, row in self._rows().items():
            if row["pid"] is None:
                continue
            found[name] = process = psutil.Process(row["pid"])
            if name.startswith(_HOT_CHILDREN):
                for number, child in enumerate(process.children(recursive=True), 1):
                    found[f"{name}/worker-{number}"] = child
        return found

    def peak_rss_mib(self) -> dict[str, float]:
        """Return the peak resident memory of every process, MiB."""
        return {name: _status_mib(process, "VmHWM") for name, process in self.processes().items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time of every process so far; PostgreSQL's with its back ends."""
        return {
            name: cpu_seconds(process, children=name == "postgres")
            for name, process in self.processes().items()
        }

    def rest(self) -> None:
        """Wait until the mesh does nothing: its last workers warm up when it is ready already.

        Raises RuntimeError when it does not come to rest.
        """
        until = time.monotonic() + _REST_SECONDS
        before = self._work()
        while True:
            time.sleep(_REST_WINDOW)
            now = self._work()
            if now - before < _REST_SHARE * _REST_WINDOW:
                return
            if time.monotonic() > until:
                raise RuntimeError("the mesh does not come to rest")
            before = now

    def _work(self) -> float:
        """Return the processor time of every process and its children so far, in seconds."""
        return sum(cpu_seconds(process, children=True) for process in self.processes().values())

    @contextmanager
    def memory_growth(self) -> Iterator[dict[str, float]]:
        """Fill the yielded dict with each process's peak above where it stood at the start, MiB."""
        growth: dict[str, float] = {}
        before: dict[str, float] = {}
        for name, process in self.processes().items():
            # Sets the peak to what is resident now (Linux, proc(5)).
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            before[name] = _status_mib(process, "VmRSS")
        yield growth
        after = self.peak_rss_mib()
        growth.update({name: round(after[name] - mib, 1) for name, mib in before.items() if name in after})

    # What clients do.

    def upload(self, picture: Path) -> str:
        """Send a picture; return its file id."""
        with picture.open("rb") as file:
            answer = self.http.post("/api/v1/file-upload/image", files={"file": (picture.name, file)})
        answer.raise_for_status()
        return str(answer.json()["file_id"])

    def submit(self, body: dict[str, Any], *, textured: bool = False) -> str:
        """Submit a job; return its id."""
        answer = self.http.post(submit_path(textured=textured), json=body)
        answer.raise_for_status()
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return how a job stands."""
        answer = self.http.get(f"/api/v1/system/jobs/{job_id}")
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def wait(self, job_id: str, *words: str, timeout: float = 120.0) -> dict[str, Any]:
        """Poll until the job's status is one of ``words``. Raises RuntimeError on failure or time-out."""
        deadline = time.monotonic() + timeout
        while (job := self.job(job_id))["status"] not in words:
            if job["status"] == "failed" or time.monotonic() > deadline:
                raise RuntimeError(f"job {job_id} is {job['status']}: {job.get('error')}")
            time.sleep(0.01)
        return job


def submit_path(*, textured: bool = False) -> str:
    """Return the route a job is submitted to."""
    return f"/api/v1/mesh-generation/image-to-{'textured' if textured else 'raw'}-mesh"


@contextmanager
def running_mesh(*, engines: bool = True, start: bool = True, **settings: str) -> Iterator[BenchMesh]:
    """Run a mesh in a folder of its own, with the benchmarks' engines if asked for.

    ``settings`` are variables without their prefix: ``JOBS__QUEUE_LIMIT="100000"``.
    """
    folder = Path(tempfile.mkdtemp(prefix="maquette-bench-"))
    # PostgreSQL's user must pass.
    folder.chmod(0o711)
    variables = {f"MAQUETTE_{name}": value for name, value in settings.items()}
    mesh = BenchMesh(folder, {**(_ENGINES if engines else {}), **variables})
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(mesh.stop)
        stack.callback(mesh.http.close)
        try:
            if start:
                mesh.start()
                mesh.rest()
            yield mesh
        except Exception:
            mesh.show_logs()
            raise


@contextmanager
def running_peer(mesh: BenchMesh, module: str, *arguments: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run ``python -m bench.peers.<module> PORT …`` with the mesh's settings; yield port and process."""
    port = free_port()
    command = [sys.executable, "-m", f"bench.peers.{module}", str(port), *arguments]
    process = subprocess.Popen(command, env=mesh.environment, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"peer {module} did not start")
            time.sleep(0.02)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(process: psutil.Process, *, children: bool = False) -> float:
    """Return the processor time of a process so far."""
    times = process.cpu_times()
    total = float(times.user + times.system)
    if children:
        total += float(times.children_user + times.children_system)
        total += sum(cpu_seconds(child) for child in process.children())
    return total


def peak_rss_mib(process: psutil.Process) -> float:
    """Return the peak resident memory of a process, MiB."""
    return _status_mib(process, "VmHWM")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _status_mib(process: psutil.Process, name: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) * 1024 / _MIB, 1)
    return 0.0
