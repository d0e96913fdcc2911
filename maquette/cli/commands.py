"""The commands. Each is thin: read arguments, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pydantic

import maquette
from maquette.cli import running, screen
from maquette.cli.client import Client, ClientError, Generation, Rigging
from maquette.cli.motions import Animation
from maquette.cli.saving import save
from maquette.runtime.supervisor.errors import SupervisorError
from maquette.runtime.supervisor.mesh import read_state

_FORMATS = click.Choice(["glb", "obj", "ply", "stl"])
_RIG_FORMATS = click.Choice(["glb", "fbx", "obj"])
_CLIP_FORMATS = click.Choice(["glb", "fbx"])
_CATEGORIES = click.Choice(["WalkAndRun", "DailyActions", "BodyMovements", "Fighting", "Dancing"], False)
_DATA = click.option(
    "--data", "data_dir", type=click.Path(file_okay=False, path_type=Path), help="Data folder (./data)."
)
_FILE = click.Path(dir_okay=False, path_type=Path)
_PICTURE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MAX_PICTURES = 6


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
    """Start a mesh, make the character of IMAGE (or a sample) move, stop again."""
    from maquette.cli.demo import run_demo

    run_demo(image or running.sample_character(), out, port=port, data_dir=data_dir)


@main.command()
@click.option("--optional", is_flag=True, help="Where it cannot be had, say why and go on.")
def fbx(optional: bool) -> None:
    """Install Blender as a Python module (about 1 GB) where it is not there: FBX in and out."""
    from maquette.cli.fbx import install_fbx

    missing = install_fbx(running.settings_with().fbx)
    if missing and not optional:
        screen.fail(missing)
    if missing:
        screen.console.print(f"[yellow]No FBX files:[/yellow] {missing}", soft_wrap=True)
    elif not optional:
        screen.console.print("Blender is installed.")


@main.command()
@click.argument("images", metavar="IMAGE...", type=_PICTURE, nargs=-1, required=True)
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
@click.option("--views", help="Where each picture was taken from: front,right,back …; guessed if not given.")
@click.option("--url", help="Address of a running mesh (http://localhost:7842).")
def generate(
    images: tuple[Path, ...],
    output: Path,
    output_format: str | None,
    raw: bool,
    texture_resolution: int | None,
    quality: str | None,
    model: str | None,
    seed: int | None,
    views: str | None,
    url: str | None,
) -> None:
    """Turn IMAGE, or up to six pictures of one thing, into a model through a running mesh.

    Of several pictures the first is the front unless --views says otherwise.
    """
    if len(images) > _MAX_PICTURES:
        raise click.UsageError(f"A model takes one to {_MAX_PICTURES} pictures; {len(images)} were given.")
    places = tuple(word.strip() for word in views.split(",")) if views else ()
    if places and len(places) != len(images):
        raise click.UsageError(f"--views names each picture: {len(images)} pictures, {len(places)} views.")
    output, chosen = _named(output, output_format, _FORMATS)
    what = Generation(
        output_format=chosen,
        raw=raw,
        texture_resolution=texture_resolution,
        model=model,
        quality=quality,
        seed=seed,
        views=places,
    )
    with Client(url or _local_url()) as client:
        with screen.progress_bar(images[0].name) as told:
            result = client.generate(images, what, told)
        save(client, result, output)
    screen.show_result(result)


@main.command()
@click.argument("model", type=_PICTURE)
@click.option("-o", "--output", type=_FILE, default=Path("rigged.glb"), show_default=True)
@click.option(
    "--format", "output_format", type=_RIG_FORMATS, help="By default what the output's name ends in."
)
@click.option(
    "--mode",
    type=click.Choice(["skeleton", "skin", "full"]),
    default="full",
    show_default=True,
    help="Joints alone, weights for the joints there are, or both.",
)
@click.option("--type", "character_type", type=click.Choice(["auto", "humanoid", "quadruped", "generic"]))
@click.option("--bones", type=click.IntRange(2, 256), help="Joints of a generic skeleton.")
@click.option("--engine", help="Model of rigging to prefer.")
@click.option("--url", help="Address of a running mesh (http://localhost:7842).")
def rig(
    model: Path,
    output: Path,
    output_format: str | None,
    mode: str,
    character_type: str | None,
    bones: int | None,
    engine: str | None,
    url: str | None,
) -> None:
    """Give MODEL a skeleton and skin weights through a running mesh."""
    output, chosen = _named(output, output_format, _RIG_FORMATS)
    what = Rigging(chosen, mode, character_type, bones, engine)
    with Client(url or _local_url()) as client:
        with screen.progress_bar(model.name) as told:
            result = client.rig(model, what, told)
        save(client, result, output)
    screen.show_result(result)


@main.command()
@click.argument("character", type=_PICTURE)
@click.option(
    "-m", "--motion", "wanted", multiple=True, help="Id, name, or a word that finds one; repeatable."
)
@click.option("--clip", type=_PICTURE, help="A motion of your own: BVH, or GLB or FBX with clips.")
@click.option("-o", "--output", type=_FILE, default=Path("animated.glb"), show_default=True)
@click.option(
    "--format", "output_format", type=_CLIP_FORMATS, help="By default what the output's name ends in."
)
@click.option("--fps", type=click.FloatRange(1, 240), help="Frames per second (30).")
@click.option("--in-place/--travel", default=None, help="Stay on the spot, or go; else as the motion does.")
@click.option("--clip-only", is_flag=True, help="The skeleton and its clips, without the mesh.")
@click.option("--each", is_flag=True, help="A file for each clip.")
@click.option("--speed", type=click.FloatRange(0.25, 4))
@click.option("--energy", type=click.FloatRange(0, 2), help="How big trunk, head and arms move.")
@click.option("--mood", help="happy, sad, angry, afraid, tired, proud, tense, relaxed or neutral.")
@click.option("--mirror", is_flag=True, help="Play the mirror image.")
@click.option("--engine", help="Model of animation to prefer.")
@click.option("--url", help="Address of a running mesh (http://localhost:7842).")
def animate(
    character: Path,
    wanted: tuple[str, ...],
    clip: Path | None,
    output: Path,
    output_format: str | None,
    engine: str | None,
    url: str | None,
    **how: Any,
) -> None:
    """Make the rigged CHARACTER move through a running mesh."""
    if not wanted and clip is None:
        raise click.UsageError(
            "Name a motion with --motion, or give a --clip; `maquette animations` lists them."
        )
    output, chosen = _named(output, output_format, _CLIP_FORMATS)
    what = Animation(motions=wanted, clip=clip, output_format=chosen, model=engine, **how)
    with Client(url or _local_url()) as client:
        with screen.progress_bar(character.name) as told:
            result = client.animate(character, what, told)
        save(client, result, output)
    screen.show_result(result)


@main.command()
@click.argument("search", nargs=-1)
@click.option("--category", type=_CATEGORIES)
@click.option("--match", type=click.Choice(["exact", "close", "approximate"]), help="How near to its id.")
@click.option("--url", help="Address of a running mesh (http://localhost:7842).")
def animations(search: tuple[str, ...], category: str | None, match: str | None, url: str | None) -> None:
    """List the motion library, or what SEARCH finds in it."""
    with Client(url or _local_url()) as client:
        found, names = client.library(" ".join(search), category=category or "", match=match or "")
    if not found and not names:
        screen.fail("no motion is found by that")
    if found:
        screen.console.print(screen.motion_rows(found))
    if names:
        screen.console.print(f"[dim]by name only:[/dim] {', '.join(names)}", soft_wrap=True)


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


def _named(output: Path, asked: str | None, formats: click.Choice[str]) -> tuple[Path, str]:
    """Return the output's name and format: what was asked for, else what the name ends in, else GLB."""
    ending = output.suffix.lower().removeprefix(".")
    chosen = asked or (ending if ending in formats.choices else "glb")
    return (output if ending == chosen else output.with_name(f"{output.name}.{chosen}")), chosen


def _local_url() -> str:
    settings = running.settings_with()
    return f"http://127.0.0.1:{settings.port}"
