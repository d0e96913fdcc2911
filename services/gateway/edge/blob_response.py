"""Bytes of storage as an answer: relayed as they come, and never a short body with a clean end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import Internal, MaquetteError, NotFound, Unavailable
from maquette.runtime.rpc.byte_client import ByteCall, ByteClient, Piece
from services.gateway.backends import CALL_SECONDS

_READ_BLOB = "/maquette.api.storage.v1.StorageService/ReadBlob"
_RETRY_SECONDS = 0.05

Encoder = Callable[[AsyncIterator[Piece]], AsyncGenerator[Piece, None]]


class BlobResponse(Response):
    """Answers with ``length`` bytes of a blob from ``start``.

    The first bytes are here before any header goes out, so that a blob that is gone is told as such. A
    stream that breaks later breaks the answer off; a client that leaves ends the stream.
    """

    def __init__(
        self,
        storage: ByteClient,
        digest: str,
        start: int,
        length: int,
        *,
        headers: Mapping[str, str],
        media_type: str,
        status_code: int = 200,
        encode: Encoder | None = None,
    ) -> None:
        """Prepare. ``headers`` state the length of what ``encode`` makes of the bytes."""
        self._storage = storage
        self._request = storage_pb2.ReadBlobRequest(digest=digest, offset=start, length=length)
        self._length = length
        self._encode = encode
        self.status_code = status_code
        self.media_type = media_type
        self.background = None
        self.body = b""
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. Raises NotFound, Unavailable, and what else storage answers with."""
        if scope["method"] == "HEAD":
            await Response.__call__(self, scope, receive, send)
            return
        async with AsyncExitStack() as stack:
            call, first = await self._begin(stack)
            leaving = asyncio.ensure_future(_disconnected(receive))
            leaving.add_done_callback(lambda _: call.close())
            try:
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                pieces: AsyncGenerator[Piece, None] = self._pieces(call, first)
                if self._encode is not None:
                    pieces = self._encode(pieces)
                async with contextlib.aclosing(pieces):
                    async for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except MaquetteError:
                if not leaving.done():
                    raise
            finally:
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)

    async def _begin(self, stack: AsyncExitStack) -> tuple[ByteCall, Sequence[Piece]]:
        """Open the stream and wait for its first bytes; a storage that starts again is waited for."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + CALL_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(deadline), AsyncExitStack() as attempt:
                    call = await attempt.enter_async_context(self._storage.call(_READ_BLOB, timeout=None))
                    await call.send(self._request)
                    first = await call.receive_bytes()
                    stack.push_async_exit(attempt.pop_all())
                    return call, first
            except NotFound as error:
                raise NotFound("The file is gone.") from error
            except TimeoutError as error:
                raise Unavailable("storage is away") from error
            except Unavailable:
                if clock() + _RETRY_SECONDS > deadline:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _pieces(self, call: ByteCall, first: Sequence[Piece]) -> AsyncGenerator[Piece, None]:
        left, pieces = self._length, first
        while pieces:
            for piece in pieces:
                left -= len(piece)
                yield piece
            pieces = await call.receive_bytes()
        if left:
            raise Internal(f"the stream of a blob ended {left} bytes early")


async def _disconnected(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
