"""Frames come apart as they were put together, however the stream was cut."""

from __future__ import annotations

import pytest

from maquette.runtime.rpc.byte_frames import (
    MAX_CHUNK_BYTES,
    BadFrame,
    Kind,
    Unpacker,
    frame,
    frame_head,
)

SENT = (
    (Kind.MESSAGE, b"one"),
    (Kind.CHUNK, b"some bytes"),
    (Kind.CHUNK, b""),
    (Kind.MESSAGE, b""),
    (Kind.CHUNK, b"more"),
    (Kind.RESPONSE, b""),
)
STREAM = b"".join(
    frame_head(kind, len(data)) + data if kind is Kind.CHUNK else frame(kind, data) for kind, data in SENT
)


def taken_apart(pieces: list[bytes]) -> list[tuple[Kind, bytes]]:
    """Return messages, and the bytes between two of them in one."""
    unpacker, found = Unpacker(), []
    for piece in pieces:
        for kind, data in unpacker.feed(piece):
            if kind is Kind.CHUNK and found and found[-1][0] is Kind.CHUNK:
                found[-1] = (kind, found[-1][1] + bytes(data))
            else:
                found.append((kind, bytes(data)))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, len(STREAM)])
def test_a_stream_may_be_cut_anywhere(size):
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert taken_apart(pieces) == [sent for sent in SENT if sent != (Kind.CHUNK, b"")]


def test_the_bytes_of_a_chunk_are_not_copied():
    data = frame_head(Kind.CHUNK, 4) + b"abcd"
    ((_, view),) = Unpacker().feed(data)
    assert isinstance(view, memoryview)
    assert view.obj is data


@pytest.mark.parametrize("said", [b"HTTP/1.1 400", frame_head(Kind.CHUNK, MAX_CHUNK_BYTES + 1)])
def test_what_is_no_frame_is_refused(said):
    with pytest.raises(BadFrame):
        list(Unpacker().feed(said))
