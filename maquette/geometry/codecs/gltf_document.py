"""A glTF file that is added to, while all that is in it stays as it is."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.codecs.gltf_arrays import BINARY_CHUNK, JSON_CHUNK, WRONG, Arrays, index, split
from maquette.geometry.errors import MeshError, UnreadableMesh

ARRAY_BUFFER = 34962
"""What vertex attributes are for the GPU (glTF 2.0, section 3.6.1.1)."""
_MAGIC = 0x46546C67
_CODES = {"u1": 5121, "u2": 5123, "f4": 5126}


class GltfDocument:
    """The document of a file and its bytes; what is added comes after what was there.

    ``json`` is the document: change it in place. Raises :class:`UnreadableMesh` for a file that is
    damaged, compressed, or not whole in itself.
    """

    def __init__(self, data: bytes, max_vertices: int) -> None:
        try:
            container = split(data)
            self.json: dict[str, Any] = container.document
            if "EXT_meshopt_compression" in self.json.get("extensionsRequired", ()):
                raise UnreadableMesh("The glTF file is compressed with meshopt, which cannot be read.")
            self.arrays = Arrays(container, max_vertices)
            for image in self.json.get("images", []):
                if not str(image.get("uri", "data:")).startswith("data:"):
                    raise UnreadableMesh(
                        "The glTF file refers to another file; only self-contained files can be read."
                    )
            self._binary = bytearray(self._joined(container.binary))
        except WRONG as error:
            if isinstance(error, MeshError):
                raise
            raise UnreadableMesh("The glTF file is damaged or breaks the format.") from error
        except RecursionError as error:
            raise UnreadableMesh("The glTF file is nested too deeply.") from error
        self._others = container.others

    def _joined(self, binary: bytes) -> bytes:
        """Return the bytes that become the binary chunk; buffers in ``data:`` URIs are joined to it.

        Only then are the views changed, to name the one buffer that is left.
        """
        buffers = self.json.get("buffers", [])
        if not buffers:
            return b""
        if len(buffers) == 1 and "uri" not in buffers[0]:
            length = index(buffers[0]["byteLength"])
            if length > len(binary):
                raise UnreadableMesh("The buffer of the glTF file is longer than its bytes.")
            return binary[:length]
        joined, starts = bytearray(), []
        for number in range(len(buffers)):
            joined += b"\0" * (-len(joined) % 4)
            starts.append(len(joined))
            joined += self.arrays.buffer(number)[: index(buffers[number]["byteLength"])]
        for view in self.json.get("bufferViews", []):
            view["byteOffset"] = index(view.get("byteOffset", 0)) + starts[index(view["buffer"])]
            view["buffer"] = 0
        self.json["buffers"] = [{"byteLength": len(joined)}]
        self.arrays.replace_buffers(bytes(joined))
        return bytes(joined)

    def add_array(
        self, values: NDArray[Any], kind: str, *, target: int | None = None, normalized: bool = False
    ) -> int:
        """Add ``values (n, …)``, uint8, uint16 or float32, as an accessor; return its number."""
        self._binary += b"\0" * (-len(self._binary) % 4)
        data = np.ascontiguousarray(values).tobytes()
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._binary += data
        views = self.json.setdefault("bufferViews", [])
        views.append(view)
        accessor: dict[str, Any] = {
            "bufferView": len(views) - 1,
            "componentType": _CODES[f"{values.dtype.kind}{values.dtype.itemsize}"],
            "count": len(values),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        accessors = self.json.setdefault("accessors", [])
        accessors.append(accessor)
        return len(accessors) - 1

    def encode(self) -> bytes:
        """Lay out a GLB (glTF 2.0, section 4.4)."""
        chunks = [(JSON_CHUNK, b"")]
        if self._binary:
            buffers = self.json.setdefault("buffers", [{}])
            buffers[0]["byteLength"] = len(self._binary)
            chunks.append((BINARY_CHUNK, bytes(self._binary) + b"\0" * (-len(self._binary) % 4)))
        chunks += self._others
        text = _text(self.json)
        chunks[0] = (JSON_CHUNK, text + b" " * (-len(text) % 4))
        body = b"".join(struct.pack("<II", len(data), kind) + data for kind, data in chunks)
        return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body


def _text(document: dict[str, Any]) -> bytes:
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair in a name has no UTF-8, only an escape.
        return json.dumps(document, separators=(",", ":")).encode()
