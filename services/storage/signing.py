"""Signed download URLs: a token that opens one blob under one name for some time. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from maquette.runtime.errors import PermissionDenied
from maquette.runtime.seal import seal, unseal

MAX_LIFETIME = timedelta(days=7)
_PURPOSE = "download"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Download:
    """What a signed URL opens."""

    digest: str
    filename: str
    media_type: str
    expires_at: datetime


class UrlSigner:
    """Signs with the first key; the others are old ones whose URLs still work."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a signer needs a key")
        self._keys = tuple(keys)

    def sign(self, download: Download) -> str:
        """Return the path and query that open a download on the public origin."""
        expiry = (download.expires_at - _EPOCH) // _MICROSECOND
        content = [download.digest, download.filename, download.media_type, expiry]
        payload = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        token = seal(self._keys[0], _PURPOSE, payload)
        return f"/download/{quote(download.filename, safe='')}?{urlencode({'token': token})}"

    def verify(self, filename: str, token: str, now: datetime) -> Download:
        """Return what a token opens.

        Raises PermissionDenied (BAD_SIGNATURE) when it is forged, expired, or for another name.
        """
        payload = unseal(self._keys, _PURPOSE, token)
        if payload is None:
            raise PermissionDenied("the link is not one of ours", reason="BAD_SIGNATURE")
        digest, signed_name, media_type, expiry = json.loads(payload)
        expires_at = _EPOCH + expiry * _MICROSECOND
        if signed_name != filename:
            raise PermissionDenied("the link is for another file", reason="BAD_SIGNATURE")
        if now >= expires_at:
            raise PermissionDenied("the link has expired", reason="BAD_SIGNATURE")
        return Download(digest, signed_name, media_type, expires_at)
