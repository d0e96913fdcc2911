"""The incremental reader agrees with `json.loads`, wherever the body is cut."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.runtime.errors import InvalidArgument
from services.gateway.body_reader import MAX_DEPTH, BodyReader, FileBegins, FileBytes, FileEnds

FILES = ("image_base64", "texture_image_base64")


def read(body: bytes, cuts=(), max_rest: int = 1 << 20, max_body: int = 1 << 24):
    """Read a body in pieces; return the rest and the files."""
    reader = BodyReader(FILES, max_rest=max_rest, max_body=max_body)
    files: list[tuple[str, bytes]] = []
    ended = 0
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in itertools.pairwise(edges):
        for event in reader.feed(body[start:end]):
            if isinstance(event, FileBegins):
                files.append((event.name, b""))
            elif isinstance(event, FileBytes):
                name, data = files.pop()
                files.append((name, data + event.data))
            else:
                assert isinstance(event, FileEnds)
                ended += 1
    rest = reader.finish()
    assert ended == len(files)
    return rest, files


text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(text, values, max_size=5)
cuts = st.lists(st.integers(0, 400), max_size=12)


@given(
    objects,
    st.binary(max_size=80),
    st.sampled_from(["", "data:image/png;base64,", "data:;base64,"]),
    cuts,
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_it_agrees_with_json_wherever_the_body_is_cut(rest, data, prefix, where, spaced):
    whole = {**rest, "image_base64": prefix + base64.b64encode(data).decode()}
    body = json.dumps(whole, indent=2 if spaced else None, ensure_ascii=spaced).encode()
    found, files = read(body, where)
    assert found == {**rest, "image_base64": None}
    assert files == [("image_base64", data)]


@given(objects, cuts)
@settings(max_examples=100, deadline=None)
def test_without_files_it_is_json_loads(rest, where):
    body = json.dumps(rest).encode()
    if not set(FILES) & set(rest):
        assert read(body, where) == (rest, [])


@given(st.binary(max_size=60), cuts)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_object_or_refused(body, where):
    try:
        expected = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        expected = None
    try:
        found, _ = read(body, where)
    except InvalidArgument:
        return
    assert found == expected


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=100, deadline=None)
def test_escaped_slashes_and_line_breaks_in_base64_are_read(data):
    encoded = base64.encodebytes(data).decode().replace("/", "\\/").replace("\n", "\\r\\n")
    for cut in range(0, len(encoded), 7):
        _, files = read(f'{{"image_base64": "{encoded}"}}'.encode(), [cut + 18])
        assert files == [("image_base64", data)]


def test_padding_may_be_left_away():
    for data in (b"a", b"ab", b"abc"):
        text = base64.b64encode(data).rstrip(b"=")
        assert read(b'{"image_base64":"' + text + b'"}')[1] == [("image_base64", data)]


@pytest.mark.parametrize(
    "text", ["A", "AA=A", "====", "AA==AA==", "AA!A", "AA\\u0041A", "data:text/plain,AAAA", "data:"]
)
def test_what_is_no_base64_is_refused_at_every_cut(text):
    body = f'{{"image_base64":"{text}"}}'.encode()
    for cut in range(len(body)):
        with pytest.raises(InvalidArgument):
            read(body, [cut])


def test_a_file_name_deeper_down_is_plain_text():
    body = {"other": {"image_base64": "not base64!"}, "list": ["image_base64"]}
    assert read(json.dumps(body).encode()) == (body, [])


def test_a_file_name_written_with_escapes_is_a_file():
    _, files = read(b'{"image\\u005fbase64":"AAAA"}')
    assert files == [("image_base64", b"\0\0\0")]


@pytest.mark.parametrize("value", ["null", "5", "true", "[]", "{}"])
def test_a_file_member_that_is_no_string_is_left_to_the_type_check(value):
    rest, files = read(f'{{"image_base64": {value}, "b": 1}}'.encode())
    assert (rest, files) == ({"image_base64": json.loads(value), "b": 1}, [])


def test_duplicate_names_are_refused_at_any_depth():
    for body in (b'{"a":1,"a":2}', b'{"x":{"a":1,"a":2}}', b'{"image_base64":"AAAA","image_base64":"AAAA"}'):
        with pytest.raises(InvalidArgument, match="twice"):
            read(body)


def test_depth_and_sizes_have_limits():
    deep = b'{"x":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert read(deep)[0]
    with pytest.raises(InvalidArgument, match="deeper"):
        read(b'{"x":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}")
    with pytest.raises(InvalidArgument) as refused:
        read(json.dumps({"x": "y" * 5000}).encode(), max_rest=4096)
    assert refused.value.reason == "FILE_TOO_LARGE"
    with pytest.raises(InvalidArgument) as refused:
        read(b'{"image_base64":"' + b"AAAA" * 2000 + b'"}', max_body=4096)
    assert refused.value.reason == "FILE_TOO_LARGE"


def test_files_cost_no_memory():
    reader = BodyReader(FILES, max_rest=1024, max_body=1 << 30)
    largest = 0
    list(reader.feed(b'{"image_base64":"'))
    for _ in range(256):
        for event in reader.feed(b"QUJD" * 4096):
            assert isinstance(event, FileBytes)
            largest = max(largest, len(event.data))
    assert largest <= 3 * 4096
    list(reader.feed(b'"}'))
    assert reader.finish() == {"image_base64": None}
