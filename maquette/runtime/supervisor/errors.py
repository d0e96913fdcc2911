"""Why a mesh cannot start; each message is one line for the person at the terminal."""

from __future__ import annotations


class SupervisorError(Exception):
    """The mesh cannot start, or a part of it cannot."""


class AlreadyRunning(SupervisorError):
    """Another supervisor holds the data folder."""


class PortInUse(SupervisorError):
    """Another program listens on the port."""


class StartFailed(SupervisorError):
    """A process ended, or was not ready in time, while the mesh started."""
