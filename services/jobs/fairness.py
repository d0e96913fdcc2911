"""Take turns between accounts."""

from __future__ import annotations

from collections.abc import Iterable


class Turns:
    """Remembers which accounts had their turn, the latest last."""

    def __init__(self, most: int = 1000) -> None:
        self._served: dict[str, None] = {}
        self._most = most

    def order(self) -> list[str]:
        """Return the accounts served, longest ago first; who is not among them comes before all."""
        return list(self._served)

    def served(self, accounts: Iterable[str]) -> None:
        """Note accounts that had a turn."""
        for account in accounts:
            self._served.pop(account, None)
            self._served[account] = None
        while len(self._served) > self._most:
            self._served.pop(next(iter(self._served)))
