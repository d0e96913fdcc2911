"""Names that cannot lie, ranges that cannot overrun."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.edge.attachments import (
    Span,
    Unsatisfiable,
    disposition,
    not_modified,
    safe_name,
    wanted_span,
)


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_name_becomes_one_safe_header(name):
    safe = safe_name(name, "mesh.glb")
    assert safe.endswith(".glb") or safe.lower().endswith(".glb")
    assert not set(safe) & set('/\\"<>:|?*%')
    assert not re.search(r"[\x00-\x1f\x7f]", safe)
    assert safe.strip(".") != ""
    header = disposition(safe)
    header.encode("ascii")
    assert header.count('"') == 2
    assert "\r" not in header
    assert "\n" not in header


@given(st.integers(1, 1000), st.integers(0, 1200), st.integers(0, 1200))
@settings(deadline=None)
def test_a_range_lies_inside_the_file(size, start, end):
    for header in (f"bytes={start}-{end}", f"bytes={start}-", f"bytes=-{end}"):
        try:
            span = wanted_span(header, "", '"e"', size)
        except Unsatisfiable:
            assert start >= size or end == 0
            continue
        if span is not None:
            assert 0 <= span.start < size
            assert 0 < span.length <= size - span.start


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=5-", Span(5, 5)),
        ("bytes=-3", Span(7, 3)),
        ("bytes=-30", Span(0, 10)),
        ("bytes=0-99", Span(0, 10)),
        ("bytes=5-3", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=" + "9" * 90 + "-", Unsatisfiable),
        ("bytes=" + "9" * 6000 + "-", None),
        ("bytes=١-٢", None),
        ("", None),
    ],
)
def test_ranges_read_as_the_rfc_says(header, expected):
    if expected is Unsatisfiable:
        with pytest.raises(Unsatisfiable):
            wanted_span(header, "", '"e"', 10)
        return
    assert wanted_span(header, "", '"e"', 10) == expected


def test_if_range_and_if_none_match_compare_versions():
    assert wanted_span("bytes=0-1", '"other"', '"e"', 10) is None
    assert wanted_span("bytes=0-1", '"e"', '"e"', 10) == Span(0, 2)
    assert not_modified('"x", W/"e"', '"e"')
    assert not_modified("*", '"e"')
    assert not not_modified("", '"e"')
