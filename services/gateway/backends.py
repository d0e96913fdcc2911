"""The services behind the gateway: stubs, deadlines, and how their errors arrive here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from maquette.api.jobs.v1 import jobs_pb2_grpc
from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.errors import DeadlineExceeded, Unavailable
from maquette.runtime.rpc.balanced import balanced
from maquette.runtime.rpc.channel import open_channel
from maquette.runtime.rpc.status import from_rpc_error
from maquette.runtime.settings import Settings

CALL_SECONDS = 10.0
"""Longest unary call, waiting for a service that starts again included."""


@dataclass(frozen=True, slots=True)
class JobsBackend:
    """One replica of `jobs`, or all of them behind one channel."""

    target: str
    channel: grpc.aio.Channel
    jobs: jobs_pb2_grpc.JobServiceAsyncStub
    artifacts: jobs_pb2_grpc.ArtifactServiceAsyncStub
    nodes: jobs_pb2_grpc.NodeServiceAsyncStub
    feed: jobs_pb2_grpc.FeedServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Backends:
    """Everything the gateway calls."""

    replicas: tuple[JobsBackend, ...]
    """Each replica of `jobs`, for what only it knows: its feed, and the nodes announced to it."""
    jobs: JobsBackend
    """All of them, in turns: what any of them can answer."""
    storage_channel: grpc.aio.Channel
    storage: storage_pb2_grpc.StorageServiceAsyncStub


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Backends]:
    """Open the channels; nothing is dialled before the first call."""
    replicas = tuple(
        _jobs_backend(target, open_channel(settings, target, privileged=True))
        for target in settings.jobs_addresses()
    )
    jobs = _jobs_backend("jobs", balanced([replica.channel for replica in replicas]))
    channel = open_channel(settings, settings.address("storage"), privileged=True)
    storage: Any = storage_pb2_grpc.StorageServiceStub(channel)
    try:
        yield Backends(replicas, jobs, channel, storage)
    finally:
        await jobs.channel.close()
        await channel.close()


def _jobs_backend(target: str, channel: grpc.aio.Channel) -> JobsBackend:
    jobs: Any = jobs_pb2_grpc.JobServiceStub(channel)
    artifacts: Any = jobs_pb2_grpc.ArtifactServiceStub(channel)
    nodes: Any = jobs_pb2_grpc.NodeServiceStub(channel)
    feed: Any = jobs_pb2_grpc.FeedServiceStub(channel)
    return JobsBackend(target, channel, jobs, artifacts, nodes, feed)


async def call(
    method: Any,
    request: Any,
    channel: grpc.aio.Channel,
    *,
    within: float = CALL_SECONDS,
    safe: bool = False,
) -> Any:
    """Make a unary call that waits for a service which is starting again.

    A ``safe`` one may be made twice: if its replica dies meanwhile it goes to another one, or to the same
    when that is back. Raises the domain error the other side raised; `Unavailable` when it stayed away.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + within
    try:
        return await method(request, timeout=within, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        left = until - clock()
        if safe and left > 0 and _broke_off(error):
            return await call(method, request, channel, within=left)
        domain = from_rpc_error(error)
        away = channel.get_state() is not grpc.ChannelConnectivity.READY
        if isinstance(domain, DeadlineExceeded) and away:
            raise Unavailable("the service is away") from error
        raise domain from error


def _broke_off(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a call ended without an answer: what our services answer with has details."""
    ended = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    return ended and rpc_status.from_call(error) is None
