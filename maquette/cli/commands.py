"""The commands. Each is thin: read arguments, call, print."""

from __future__ import annotations

from pathlib import Path

import click
import pydantic

import maquette
from maquette.cli import running, screen
from maquette.cli.client import Client, ClientError, Generation
from maquette.cli.saving import save
from maquette.runtime.supervisor.errors import SupervisorError
from maquette.runtime.supervisor.mesh import read_state

_FORMATS = click.Choice(["glb", "obj", "ply", "stl"])
_DATA = click.option(
    "--data", "data_dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder (./data)."
)
_FILE = click.Path(dir_okay=False, path_type=Path)
_PICTURE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Group(click.Group):
    """Turns every expected failure into one line."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SupervisorError, ClientError) as error:
            screen.fail(str(error))
        except pydantic.ValidationError as error:
            screen.fail(
                "; ".join(f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            )
        except running.Interrupted:
            screen.fail("interrupted")
        except OSError as error:
            screen.fail(str(error))
        return None


@click.group(cls=_Group)
@click.version_option(maquette.__version__, prog_name="maquette")
def main() -> None:
    """Make 3D assets on your own machine."""


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the public listener (7842).")
@click.option("--bind", help="Address of the public listener (127.0.0.1).")
@click.option(
    "--data", "data_dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder (./data)."
)
@click.option("--nodes", type=click.IntRange(1, 64), default=1, show_default=True, help="meshgen nodes.")
def up(port: int | None, bind: str | None, data_dir: Path | None, nodes: int) -> None:
    """Run the whole mesh until Ctrl-C."""
    settings = running.settings_with(port=port, bind=bind, data_dir=data_dir)
    running.run_until_stopped(settings, nodes=nodes)


@main.command()
@click.argument("image", type=_PICTURE, required=False)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out"), show_default=True
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port; a free one when 7842 is taken.")
@click.option(
    "--data", "data_dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder (./data)."
)
def demo(image: Path | None, out: Path, port: int | None, data_dir: Path | None) -> None:
    """Start a mesh, turn IMAGE (or a sample) into a model, stop again."""
    from maquette.cli.demo import run_demo

    run_demo(image or running.sample_picture(), out, port=port, data_dir=data_dir)


@main.command()
@click.argument("image", type=_PICTURE)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("model.glb"),
    show_default=True,
)
@click.option("--format", "output_format", type=_FORMATS, help="By default what the output's name ends in.")
@click.option("--raw", is_flag=True, help="Shape only, no texture.")
@click.option("--texture-resolution", type=click.IntRange(256, 4096), help="Side of the texture, texels.")
@click.option("--quality", type=click.Choice(["low", "medium", "high"]))
@click.option("--model", help="Model to prefer.")
@click.option("--seed", type=click.IntRange(0), help="Same seed, same result.")
@click.option("--url", help="Address of a running mesh (http://localhost:7842).")
def generate(
    image: Path,
    output: Path,
    output_format: str | None,
    raw: bool,
    texture_resolution: int | None,
    quality: str | None,
    model: str | None,
    seed: int | None,
    url: str | None,
) -> None:
    """Turn IMAGE into a model through a running mesh."""
    ending = output.suffix.lower().removeprefix(".")
    chosen = output_format or (ending if ending in _FORMATS.choices else "glb")
    if ending != chosen:
        output = output.with_name(f"{output.name}.{chosen}")
    what = Generation(
        output_format=chosen,
        raw=raw,
        texture_resolution=texture_resolution,
        model=model,
        quality=quality,
        seed=seed,
    )
    with Client(url or _local_url()) as client:
        with screen.progress_bar(image.name) as told:
            result = client.generate(image, what, told)
        save(client, result, output)
    screen.show_result(result)


@main.command()
@click.option(
    "--data", "data_dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder (./data)."
)
@click.option("--url", help="Address of a running mesh elsewhere.")
def status(data_dir: Path | None, url: str | None) -> None:
    """Tell what runs, and how busy it is."""
    settings = running.settings_with(data_dir=data_dir)
    state = None if url else read_state(settings.run_dir)
    if state is not None:
        screen.console.print(screen.process_rows(state.processes))
    with Client(url or (state.local_url if state else _local_url())) as client:
        health = client.health()
        queue = client.scheduler()
    screen.console.print(
        f"{health['status']} · {queue['queued_jobs']} waiting · {queue['active_jobs']} running · "
        f"{queue['completed_jobs']} completed · engines {queue['adapters_registered']}"
    )


def _local_url() -> str:
    settings = running.settings_with()
    return f"http://127.0.0.1:{settings.port}"
