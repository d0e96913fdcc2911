"""Write the generated parts of the documents, or check that they are up to date.

    python scripts/docs.py           write
    python scripts/docs.py --check   fail when a page differs from what the code says

A page marks a generated part with ``<!-- generated: NAME -->`` … ``<!-- end -->``.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import REGISTRY
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from maquette.runtime.errors import CATALOGUE
from maquette.runtime.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
METRICS = (
    "services.jobs.metrics",
    "services.storage.metrics",
    "services.gateway.feed",
    "services.gateway.edge.sockets",
    "maquette.runtime.sandbox.pool",
    "maquette.runtime.capability.metrics",
    "maquette.runtime.remote.http",
)
MARK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """Tell every setting: environment variable, TOML key, default, meaning."""
    rows = ["| TOML key | environment | default | meaning |", "|---|---|---|---|"]
    for path, field in _fields(Settings, ()):
        variable = "MAQUETTE_" + "__".join(path).upper()
        rows.append(f"| `{'.'.join(path)}` | `{variable}` | {_default(field)} | {field.description} |")
    return "\n".join(rows)


def _fields(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, (*prefix, name))
        else:
            yield (*prefix, name), field


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "" if value in (None, PydanticUndefined, "") else f"`{value}`"


def errors_table() -> str:
    """Tell every reason with its codes and what becomes of the task."""
    rows = ["| reason | gRPC | HTTP | the task |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | {row.code.name} | {row.http} | {row.retry.value} |" for name, row in CATALOGUE.items()
    ]
    return "\n".join(rows)


def state_diagram() -> str:
    """Draw the table of transitions, as the ledger's own module prints it."""
    command = [sys.executable, "-m", "services.jobs.states"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return f"```mermaid\n{printed.stdout.strip()}\n```"


def metrics_table() -> str:
    """Tell every metric of the services, as their modules register it."""
    for module in METRICS:
        importlib.import_module(module)
    rows = ["| metric | kind | meaning |", "|---|---|---|"]
    found = {m.name: m for m in REGISTRY.collect() if m.name.startswith("maquette_")}
    rows += [f"| `{name}` | {found[name].type} | {found[name].documentation} |" for name in sorted(found)]
    return "\n".join(rows)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "errors": errors_table,
    "states": state_diagram,
    "metrics": metrics_table,
}


def main() -> None:
    """Write the pages, or compare them."""
    stale = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        before = page.read_text()
        after = MARK.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", before)
        if after != before:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(after)
    if stale and "--check" in sys.argv:
        raise SystemExit(f"docs are not what the code says; run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
