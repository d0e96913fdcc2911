"""Grants and signed URLs: only what we signed, only for its purpose, only in its time."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.runtime.errors import PermissionDenied
from maquette.runtime.grants import mint, verify
from maquette.runtime.seal import key_id, seal, unseal
from services.storage.signing import Download, UrlSigner

SECRET = b"a" * 64
NOW = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = st.text(min_size=1, max_size=60).filter(lambda text: len(text.encode(errors="replace")) <= 255)
utf8_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def grant_of(**changes) -> str:
    values = {"task_id": "t", "inputs": [], "max_write_bytes": 5, "expires_at": NOW + timedelta(minutes=1)}
    return mint(SECRET, **{**values, **changes})


@given(utf8_names, st.sets(digests, max_size=5), st.integers(0, 2**63 - 1), st.integers(1, 10**15))
def test_a_grant_says_what_was_minted(task_id: str, inputs: set[str], limit: int, microseconds: int) -> None:
    expires_at = NOW + timedelta(microseconds=microseconds)
    token = mint(SECRET, task_id=task_id, inputs=inputs, max_write_bytes=limit, expires_at=expires_at)
    grant = verify(SECRET, token, NOW)
    assert grant.task_id == task_id
    assert grant.inputs == inputs
    assert grant.max_write_bytes == limit
    assert grant.expires_at == expires_at


@given(st.data())
def test_no_changed_grant_passes(data: st.DataObject) -> None:
    token = grant_of(inputs=["ab" * 32])
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[place]))
    with pytest.raises(PermissionDenied) as error:
        verify(SECRET, token[:place] + other + token[place + 1 :], NOW)
    assert error.value.reason == "GRANT_REFUSED"


@given(st.text(max_size=200))
def test_nothing_made_up_passes(token: str) -> None:
    with pytest.raises(PermissionDenied):
        verify(SECRET, token, NOW)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(PermissionDenied):
        verify(b"b" * 64, grant_of(), NOW)


def test_a_grant_ends_at_its_end() -> None:
    token = grant_of(expires_at=NOW)
    verify(SECRET, token, NOW - timedelta(microseconds=1))
    with pytest.raises(PermissionDenied):
        verify(SECRET, token, NOW)


def test_attempts_have_grants_of_their_own() -> None:
    ids = {verify(SECRET, grant_of(nonce=nonce), NOW).id for nonce in ("", "1", "2")}
    assert len(ids) == 3
    assert verify(SECRET, grant_of(nonce="1"), NOW).id in ids


def test_64_inputs_fit_into_grpc_metadata() -> None:
    inputs = [f"{number:064x}" for number in range(64)]
    assert len(grant_of(task_id="t" * 36, inputs=inputs, nonce="n" * 36)) < 4096


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": ["AB" * 32]},
        {"inputs": ["ab" * 31]},
        {"inputs": ["../../etc/passwd"]},
        {"task_id": ""},
        {"task_id": "x" * 256},
        {"nonce": "x" * 256},
        {"max_write_bytes": -1},
        {"max_write_bytes": 1 << 63},
    ],
)
def test_nothing_out_of_form_is_minted(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"bytes|digest|hex|range|needs"):
        grant_of(**changes)


def test_a_token_of_another_purpose_does_not_pass() -> None:
    token = seal(SECRET, "download", base64.urlsafe_b64decode(grant_of().split(".")[1] + "=="))
    assert unseal([SECRET], "download", token) is not None
    with pytest.raises(PermissionDenied):
        verify(SECRET, token, NOW)


@given(st.binary(max_size=100))
def test_a_seal_has_one_spelling(payload: bytes) -> None:
    token = seal(SECRET, "p", payload)
    assert unseal([SECRET], "p", token) == payload
    for other in (f"{token}=", f"{token}\n", f" {token}", token.replace(".", "..", 1), token + "A"):
        assert unseal([SECRET], "p", other) is None


def test_a_key_id_does_not_tell_the_key() -> None:
    assert key_id(SECRET) not in SECRET.decode()
    assert key_id(SECRET) != key_id(b"b" * 64)


# Signed URLs.


def token_in(path: str) -> tuple[str, str]:
    parts = urlsplit(path)
    return unquote(parts.path.removeprefix("/download/")), parse_qs(parts.query)["token"][0]


@given(digests, utf8_names, st.sampled_from(["", "image/png", "model/gltf-binary"]))
def test_a_url_opens_what_was_signed(digest: str, filename: str, media_type: str) -> None:
    download = Download(digest, filename, media_type, NOW + timedelta(hours=24))
    signer = UrlSigner([SECRET])
    name, token = token_in(signer.sign(download))
    assert name == filename
    assert signer.verify(name, token, NOW) == download


def test_a_url_works_at_23_h_59_and_not_at_24_h_01() -> None:
    signer = UrlSigner([SECRET])
    name, token = token_in(signer.sign(Download("ab" * 32, "a.glb", "", NOW + timedelta(hours=24))))
    signer.verify(name, token, NOW + timedelta(hours=23, minutes=59))
    with pytest.raises(PermissionDenied) as error:
        signer.verify(name, token, NOW + timedelta(hours=24, minutes=1))
    assert error.value.reason == "BAD_SIGNATURE"
    assert error.value.row.http == 403


def test_a_url_is_for_its_own_name() -> None:
    signer = UrlSigner([SECRET])
    _, token = token_in(signer.sign(Download("ab" * 32, "a.glb", "", NOW + timedelta(hours=24))))
    with pytest.raises(PermissionDenied):
        signer.verify("a.html", token, NOW)


def test_nobody_signs_without_the_key() -> None:
    content = json.dumps(["ab" * 32, "a.glb", "", 1 << 50]).encode()
    forged = seal(b"b" * 64, "download", content)
    with pytest.raises(PermissionDenied):
        UrlSigner([SECRET]).verify("a.glb", forged, NOW)
    named = f"{key_id(SECRET)}.{forged.split('.', 1)[1]}"
    with pytest.raises(PermissionDenied):
        UrlSigner([SECRET]).verify("a.glb", named, NOW)


def test_an_old_key_still_opens_what_it_signed() -> None:
    old, new = b"o" * 64, b"n" * 64
    download = Download("ab" * 32, "a.glb", "", NOW + timedelta(hours=24))
    name, token = token_in(UrlSigner([old]).sign(download))
    assert UrlSigner([new, old]).verify(name, token, NOW) == download
    assert token_in(UrlSigner([new, old]).sign(download))[1].startswith(key_id(new))
    with pytest.raises(PermissionDenied):
        UrlSigner([new]).verify(name, token, NOW)
