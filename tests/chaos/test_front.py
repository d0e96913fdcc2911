"""What stands between clients and the ledger dies: gateway, Envoy, storage."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.doors import Doors, until
from tests.chaos.engines import bytes_for
from tests.chaos.invariants import check, wait_until_ended
from tests.chaos.pictures import png
from tests.chaos.scale import SCALE, chance, record
from tests.chaos.submitting import RestClient

_FRONT = ("gateway", "storage", "envoy")
_CLIENTS = 4
_PICTURES_EACH = 8 * SCALE
_KILLS = 2 * SCALE


@pytest.mark.timeout(240 * SCALE)
@pytest.mark.parametrize("victim", _FRONT)
async def test_clients_that_try_again_lose_nothing_when_it_is_killed(doors: Doors, victim: str) -> None:
    rng = chance(f"{victim} killed")
    client = RestClient(doors)
    made: dict[str, int] = {}

    async def work(number: int) -> None:
        for turn in range(_PICTURES_EACH):
            seed = 10_000 * number + turn
            file_id = await client.upload(png(seed))
            made[await client.submit(file_id, f"{victim}-{seed}-{rng.random()}", seed)] = seed

    working = asyncio.gather(*(work(number) for number in range(_CLIENTS)))
    kills = 0
    while not working.done() and kills < _KILLS:
        await until(lambda: doors.ready_for(victim) > 0.2 or working.done(), f"{victim} to be ready", 60)
        doors.mesh.kill(victim)
        kills += 1
        await asyncio.sleep(rng.uniform(0.3, 1.0))
    await working
    assert len(made) == _CLIENTS * _PICTURES_EACH
    await wait_until_ended(doors, made)
    contents = {job_id: bytes_for(seed) for job_id, seed in made.items()}
    assert await check(doors, made, contents=contents) == {"SUCCEEDED": len(made)}
    # A client finds its file by the job it was told of, through the front door.
    for job_id in list(made)[::7]:
        answer = await client.send("GET", f"/api/v1/system/jobs/{job_id}/download")
        assert answer.content == bytes_for(made[job_id])
    record(f"{victim} killed", jobs=len(made), kills=kills, retries=client.retries)


@pytest.mark.parametrize("victim", [*_FRONT, "client"])
async def test_an_upload_broken_off_leaves_no_row_and_no_file(doors: Doors, victim: str) -> None:
    rows, files = await _rows(doors), set(_files(doors))
    sockets = [_half_an_upload(doors, number) for number in range(4)]
    try:
        await until(lambda: set(_files(doors)) - files, "the bytes to arrive")
        if victim != "client":
            doors.mesh.kill(victim)
    finally:
        for connection in sockets:
            connection.close()
    await until(doors.all_ready, "the mesh to be ready", 60)
    await until(lambda: not set(_files(doors)) - files, "what was broken off to be gone")
    assert await _rows(doors) == rows


def _half_an_upload(doors: Doors, number: int) -> socket.socket:
    """Send the first 3 MiB of an upload of 6 MiB, and hold the connection."""
    port = doors.mesh.settings.port
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    body = png(number, side=1024)[: 3 << 20]
    assert len(body) == 3 << 20
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(
        f"POST /api/v1/file-upload/image HTTP/1.1\r\nHost: localhost:{port}\r\n"
        f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {6 << 20}\r\n\r\n".encode()
    )
    connection.sendall(head + body)
    return connection


async def _rows(doors: Doors) -> tuple[int, int]:
    """Count uploads and blobs."""
    counts = await doors.sql(
        "SELECT (SELECT count(*) FROM assets.upload), (SELECT count(*) FROM assets.blob)", role="storage"
    )
    return tuple(counts[0])


def _files(doors: Doors) -> Iterator[Path]:
    """Walk what storage and gateway keep on the disk."""
    for folder in (doors.mesh.settings.data_dir / "blobs", doors.mesh.settings.tmp_dir):
        for parent, folders, files in os.walk(folder):
            # The rooms of the nodes' workers come and go with these.
            folders[:] = [name for name in folders if name != "work"]
            yield from (Path(parent, name) for name in files)
