"""A real S3 for one test run: Debian's Ceph (monitor, one OSD in memory, radosgw), cephx required.

Needs the programs of the packages `ceph-mon`, `ceph-osd` and `radosgw`; no manager daemon, no root,
and nothing is left after it. Started as a program, it runs a command with the S3 named in the
environment (MAQUETTE_TEST_S3_ENDPOINT, …_ACCESS_KEY, …_SECRET_KEY):

    python tests/chaos/radosgw.py pytest tests/contract/storage
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
_START_SECONDS = 90.0
_CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
mon_initial_members = a
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
pid_file =
run_dir = {folder}
crash_dir = {folder}
mon_data = {folder}/mon
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{s3_port}
rgw_thread_pool_size = 32
"""
_KEYS = (
    ("mon.", ("mon", "allow *")),
    ("client.admin", ("mon", "allow *", "osd", "allow *", "mgr", "allow *")),
    ("osd.0", ("mon", "allow profile osd", "osd", "allow *")),
    ("client.rgw", ("mon", "allow rw", "osd", "allow rwx")),
)


@dataclass(frozen=True)
class S3:
    """Where the store is, and the keys of its one user."""

    endpoint: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """The variables that the storage contract suite reads."""
        return {
            "MAQUETTE_TEST_S3_ENDPOINT": self.endpoint,
            "MAQUETTE_TEST_S3_ACCESS_KEY": self.access_key,
            "MAQUETTE_TEST_S3_SECRET_KEY": self.secret_key,
        }


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def radosgw() -> Iterator[S3]:
    """Start the store, wait until it answers, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="rgw-") as name, ExitStack() as stack:
        folder = Path(name)
        mon_port, s3_port = free_ports(2)
        fsid = str(uuid.uuid4())
        configuration = folder / "ceph.conf"
        text = _CONFIGURATION.format(fsid=fsid, folder=folder, mon_port=mon_port, s3_port=s3_port)
        configuration.write_text(text)
        for entry in ("mon", "osd", "rgw"):
            (folder / entry).mkdir()

        def call(program: str, *arguments: str) -> None:
            command = [program, "-c", str(configuration), *arguments]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_START_SECONDS, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{program} failed: {done.stderr.strip()}")

        def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = [program, "-c", str(configuration), "-f", *arguments]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(stop, process)
            return process

        make_keyring(folder / "keyring")
        monmap = str(folder / "monmap")
        address = f"[v2:127.0.0.1:{mon_port}]"
        subprocess.run(
            ["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap],
            capture_output=True,
            check=True,
        )
        call("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(folder / "keyring"))
        start("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        call("ceph", "--connect-timeout", "60", "osd", "new", osd)
        call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", "-i", "0")
        s3 = S3(f"http://127.0.0.1:{s3_port}", secrets.token_hex(10), secrets.token_hex(20))
        gateway = start("radosgw", "--name", "client.rgw")
        wait_for(s3.endpoint, gateway)
        keys = (f"--access-key={s3.access_key}", f"--secret-key={s3.secret_key}")
        call("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
        yield s3


def make_keyring(path: Path) -> None:
    """Make every daemon's key; the monitor learns them all when it is set up."""
    subprocess.run(["ceph-authtool", "--create-keyring", str(path)], capture_output=True, check=True)
    for name, caps in _KEYS:
        pairs = [
            part for kind, cap in zip(caps[::2], caps[1::2], strict=True) for part in ("--cap", kind, cap)
        ]
        command = ["ceph-authtool", str(path), "--gen-key", "--name", name, *pairs]
        subprocess.run(command, capture_output=True, check=True)


def wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the gateway answers."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only to refuse
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("radosgw did not come up")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon; its state lives in a folder that goes with it."""
    process.kill()
    process.wait()


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> int:
    """Run a command with the store in its environment."""
    absent = missing()
    if absent:
        text = f"not installed: {', '.join(absent)} (Debian: ceph-mon ceph-osd radosgw)\n"
        sys.stderr.write(text)
        return 77
    with radosgw() as s3:
        return subprocess.run(sys.argv[1:], env={**os.environ, **s3.environment()}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
