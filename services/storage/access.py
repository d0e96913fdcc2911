"""Who calls, and what that opens. Pure.

Three kinds of callers come through the internal door: those that hold the privileged secret
(gateway, jobs), those that show a task's grant (capabilities), and everybody else, for whom nothing
is open.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from maquette.runtime.errors import PermissionDenied
from maquette.runtime.grants import Grant, verify
from maquette.runtime.rpc.interceptors import GRANT_HEADER, PRIVILEGED_HEADER


@dataclass(frozen=True, slots=True)
class Doors:
    """The secrets that callers are known by."""

    privileged: bytes
    grants: bytes

    def caller(self, metadata: Iterable[tuple[str, str | bytes]], now: datetime) -> Grant | None:
        """Return the grant a call is bound to; None when everything is open to it.

        Raises PermissionDenied (GRANT_REFUSED) for a grant that is forged or expired, and
        PermissionDenied for a wrong privileged secret and for a call that shows neither.
        """
        shown = {key: value.encode() if isinstance(value, str) else value for key, value in metadata}
        if PRIVILEGED_HEADER in shown:
            if hmac.compare_digest(shown[PRIVILEGED_HEADER], self.privileged):
                return None
            raise PermissionDenied("the privileged secret is wrong")
        if GRANT_HEADER in shown:
            return verify(self.grants, shown[GRANT_HEADER].decode("ascii", "replace"), now)
        raise PermissionDenied("storage opens to the gateway, to jobs, and to holders of a grant")

    def require_privileged(self, metadata: Iterable[tuple[str, str | bytes]], now: datetime) -> None:
        """Raise PermissionDenied unless everything is open to the call."""
        if self.caller(metadata, now) is not None:
            raise PermissionDenied("a grant opens the blobs of its task only")
