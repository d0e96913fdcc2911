"""Bytes in and out of storage, as the gateway and the capabilities move them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import grpc

from maquette.api.storage.v1 import storage_pb2 as pb
from maquette.api.storage.v1 import storage_pb2_grpc
from maquette.runtime.errors import Cancelled, Internal, InvalidArgument, MaquetteError, Unavailable
from maquette.runtime.rpc.channel import from_rpc_error
from maquette.runtime.rpc.interceptors import GRANT_HEADER

if TYPE_CHECKING:  # generic in their stubs only
    _Call = grpc.aio.StreamUnaryCall[Any, Any]

CHUNK_BYTES = 1 << 20
"""Largest message on the way in; callers may give pieces of any size."""
_BATCH_BYTES = 1 << 20


class Written(NamedTuple):
    """A blob that is there now."""

    digest: str
    size: int


class BlobClient:
    """Streams blobs. Memory stays flat; bytes never cross the event loop's disk.

    ``channel`` comes from `open_channel`: privileged in the gateway, plain in a capability, which
    gives the task's ``grant`` here. Methods raise the catalogue's errors.
    """

    def __init__(self, channel: grpc.aio.Channel, *, grant: str = "") -> None:
        self._stub = storage_pb2_grpc.StorageServiceStub(channel)
        self._metadata = ((GRANT_HEADER, grant),) if grant else ()

    async def read(self, digest: str, offset: int = 0, length: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield a blob, or ``length`` bytes of it from ``offset`` (0: to the end)."""
        request = pb.ReadBlobRequest(digest=digest, offset=offset, length=length)
        call = self._stub.ReadBlob(request, metadata=self._metadata)
        try:
            async for response in call:
                yield response.chunk
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        finally:
            call.cancel()

    async def read_to_file(self, digest: str, path: Path, *, max_bytes: int = 0) -> int:
        """Write a whole blob to a new file and return its size; a file that fails is removed.

        Raises InvalidArgument (FILE_TOO_LARGE) above ``max_bytes``, Internal for damaged bytes.
        """
        hasher = hashlib.sha256()
        size = 0
        try:
            with await asyncio.to_thread(path.open, "xb") as file:
                async with contextlib.aclosing(self.read(digest)) as chunks:
                    async for batch in _batches(chunks):
                        size += sum(map(len, batch))
                        if max_bytes and size > max_bytes:
                            raise InvalidArgument(
                                f"blob {digest} has more than {max_bytes} bytes", reason="FILE_TOO_LARGE"
                            )
                        await _uninterrupted(_write_batch, file, hasher, batch)
            if hasher.hexdigest() != digest:
                raise Internal(f"blob {digest} arrived damaged")
        except FileExistsError:
            raise
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return size

    async def write(
        self,
        chunks: AsyncIterable[bytes],
        *,
        retention: pb.Retention.ValueType = pb.RETENTION_RESULT,
        media_type: str = "",
        expected_digest: str = "",
        max_bytes: int = 0,
    ) -> Written:
        """Write one blob from a stream. A source that raises leaves nothing in storage."""
        header = pb.WriteBlobRequest.Header(
            retention=retention,
            media_type=media_type,
            expected_digest=expected_digest,
            max_bytes=max_bytes,
        )
        call = self._stub.WriteBlob(metadata=self._metadata)
        async with _Sending(call) as sending:
            await sending.send(pb.WriteBlobRequest(header=header))
            async for chunk in chunks:
                for piece in _pieces(chunk):
                    await sending.send(pb.WriteBlobRequest(chunk=piece))
            await sending.send(pb.WriteBlobRequest(commit=pb.WriteBlobRequest.Commit()))
            response = await sending.finish()
        return Written(response.digest, response.size)

    async def write_file(
        self,
        path: Path,
        *,
        retention: pb.Retention.ValueType = pb.RETENTION_RESULT,
        media_type: str = "",
        expected_digest: str = "",
    ) -> Written:
        """Write one blob from a file."""
        with await asyncio.to_thread(path.open, "rb") as file:
            async with contextlib.aclosing(_read_file(file)) as chunks:
                return await self.write(
                    chunks, retention=retention, media_type=media_type, expected_digest=expected_digest
                )

    @contextlib.asynccontextmanager
    async def upload(
        self, *, account_id: str, kind: pb.UploadKind.ValueType, filename: str, max_bytes: int = 0
    ) -> AsyncIterator[UploadWriter]:
        """Open an upload; leaving the block without `UploadWriter.commit` leaves nothing behind."""
        header = pb.CreateUploadRequest.Header(
            account_id=account_id, kind=kind, filename=filename, max_bytes=max_bytes
        )
        call = self._stub.CreateUpload(metadata=self._metadata)
        async with _Sending(call) as sending:
            await sending.send(pb.CreateUploadRequest(header=header))
            yield UploadWriter(sending)


