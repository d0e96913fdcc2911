"""Write Envoy's configuration: `python -m services.gateway.envoy --write PATH`."""

from __future__ import annotations

import argparse
from pathlib import Path

from maquette.runtime.settings import load_settings
from services.gateway.envoy.write import write_config


def main() -> None:
    """Write the file, readable by its owner only: the internal secret is in it."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway.envoy", description=main.__doc__)
    parser.add_argument("--write", type=Path, required=True, metavar="PATH", help="where to write the file")
    write_config(load_settings(), parser.parse_args().write)


if __name__ == "__main__":
    main()
