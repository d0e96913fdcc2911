"""The database dies, this service dies: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import grpc
import pytest

from maquette.api.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.postgres import LocalPostgres
from tests.integration.jobs.harness import (
    Node,
    Run,
    Said,
    accepted,
    eventually,
    open_house,
    progress,
    result,
    served,
    takes,
    task,
)
from tests.support.folders import open_folder


@pytest.fixture
def mortal() -> Iterator[LocalPostgres]:
    """A PostgreSQL that a test may kill."""
    with open_folder("mortal") as home:
        server = LocalPostgres(Settings(data_dir=home))
        server.prepare()
        server.start()
        server.wait_ready()
        try:
            yield server
        finally:
            server.stop()


def _restart(server: LocalPostgres) -> None:
    server.kill()
    server.start()
    server.wait_ready()


async def test_a_database_killed_and_restarted_is_served_again(mortal: LocalPostgres, folder: Path) -> None:
    async with open_house(folder, mortal.dsn("ledger"), patience_seconds=60.0) as house:
        go = asyncio.Event()

        async def run(request: Run, context: grpc.aio.ServicerContext) -> AsyncIterator[Said]:
            yield accepted()
            yield progress(0.3)
            await go.wait()
            yield result(request)

        node = await house.node(run, slots=2)
        running = [await house.submit() for _ in range(2)]
        waiting = await house.submit()
        await eventually(lambda: node.busy == 2)
        await asyncio.to_thread(mortal.kill)
        # The results come while the database is away; they are committed when it is back.
        go.set()
        during = asyncio.create_task(house.submit())
        await eventually(lambda: node.busy == 0)
        await asyncio.to_thread(lambda: (mortal.start(), mortal.wait_ready()))
        late = await house.submit()
        for job in (*running, waiting, await during, late):
            done = await house.ended(job)
            assert done.state == jobs_pb2.STATE_SUCCEEDED
        # The attempts that ran through it were not lost.
        assert [(await house.get(job)).attempt for job in running] == [1, 1]
        assert len(node.seen) == 5


async def test_notifications_are_heard_again_after_a_restart(mortal: LocalPostgres, folder: Path) -> None:
    async with (
        open_house(folder, mortal.dsn("ledger"), poll_seconds=60.0) as house,
        open_house(folder, mortal.dsn("ledger"), name="other", poll_seconds=60.0) as other,
    ):
        await asyncio.to_thread(_restart, mortal)
        node = await other.node(takes(0.0))
        until = time.monotonic() + 60
        while not node.seen and time.monotonic() < until:
            await house.submit()
            await asyncio.sleep(0.2)
        assert node.seen


async def test_requests_are_refused_as_unavailable_while_the_database_is_away(
    mortal: LocalPostgres, folder: Path
) -> None:
    async with open_house(folder, mortal.dsn("ledger"), patience_seconds=0.2) as house:
        await asyncio.to_thread(mortal.kill)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.submit()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.to_thread(lambda: (mortal.start(), mortal.wait_ready()))

        async def served_again() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool(await house.submit())
            return False

        await eventually(served_again)


async def test_a_replica_killed_and_restarted_loses_and_doubles_nothing(
    folder: Path, ledger_dsn: str
) -> None:
    """Clients submit with keys and repeat what was not answered, while `jobs` dies five times."""
    settings = Settings(data_dir=folder)
    settings.run_dir.mkdir(parents=True)
    node = Node(settings, takes(0.1), slots=8)
    stub_channel = open_channel(settings, settings.address("jobs"))
    jobs = jobs_pb2_grpc.JobServiceStub(stub_channel)
    process = await _start(folder, ledger_dsn)
    answers: dict[str, str] = {}

    async def submit(number: int) -> None:
        request = jobs_pb2.CreateJobRequest(
            account_id="public",
            dialect="test",
            feature="work",
            tasks=[task()],
            idempotency_key=f"key {number}",
            request_digest="same",
        )
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                answers[f"{number}"] = (await jobs.CreateJob(request, timeout=10)).job.id
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)

    async def clients() -> None:
        for start in range(0, 120, 8):
            await asyncio.gather(*(submit(n) for n in range(start, start + 8)))
            await asyncio.sleep(0.05)

    try:
        async with served(node, settings, settings.address("jobs")):
            submitting = asyncio.create_task(clients())
            for _ in range(3):
                await asyncio.sleep(0.8)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                process = await _start(folder, ledger_dsn)
            await submitting
            assert len(set(answers.values())) == 120
            for job_id in answers.values():
                request = jobs_pb2.WaitJobRequest(key=jobs_pb2.JobKey(account_id="public", id=job_id))
                request.timeout.FromSeconds(60)
                done = (await jobs.WaitJob(request, wait_for_ready=True)).job
                assert done.state == jobs_pb2.STATE_SUCCEEDED
            listed = await jobs.ListJobs(jobs_pb2.ListJobsRequest(account_id="public", page_size=1))
            assert listed.total == 120
        ends = await _ends(ledger_dsn)
        assert set(ends.values()) == {1} and set(ends) == set(answers.values())
    finally:
        await stub_channel.close()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def _ends(dsn: str) -> dict[str, int]:
    """Count the terminal events of each job."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT job_id, count(*) FROM ledger.job_event"
            " WHERE type IN ('SUCCEEDED', 'FAILED', 'CANCELLED') GROUP BY job_id"
        )
    finally:
        await connection.close()
    return {str(row[0]): row[1] for row in rows}


async def _start(folder: Path, dsn: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.jobs.main",
        env={
            **os.environ,
            "MAQUETTE_DATA_DIR": str(folder),
            "MAQUETTE_DATABASE__JOBS_DSN": dsn,
            "MAQUETTE_JOBS__ANNOUNCE_SECONDS": "0.3",
            "MAQUETTE_DRAIN_SECONDS": "0",
            "MAQUETTE_TELEMETRY__LOG_LEVEL": "warning",
        },
    )
