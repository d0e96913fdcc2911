"""Signed tokens: a payload, the id of the key that signed it, and an HMAC-SHA256 over both.

The form is ``<key id>.<payload>.<signature>``, the last two in base64url without padding: safe in a
URL's query and in gRPC metadata. The payload is readable by everybody who holds the token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=16)
def key_id(secret: bytes) -> str:
    """Return the public name of a key: 8 hex digits that tell nothing of the key itself."""
    return hashlib.sha256(b"key id\0" + secret).hexdigest()[:8]


def seal(secret: bytes, purpose: str, payload: bytes) -> str:
    """Sign a payload for one purpose; a token of another purpose never passes for it."""
    signed = f"{key_id(secret)}.{_encode(payload)}"
    return f"{signed}.{_encode(_signature(secret, purpose, signed))}"


def unseal(secrets: Iterable[bytes], purpose: str, token: str) -> bytes | None:
    """Return the payload of a token that one of the keys signed; None for any other token.

    Several keys let an old one stay valid for reading while a new one signs.
    """
    head, _, signature = token.rpartition(".")
    name, _, payload = head.partition(".")
    try:
        offered = _decode(signature)
        content = _decode(payload)
    except (binascii.Error, ValueError):
        return None
    for secret in secrets:
        # The key's name is public: only the signature needs constant time.
        if name != key_id(secret):
            continue
        if hmac.compare_digest(_signature(secret, purpose, head), offered):
            return content
    return None


def _signature(secret: bytes, purpose: str, signed: str) -> bytes:
    return hmac.digest(secret, purpose.encode() + b"\0" + signed.encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode the one canonical spelling only, so that no second token says the same."""
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:
        raise ValueError("not canonical")
    return data
