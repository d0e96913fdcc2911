"""Uploads, as storage tells them and as long as they live.

What an id or an issued path stands for never changes before it expires, so a client that submits
many jobs of one upload costs storage one question.
"""

from __future__ import annotations

from collections import OrderedDict

from maquette.api.storage.v1 import storage_pb2
from maquette.runtime.clock import Clock
from services.gateway.backends import Backends, call

_Key = tuple[str, str, str]


class Uploads:
    """Finds uploads; remembers the last ``kept`` ones."""

    def __init__(self, backends: Backends, clock: Clock, kept: int = 4096) -> None:
        self._backends = backends
        self._clock = clock
        self._kept = kept
        self._known: OrderedDict[_Key, storage_pb2.Upload] = OrderedDict()

    async def find(self, account_id: str, *, file_id: str = "", path: str = "") -> storage_pb2.Upload:
        """Return the upload of an id or a path. Raises NotFound when unknown, expired or another's."""
        key = (account_id, file_id, path)
        known = self._known.get(key)
        if known is not None and known.expire_time.ToDatetime(self._clock.now().tzinfo) > self._clock.now():
            self._known.move_to_end(key)
            return known
        request = storage_pb2.GetUploadRequest(account_id=account_id)
        if file_id:
            request.id = file_id
        else:
            request.path = path
        storage = self._backends.storage
        response = await call(storage.GetUpload, request, self._backends.storage_channel, safe=True)
        upload: storage_pb2.Upload = response.upload
        self._known[key] = upload
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
        return upload

    def forget(self, upload: storage_pb2.Upload) -> None:
        """Forget an upload that was deleted."""
        self._known.pop((upload.account_id, upload.id, ""), None)
        self._known.pop((upload.account_id, "", upload.path), None)
