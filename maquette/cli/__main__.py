"""`python -m maquette.cli` is `maquette`."""

from maquette.cli.commands import main

if __name__ == "__main__":
    main()
