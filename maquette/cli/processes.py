"""The process table of one machine: what runs, after what, and how it is seen to be ready.

::

    postgres ─┬─ storage ─┐
              └─ jobs ────┼─ meshgen (as many nodes as asked for)
                          └─ gateway ── envoy
                                          └─ rigging, animation

Services connect again by themselves, so the arrows are few: they keep the first log clean. What needs a
mesh first comes last: a picture need not wait for it, and jobs for it wait in the queue.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.environment import child_environment
from maquette.runtime.supervisor.lock import local_host
from maquette.runtime.supervisor.postgres import LocalPostgres, server_environment
from maquette.runtime.supervisor.privileges import ENVOY_UID, is_root
from maquette.runtime.supervisor.probes import grpc_serving, http_answers, node_announced, postgres_answers
from maquette.runtime.supervisor.process import ProcessSpec

_FIRST_OPEN_PORT = 1024


def process_table(settings: Settings, *, nodes: int = 1) -> list[ProcessSpec]:
    """Return the table for one machine with ``nodes`` meshgen nodes, in order of start."""
    database = [] if settings.database.jobs_dsn and settings.database.storage_dsn else [_postgres(settings)]
    after = tuple(spec.name for spec in database)
    return [
        *database,
        _service(settings, "storage", after=after),
        _service(settings, "jobs", after=after),
        *(node_row(settings, "meshgen", number) for number in range(1, nodes + 1)),
        _gateway(settings),
        _envoy(settings),
        node_row(settings, "rigging", 1, late=True),
        node_row(settings, "animation", 1, late=True),
    ]


def _python(module: str) -> Callable[[], list[str]]:
    # -P: nothing of the folder we happen to be in is imported.
    return lambda: [sys.executable, "-P", "-m", module]


def _postgres(settings: Settings) -> ProcessSpec:
    server = LocalPostgres(settings)
    return ProcessSpec(
        name="postgres",
        command=server.command,
        ready=postgres_answers(server),
        address=f"unix:{server.sockets}",
        environment=server_environment(),
        prepare=server.prepare,
        uid=server.uid,
        stop_signal=signal.SIGINT,
        # The server ends its own children on this one, and leaves them on SIGKILL.
        death_signal=signal.SIGQUIT,
    )


def _service(settings: Settings, name: str, *, after: tuple[str, ...]) -> ProcessSpec:
    address = settings.address(name)
    return ProcessSpec(
        name=name,
        command=_python(f"services.{name}.main"),
        ready=grpc_serving(settings, address),
        address=address,
        after=after,
        environment=child_environment(settings, name),
    )


def node_row(settings: Settings, capability: str, number: int, *, late: bool = False) -> ProcessSpec:
    """Return the row of a capability node; the first has the address that the settings tell."""
    name = capability if number == 1 else f"{capability}-{number}"
    address = settings.address(capability) if number == 1 else settings.socket(name)
    variable = f"MAQUETTE_ADDRESSES__{capability.upper()}"
    return ProcessSpec(
        name=name,
        command=_python(f"services.{capability}.main"),
        ready=node_announced(settings, address),
        address=address,
        late=late,
        environment={**child_environment(settings, capability), variable: address},
    )


def _gateway(settings: Settings) -> ProcessSpec:
    from services.gateway.envoy.config import edge_target

    targets = (settings.address("gateway"), edge_target(settings))
    return ProcessSpec(
        name="gateway",
        command=_python("services.gateway.main"),
        ready=grpc_serving(settings, targets[0]),
        address=targets[0],
        environment=child_environment(settings, "gateway"),
        when_ready=lambda: _give_sockets(targets, _envoy_uid(settings)),
    )


def _envoy_uid(settings: Settings) -> int | None:
    """As root Envoy is somebody else, unless the port is one that only root can have."""
    return ENVOY_UID if is_root() and settings.port >= _FIRST_OPEN_PORT else None


def _give_sockets(targets: tuple[str, ...], uid: int | None) -> None:
    """Let Envoy's user connect where only the owner may."""
    for target in targets:
        if uid is not None and target.startswith("unix:"):
            os.chown(target.removeprefix("unix:"), uid, uid)


def _envoy(settings: Settings) -> ProcessSpec:
    from services.gateway.envoy.config import envoy_binary
    from services.gateway.envoy.write import write_config

    uid = _envoy_uid(settings)
    file = settings.run_dir / "envoy.json"

    def prepare() -> None:
        write_config(settings, file)
        if uid is not None:
            os.chown(file, uid, uid)

    options = ["--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"]
    return ProcessSpec(
        name="envoy",
        command=lambda: [str(envoy_binary()), "--config-path", str(file), *options],
        ready=http_answers(local_host(settings.bind), settings.port, "/health"),
        address=f"{settings.bind}:{settings.port}",
        # Nothing of ours: Envoy needs no variable.
        environment={"PATH": os.defpath, "TZ": "UTC"},
        prepare=prepare,
        uid=uid,
    )
