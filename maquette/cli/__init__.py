"""The command line: `maquette up | demo | generate | status`."""

from maquette.cli.commands import main

__all__ = ["main"]
