"""Run every benchmark, or those named: ``python -m bench [NAME …]``.

Ends with status 1 when a bar is missed.
"""

from __future__ import annotations

import importlib
import sys
import time

_ALL = ("startup", "picture", "status_poll", "submit", "latency", "steps", "transfer")


def main(names: list[str]) -> int:
    """Run and count the bars missed."""
    unknown = sorted(set(names) - set(_ALL))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(_ALL)}", file=sys.stderr)
        return 2
    began = time.monotonic()
    reports = [importlib.import_module(f"bench.{name}").main() for name in names or _ALL]
    bars = [bar for report in reports for bar in report.bars]
    missed = sum(not bar.met for bar in bars)
    print(f"{len(bars) - missed} of {len(bars)} bars met in {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
