"""The bytes of a glTF 2.0 file: its JSON, its buffers, and arrays read out of them.

Only bytes inside the file are read: the binary chunk and ``data:`` URIs. Any other URI is
refused. Every offset and count is checked against the buffer before an array is made.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.errors import UnreadableMesh

JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, struct.error)
"""What reading a document that breaks the format raises."""
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MAX_JSON = 64 * 1024 * 1024
_MAX_IMPLIED = 1_000_000
"""Longest array of zeros that an accessor without bytes may stand for."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file taken apart: the JSON document, the binary chunk, and chunks of other kinds."""

    document: dict[str, Any]
    binary: bytes
    others: tuple[tuple[int, bytes], ...] = ()


def split(data: bytes) -> Container:
    """Take a GLB apart; text glTF has no chunks. Raises :class:`UnreadableMesh` or one of `WRONG`."""
    text, binary = data, b""
    others: tuple[tuple[int, bytes], ...] = ()
    if data[:4] == b"glTF":
        _, version, length = struct.unpack_from("<III", data)
        if version != 2:
            raise UnreadableMesh(f"The GLB file has version {version}; only 2 can be read.")
        if length > len(data):
            raise UnreadableMesh("The GLB file is incomplete.")
        chunks = _chunks(data[:length])
        if not chunks or chunks[0][0] != JSON_CHUNK:
            raise UnreadableMesh("The GLB file has no JSON chunk.")
        text, rest = chunks[0][1], chunks[1:]
        if rest and rest[0][0] == BINARY_CHUNK:
            binary, rest = rest[0][1], rest[1:]
        others = tuple(rest)
    if len(text) > _MAX_JSON:
        raise UnreadableMesh("The glTF file has more than 64 MiB of JSON.")
    if not text.lstrip()[:1] == b"{":
        raise UnreadableMesh("The file is no glTF file.")
    document = json.loads(text, parse_constant=_no_number)
    if not str(document["asset"]["version"]).startswith("2."):
        raise UnreadableMesh("The glTF file is not of version 2.")
    return Container(document, binary, others)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _chunks(data: bytes) -> list[tuple[int, bytes]]:
    chunks, at = [], 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        if at + 8 + length > len(data):
            raise UnreadableMesh("The GLB file is incomplete.")
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length
    return chunks


class Arrays:
    """The accessors of one document. Methods raise :class:`UnreadableMesh` or one of `WRONG`."""

    def __init__(self, container: Container, max_vertices: int) -> None:
        self.document = container.document
        self._binary = container.binary
        self._max = max_vertices
        self._buffers: dict[int, bytes] = {}

    def accessor(self, number: int) -> NDArray[Any]:
        """Read an accessor as ``(count, width)``, normalised integers as floats."""
        entry = self.document["accessors"][number]
        count, width = self.count(number), _WIDTHS[entry["type"]]
        dtype = np.dtype(_COMPONENTS[entry["componentType"]])
        if "bufferView" in entry:
            values = self._strided(
                index(entry["bufferView"]), index(entry.get("byteOffset", 0)), count, width, dtype
            )
        elif count > _MAX_IMPLIED:
            raise UnreadableMesh("The glTF file claims a large array that it does not hold.")
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._with_sparse(values, entry["sparse"])
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
        return values

    def count(self, number: int) -> int:
        """Return how many values an accessor claims to hold."""
        count = index(self.document["accessors"][number]["count"])
        if count > 6 * self._max:
            raise UnreadableMesh(f"The glTF file claims an array of {count} values; that is too many.")
        return count

    def faces(self, primitive: dict[str, Any]) -> NDArray[np.int64] | None:
        """Return the triangles ``(m, 3)`` of a primitive, None for points, lines and the empty."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in primitive.get("attributes", {}):
            return None
        if "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
            raise UnreadableMesh("The glTF file is compressed with Draco, which cannot be read.")
        if "indices" in primitive:
            order = self.accessor(index(primitive["indices"])).astype(np.int64).ravel()
        else:
            order = np.arange(self.count(index(primitive["attributes"]["POSITION"])))
        if mode == _TRIANGLES:
            return order[: len(order) // 3 * 3].reshape(-1, 3)
        if mode == _FAN:
            first = np.full(max(len(order) - 2, 0), order[0] if len(order) else 0)
            return np.stack([first, order[1:-1], order[2:]], axis=1)
        strip = np.stack([order[:-2], order[1:-1], order[2:]], axis=1)
        strip[1::2] = strip[1::2, ::-1]
        return strip

    def view(self, number: int) -> bytes:
        """Return the bytes of a buffer view."""
        view = self.document["bufferViews"][number]
        data = self.buffer(index(view["buffer"]))
        start, length = index(view.get("byteOffset", 0)), index(view["byteLength"])
        if start + length > len(data):
            raise UnreadableMesh("A view of the glTF file reaches past the end of its buffer.")
        return data[start : start + length]

    def buffer(self, number: int) -> bytes:
        """Return the bytes of a buffer."""
        if number not in self._buffers:
            uri = self.document["buffers"][number].get("uri")
            self._buffers[number] = self._binary if uri is None else data_uri(uri)
        return self._buffers[number]

    def replace_buffers(self, joined: bytes) -> None:
        """Read from one buffer from now on, as the document now says."""
        self._binary, self._buffers = joined, {}

    def _with_sparse(self, values: NDArray[Any], sparse: dict[str, Any]) -> NDArray[Any]:
        count = index(sparse["count"])
        where, what = sparse["indices"], sparse["values"]
        kind = np.dtype(_COMPONENTS[where["componentType"]])
        rows = self._strided(index(where["bufferView"]), index(where.get("byteOffset", 0)), count, 1, kind)
        width = values.shape[1]
        fresh = self._strided(
            index(what["bufferView"]), index(what.get("byteOffset", 0)), count, width, values.dtype
        )
        changed = values.copy()
        changed[rows.ravel().astype(np.int64)] = fresh
        return changed

    def _strided(
        self, view_number: int, offset: int, count: int, width: int, dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        data = self.view(view_number)
        row = dtype.itemsize * width
        stride = index(self.document["bufferViews"][view_number].get("byteStride", 0)) or row
        if count and offset + stride * (count - 1) + row > len(data):
            raise UnreadableMesh("An array of the glTF file reaches past the end of its buffer.")
        if stride < row or count == 0:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))


def index(value: Any) -> int:
    """Take a JSON number as a count or place; negative ones would address from the end."""
    number = int(value)
    if isinstance(value, bool) or number != value or number < 0:
        raise UnreadableMesh("The glTF file has a wrong number where a place in a list belongs.")
    return number


def data_uri(uri: Any) -> bytes:
    """Return the bytes inside a ``data:`` URI. Raises :class:`UnreadableMesh` for every other one."""
    if not isinstance(uri, str) or not uri.startswith("data:"):
        raise UnreadableMesh("The glTF file refers to another file; only self-contained files can be read.")
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise UnreadableMesh("The glTF file has data that is not base64.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise UnreadableMesh("The glTF file has broken base64 data.") from error