class UploadWriter:
    """An upload that is open."""

    def __init__(self, sending: _Sending) -> None:
        self._sending = sending

    async def write(self, chunk: bytes) -> None:
        """Send some bytes. Raises what storage raised, e.g. InvalidArgument (FILE_TOO_LARGE)."""
        for piece in _pieces(chunk):
            await self._sending.send(pb.CreateUploadRequest(chunk=piece))

    async def commit(self, *, media_type: str, extension: str) -> pb.Upload:
        """Publish it under the type its bytes turned out to have (``extension`` without dot)."""
        commit = pb.CreateUploadRequest.Commit(media_type=media_type, format=extension)
        await self._sending.send(pb.CreateUploadRequest(commit=commit))
        response: pb.CreateUploadResponse = await self._sending.finish()
        return response.upload


class _Sending:
    """One client stream of ours: cancelled unless it ended well, so that storage drops what it has.

    Finds the status the server gave. A write that fails because the server has ended the call makes
    grpc.aio set an INTERNAL status of its own, over the server's or before it
    (https://github.com/grpc/grpc/issues/36066), and FILE_TOO_LARGE would read as a fault of ours.
    """

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._first: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._ended)

    async def __aenter__(self) -> _Sending:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, grpc.aio.AioRpcError):
                raise await self._reason(error) from error
        finally:
            self._call.cancel()

    async def _reason(self, error: grpc.aio.AioRpcError) -> MaquetteError:
        status = error if error.details() != _CORE else self._first
        end = time.monotonic() + _LATE_SECONDS
        while status is None and time.monotonic() < end:
            await asyncio.sleep(0.01)  # what comes in place of a status wakes nobody
            status = _status(self._call)
        # Without a status of the server's, it was the connection that broke.
        return _error(status) if status else Unavailable("the stream to storage broke")

    async def send(self, message: Any) -> None:
        """Send a message, or raise why the server wants no more."""
        try:
            await self._call.write(message)
        except asyncio.InvalidStateError:
            await self._call
            raise

    async def finish(self) -> Any:
        """End the stream and return the response."""
        await self._call.done_writing()
        return await self._call

    def _ended(self, call: Any) -> None:
        self._first = self._first or _status(call)


_CORE = "Internal error from Core"
# The server's status comes at most this much after a write that failed for it.
_LATE_SECONDS = 2.0


def _error(status: grpc.aio.AioRpcError) -> MaquetteError:
    """Turn a status into our error. A server that stops ends calls with a bare CANCELLED."""
    error = from_rpc_error(status)
    return Unavailable("storage has stopped") if isinstance(error, Cancelled) else error


def _status(call: Any) -> grpc.aio.AioRpcError | None:
    """Return the status of a call that has ended; None for one that grpc.aio made up."""
    code, details, trailing = (_value(f()) for f in (call.code, call.details, call.trailing_metadata))
    if code is None or details == _CORE:
        return None
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, empty, trailing or empty, details)


def _value(coroutine: Any) -> Any:
    """Return what a coroutine that has nothing to wait for returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    return None


def _pieces(chunk: bytes) -> list[bytes]:
    if len(chunk) <= CHUNK_BYTES:
        return [chunk] if chunk else []
    return [chunk[start : start + CHUNK_BYTES] for start in range(0, len(chunk), CHUNK_BYTES)]


async def _batches(chunks: AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    """Gather chunks to about 1 MiB, so that a thread is asked once for several."""
    batch: list[bytes] = []
    size = 0
    async for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_batch(file: BinaryIO, hasher: Any, batch: list[bytes]) -> None:
    for chunk in batch:
        hasher.update(chunk)
        file.write(chunk)


async def _read_file(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """Yield a file, one piece read ahead."""
    ahead = asyncio.ensure_future(asyncio.to_thread(file.read, CHUNK_BYTES))
    try:
        while chunk := await asyncio.shield(ahead):
            ahead = asyncio.ensure_future(asyncio.to_thread(file.read, CHUNK_BYTES))
            yield chunk
    finally:
        with contextlib.suppress(OSError):
            await ahead  # the file is closed next


async def _uninterrupted(call: Any, *args: Any) -> Any:
    """Run a call in a thread to its end, also when the task is cancelled: its file is still open."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await work
        raise
