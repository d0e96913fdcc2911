"""D19, D20: multipart uploads, parsed while they stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from google.protobuf.message import Message
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.errors import InvalidArgument
from services.gateway import auth
from services.gateway.dialects.aigc.mapping import uploaded_view
from services.gateway.edge.parts import EdgeParts
from services.gateway.ingest import FileKind, Ingestion
from services.gateway.json_writer import write_json
from services.gateway.pace import paced

_MAX_OTHER_BYTES = 64 * 1024
_MAX_PARTS = 16
_MAX_FILENAME = 1024
# RFC 2046 allows 70.
_MAX_BOUNDARY = 128


@dataclass(slots=True)
class _Part:
    """A part of the form."""

    headers: dict[str, bytes] = field(default_factory=dict)

    @property
    def options(self) -> dict[bytes, bytes]:
        """Parameters of its Content-Disposition."""
        return parse_options_header(self.headers.get("content-disposition", b""))[1]

    @property
    def name(self) -> str:
        """Name of the form's field."""
        return self.options.get(b"name", b"").decode(errors="replace")

    @property
    def filename(self) -> str | None:
        """Name of the file; None for a field that is no file."""
        raw = self.options.get(b"filename")
        return None if raw is None else raw.decode(errors="replace")


# What the parser saw in one chunk, in order: a part that began, its bytes, or its end (None).
_Seen = _Part | memoryview | None


class _Form:
    """Collects what the parser calls back, chunk by chunk."""

    def __init__(self, boundary: bytes) -> None:
        self._seen: list[_Seen] = []
        self._part = _Part()
        self._name = b""
        self._value = b""
        self.complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": lambda: self._seen.append(None),
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": lambda: self._seen.append(self._part),
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[_Seen]:
        """Return what was seen in a chunk."""
        self._parser.write(chunk)
        seen, self._seen = self._seen, []
        return seen

    def _begin(self) -> None:
        self._part = _Part()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._seen.append(memoryview(data)[start:end])

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._name.decode("latin-1").lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        self.complete = True


def upload_handler(
    parts: EdgeParts,
    kind: FileKind,
    file_part: str,
    view: Callable[[storage_pb2.Upload], Message] = uploaded_view,
    formats: Collection[str] = (),
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of one upload route. ``file_part`` names the form's field with the file.

    ``view`` makes the answer; ``formats``, if any are given, are all that is taken.
    """

    async def handle(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            ingestion = await receive_form(request, parts, kind, file_part, stack, {})
            if ingestion is None:
                raise InvalidArgument(f"The form needs a file in the field {file_part!r}.")
            facts = await ingestion.inspect()
            if formats and facts.format not in formats:
                taken = ", ".join(formats).upper()
                raise InvalidArgument(
                    f"The file is {facts.format.upper()}; {taken} can be rigged.", reason="INVALID_INPUT_FILE"
                )
            upload: storage_pb2.Upload = await ingestion.commit(facts)
        return Response(write_json(view(upload)), media_type="application/json")

    return handle


async def receive_form(
    request: Request,
    parts: EdgeParts,
    kind: FileKind,
    file_part: str,
    stack: AsyncExitStack,
    fields: dict[str, str],
) -> Ingestion | None:
    """Read the whole form: the file into an ingestion that lives on ``stack``, the rest into ``fields``.

    None when there is no file. Raises `InvalidArgument` for a form that is broken, too large besides
    the file, or has two of them.
    """
    form = _Form(_boundary(request))
    ingestion: Ingestion | None = None
    into_file, other_bytes, count = False, 0, 0
    name, value = "", bytearray()
    try:
        async for chunk in paced(request.stream(), len, parts.limits):
            for seen in form.feed(chunk) if chunk else ():
                if isinstance(seen, memoryview):
                    if into_file and ingestion is not None:
                        await ingestion.write(seen)
                        continue
                    other_bytes += len(seen)
                    if other_bytes > _MAX_OTHER_BYTES:
                        raise InvalidArgument("The form has too much besides the file.")
                    value += seen
                elif isinstance(seen, _Part):
                    count += 1
                    if count > _MAX_PARTS:
                        raise InvalidArgument("The form has too many parts.")
                    name, value = seen.name if seen.filename is None else "", bytearray()
                    into_file = seen.name == file_part and seen.filename is not None
                    if into_file:
                        if ingestion is not None:
                            raise InvalidArgument(f"The form has more than one {file_part!r}.")
                        called = (seen.filename or "")[:_MAX_FILENAME]
                        opening = parts.ingestor.open(kind, called, auth.account())
                        ingestion = await stack.enter_async_context(opening)
                else:
                    if name:
                        fields[name] = value.decode(errors="replace")
                    into_file = False
    except MultipartParseError as error:
        raise InvalidArgument(f"The form cannot be read: {error}.") from error
    if not form.complete:
        raise InvalidArgument("The form ends too early.")
    return ingestion


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidArgument("The content type must be multipart/form-data with a boundary.")
    if len(boundary) > _MAX_BOUNDARY:
        raise InvalidArgument(f"The form's boundary is longer than {_MAX_BOUNDARY}.")
    return boundary
