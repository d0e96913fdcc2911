"""`maquette demo`: a whole mesh for one picture."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from maquette.cli import running, screen
from maquette.cli.client import Client, Generation, Result
from maquette.cli.saving import save
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.lock import data_folder_is_free


def run_demo(picture: Path, out: Path, *, port: int | None, data_dir: Path | None) -> None:
    """Start a mesh, make a GLB and an OBJ of ``picture`` below ``out``, stop in order.

    Raises SupervisorError, ClientError or Interrupted.
    """
    with ExitStack() as scratch:
        settings = running.settings_with(port=port, data_dir=data_dir)
        # Beside a mesh that runs already the demo has a folder and a port of its own.
        if data_dir is None and not data_folder_is_free(settings):
            data_dir = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="maquette-demo-")))
            data_dir.chmod(0o711)
        chosen = port or running.free_port(settings.port)
        settings = running.settings_with(port=chosen, data_dir=data_dir, bind="127.0.0.1")
        results = running.run_while(settings, lambda: _make(settings, picture, out))
    for result in results:
        screen.show_result(result)
    screen.console.print(f"\nYour model is [bold]{(out / 'model.glb').absolute()}[/bold]", soft_wrap=True)


def _make(settings: Settings, picture: Path, out: Path) -> list[Result]:
    results: list[Result] = []
    with Client(f"http://127.0.0.1:{settings.port}") as client:
        for output_format in ("glb", "obj"):
            with screen.progress_bar(f"{picture.name} → {output_format.upper()}") as told:
                result = client.generate(picture, Generation(output_format=output_format), told)
            # Both pictures would be the same.
            without = ("thumbnail",) if results else ()
            mesh = out / f"model.{output_format}"
            save(client, result, mesh, thumbnail=out / "thumbnail.png", without=without)
            results.append(result)
    return results
