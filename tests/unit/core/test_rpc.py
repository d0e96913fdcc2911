"""A server of the mesh opens its door to the mesh only, and errors cross it whole."""

import asyncio
import socket
import stat
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from maquette.api.storage.v1 import storage_pb2, storage_pb2_grpc
from maquette.runtime.errors import Internal, InvalidArgument, MaquetteError, NotFound, ResourceExhausted
from maquette.runtime.rpc.channel import open_channel, translated
from maquette.runtime.rpc.interceptors import end_call
from maquette.runtime.rpc.server import create_server, serve
from maquette.runtime.settings import Settings

DIGEST = "a" * 64
SERVICE = "maquette.api.storage.v1.StorageService"


class Servicer(storage_pb2_grpc.StorageServiceServicer):
    async def StatBlob(self, request, context):
        if request.digest == DIGEST:
            raise NotFound("no such blob", metadata={"digest": DIGEST})
        raise ZeroDivisionError("secret detail")

    async def ReadBlob(self, request, context):
        yield storage_pb2.ReadBlobResponse(chunk=b"some")
        raise ResourceExhausted("full", reason="STORAGE_FULL")

    async def WriteBlob(self, request_iterator, context):
        size = 0
        async for request in request_iterator:
            size += len(request.chunk)
        return storage_pb2.WriteBlobResponse(size=size)


@pytest.fixture
async def settings(tmp_path):
    settings = Settings(data_dir=tmp_path, drain_seconds=0)
    server = create_server(settings)
    storage_pb2_grpc.add_StorageServiceServicer_to_server(Servicer(), server)
    running = await serve(server, settings.address("storage"), [SERVICE], settings)
    yield settings
    await running.drain()


@pytest.fixture
async def stub(settings):
    async with open_channel(settings, settings.address("storage")) as channel:
        yield storage_pb2_grpc.StorageServiceStub(channel)


async def test_a_raised_error_arrives_with_reason_and_metadata(stub):
    with pytest.raises(NotFound) as caught:
        async with translated():
            await stub.StatBlob(storage_pb2.StatBlobRequest(digest=DIGEST))
    assert caught.value.metadata == {"digest": DIGEST}


async def test_bounds_are_checked_before_the_servicer_sees_a_request(stub):
    with pytest.raises(InvalidArgument, match="digest"):
        async with translated():
            await stub.StatBlob(storage_pb2.StatBlobRequest(digest="x"))


async def test_an_unexpected_error_tells_the_caller_nothing_of_its_inside(stub):
    with pytest.raises(MaquetteError) as caught:
        async with translated():
            await stub.StatBlob(storage_pb2.StatBlobRequest(digest="b" * 64))
    assert caught.value.reason == "INTERNAL"
    assert "secret detail" not in caught.value.message


async def test_an_error_in_mid_stream_arrives_after_what_was_sent(stub):
    chunks = []
    with pytest.raises(ResourceExhausted) as caught:
        async with translated():
            async for response in stub.ReadBlob(storage_pb2.ReadBlobRequest(digest=DIGEST)):
                chunks.append(response.chunk)
    assert chunks == [b"some"]
    assert caught.value.reason == "STORAGE_FULL"


async def test_client_streams_pass_the_interceptors(stub):
    async def parts():
        for _ in range(3):
            yield storage_pb2.WriteBlobRequest(chunk=b"12")

    assert (await stub.WriteBlob(parts())).size == 6


@pytest.mark.parametrize("secret", [None, "wrong"])
async def test_a_caller_without_the_secret_is_refused(settings, secret):
    metadata = (("x-maquette-internal", secret),) if secret else ()
    async with grpc.aio.insecure_channel(settings.address("storage")) as channel:
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StatBlob(storage_pb2.StatBlobRequest(digest=DIGEST), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.ReadBlob(storage_pb2.ReadBlobRequest(digest=DIGEST), metadata=metadata):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_open_and_names_the_service(settings):
    async with grpc.aio.insecure_channel(settings.address("storage")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            response = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_else_can_open_the_socket(settings):
    path = Path(settings.address("storage").removeprefix("unix:"))
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_second_start_takes_over_a_socket_left_behind(tmp_path):
    settings = Settings(data_dir=tmp_path, drain_seconds=0)
    path = Path(settings.address("jobs").removeprefix("unix:"))
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    running = await serve(create_server(settings), settings.address("jobs"), [], settings)
    async with grpc.aio.insecure_channel(settings.address("jobs")) as channel:
        response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    await running.drain()


class Broken:
    """What a servicer sees of a call whose other side broke off."""

    async def abort(self, code, message, metadata):
        raise grpc.aio.InternalError("nobody is there")


async def test_a_caller_that_broke_off_is_no_error_of_ours(capsys):
    error, cause = Internal("internal error"), ZeroDivisionError("because the stream ended")
    with pytest.raises(asyncio.CancelledError):
        await end_call(Broken(), error, (), cause=cause, method="/a/b")
    said = capsys.readouterr()
    assert "the caller left" in said.out + said.err
    assert "Traceback" not in said.out + said.err
