"""Whatever a client calls its file, the name we keep is harmless."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.filenames import safe_filename, safe_format


@given(st.text(max_size=600))
def test_every_name_is_safe(name: str) -> None:
    safe = safe_filename(name)
    assert 0 < len(safe.encode()) <= 255
    assert not set(safe) & set('/\\<>:"|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in safe)
    assert safe not in (".", "..")
    assert not safe.startswith((".", " "))
    assert not safe.endswith((".", " "))


@given(st.text(max_size=600))
def test_a_safe_name_is_left_alone(name: str) -> None:
    safe = safe_filename(name)
    assert safe_filename(safe) == safe


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("..", "file"),
        ("a/..", "file"),
        ("", "file"),
        ("   ", "file"),
        (".htaccess", "htaccess"),
        ("猫の写真.png", "猫の写真.png"),
        ("cafe\u0301.png", "café.png"),
        ("cat\x00.png\r\nX-Header: 1", "cat.pngX-Header_ 1"),
        ("gnp.\u202etac.exe", "gnp.tac.exe"),
        ("CON", "_CON"),
        ("con.png", "_con.png"),
        ("LPT1.tar.gz", "_LPT1.tar.gz"),
        ("console.png", "console.png"),
        ('a<b>:"c|d?e*.png', "a_b___c_d_e_.png"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
        ("é" * 200 + ".glb", "é" * 125 + ".glb"),
        ("x" * 10 + "." + "y" * 300, ("x" * 10 + "." + "y" * 300)[:255]),
    ],
)
def test_names(given: str, kept: str) -> None:
    assert safe_filename(given) == kept


@pytest.mark.parametrize("name", ["png", "GLB", "7z"])
def test_formats(name: str) -> None:
    assert safe_format(name) == name.lower()


@pytest.mark.parametrize("name", ["", ".png", "p/ng", "..", "png\n", "ninechars", "p n", "é"])
def test_anything_else_is_no_format(name: str) -> None:
    with pytest.raises(ValueError, match="extension"):
        safe_format(name)
