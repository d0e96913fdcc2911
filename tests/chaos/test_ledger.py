"""`jobs` and its database die while clients submit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc
import pytest

from tests.chaos.doors import Doors, until
from tests.chaos.engines import bytes_for
from tests.chaos.invariants import check, wait_until_ended
from tests.chaos.pictures import png
from tests.chaos.scale import SCALE, chance, record, within
from tests.chaos.submitting import RestClient, submit

_CLIENTS = 6
_KEYS_EACH = 15 * SCALE
_KILLS = 4 * SCALE
_DATABASE_KILLS = 2 * SCALE


@pytest.mark.timeout(240 * SCALE)
async def test_every_key_makes_one_job_while_jobs_is_killed_under_its_clients(doors: Doors) -> None:
    rng = chance("jobs killed")
    client = RestClient(doors)
    file_id = await client.upload(png(1))
    made: dict[str, str] = {}
    seeds: dict[str, int] = {}

    async def submit_in_turn(number: int) -> None:
        for turn in range(_KEYS_EACH):
            key = f"chaos-{number}-{turn}-{rng.random()}"
            seeds[key] = 1000 * number + turn
            made[key] = await client.submit(file_id, key, seeds[key])
            await asyncio.sleep(rng.uniform(0.0, 0.4))

    submitting = asyncio.gather(*(submit_in_turn(number) for number in range(_CLIENTS)))
    kills = 0
    while not submitting.done() and kills < _KILLS:
        await until(lambda: doors.ready_for("jobs") > 0.3 or submitting.done(), "jobs to be ready", 60)
        doors.mesh.kill("jobs")
        kills += 1
        await asyncio.sleep(rng.uniform(0.5, 1.5))
    await submitting
    assert len(made) == _CLIENTS * _KEYS_EACH

    repeated = {key: await client.submit(file_id, key, seeds[key]) for key in list(made)[::5]}
    assert all(made[key] == job_id for key, job_id in repeated.items())
    await wait_until_ended(doors, made.values())
    contents = {job_id: bytes_for(seeds[key]) for key, job_id in made.items()}
    assert await check(doors, made.values(), contents=contents) == {"SUCCEEDED": len(made)}
    rows = await doors.sql(
        "SELECT idempotency_key AS key, id FROM ledger.job WHERE idempotency_key = ANY ($1)", list(made)
    )
    assert {row["key"]: str(row["id"]) for row in rows} == made
    assert max(Counter(row["key"] for row in rows).values()) == 1
    record("jobs killed under submits", keys=len(made), kills=kills, retries=client.retries)


async def test_a_key_with_another_body_is_refused_also_after_jobs_was_killed(doors: Doors) -> None:
    rng = chance("key mismatch")
    client, key = RestClient(doors), f"mismatch-{rng.random()}"
    file_id = await client.upload(png(2))
    job_id = await client.submit(file_id, key, 1)
    doors.mesh.kill("jobs")
    body = {"image_file_id": file_id, "model_preference": "chaos_sleep", "seed": 2, "output_format": "glb"}
    headers = {"Idempotency-Key": key}
    answer = await client.send(
        "POST", "/api/v1/mesh-generation/image-to-raw-mesh", json=body, headers=headers
    )
    assert answer.status_code == 409, answer.text
    await wait_until_ended(doors, [job_id])
    await check(doors, [job_id])


@pytest.mark.timeout(240 * SCALE)
async def test_the_mesh_serves_again_within_five_seconds_of_postgresql_being_killed(doors: Doors) -> None:
    chance("postgresql killed")
    client = RestClient(doors)
    file_id = await client.upload(png(3))
    others = {name: pid for name, pid in doors.mesh.pids().items() if name != "postgres"}
    made: dict[str, int] = {}
    answered: list[tuple[float, float]] = []
    stopping = asyncio.Event()

    async def keep_submitting(number: int) -> None:
        turn = 0
        while not stopping.is_set():
            seed = 100_000 * number + turn
            began = time.monotonic()
            job_id = await client.submit(file_id, f"database-{number}-{turn}-{began}", seed)
            answered.append((began, time.monotonic()))
            made[job_id] = seed
            turn += 1
            await asyncio.sleep(0.2)

    submitting = asyncio.gather(*(keep_submitting(number) for number in range(3)))
    away: list[float] = []
    try:
        for _ in range(_DATABASE_KILLS):
            await asyncio.sleep(1.0)
            killed = time.monotonic()
            doors.mesh.kill("postgres")
            # The first submit that was both made and answered after the kill.
            await until(lambda at=killed: any(began > at for began, _ in answered), "a new submit", 60)  # type: ignore[misc]
            away.append(min(end for began, end in answered if began > killed) - killed)
            await until(lambda: doors.ready_for("postgres") > 0, "postgresql to be ready")
    finally:
        stopping.set()
        await submitting
    assert {name: pid for name, pid in doors.mesh.pids().items() if name != "postgres"} == others
    await wait_until_ended(doors, made)
    contents = {job_id: bytes_for(seed) for job_id, seed in made.items()}
    assert await check(doors, made, contents=contents) == {"SUCCEEDED": len(made)}
    record("postgresql killed", kills=len(away), seconds_to_serve_again=round(max(away), 2), jobs=len(made))
    assert max(away) <= within(5.0)


async def test_a_submit_that_cannot_be_stored_is_refused_and_takes_no_neighbour_with_it(doors: Doors) -> None:
    """Submits that arrive together share a transaction; PostgreSQL takes no NUL in a text."""
    good = [submit(doors, seed=number) for number in range(8)]
    bad = submit(doors, seed=1, key="with a \x00 in it")
    *job_ids, refused = await asyncio.gather(*good, bad, return_exceptions=True)
    assert isinstance(refused, grpc.aio.AioRpcError)
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert all(isinstance(job_id, str) for job_id in job_ids), job_ids
    await wait_until_ended(doors, [str(job_id) for job_id in job_ids])
