"""What the command line shows: tables, progress bars, closing words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from maquette.cli.client import OnProgress, Progress, Result
from maquette.runtime.supervisor.mesh import Stage
from maquette.runtime.supervisor.process import ManagedProcess, State

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_STATE_STYLES = {
    "ready": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "waiting": "dim",
    "held": "dim",
    "stopped": "red",
}
_FACTS = {
    "model_used": "model",
    "vertex_count": "vertices",
    "face_count": "faces",
    "watertight": "watertight",
    "texture_resolution": "texture",
    "bone_count": "joints",
    "template": "skeleton",
    "confidence": "confidence",
}


def fail(message: str) -> None:
    """Print one line of error and end with status 1."""
    errors.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    sys.exit(1)


def process_rows(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table of services, their states and addresses."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "state", "pid", "address"):
        table.add_column(heading)
    for name, row in rows.items():
        state = str(row["state"])
        restarts = f" (restarted {row['restarts']}×)" if row.get("restarts") else ""
        table.add_row(
            name,
            Text(state + restarts, style=_STATE_STYLES.get(state, "")),
            str(row.get("pid") or "–"),
            str(row["address"]),
        )
    return table


def motion_rows(motions: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table of motions of the library."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("id", justify="right")
    for heading in ("name", "category"):
        table.add_column(heading)
    table.add_column("seconds", justify="right")
    table.add_column("match")
    for motion in motions:
        seconds = f"{motion['seconds']:.1f}{' ↻' if motion['loop'] else '  '}"
        match = f"{motion['match']}: {motion['reason']}" if motion["reason"] else motion["match"]
        table.add_row(str(motion["id"]), motion["name"], motion["category"], seconds, match)
    return table


def show_started(stages: Iterable[Stage], processes: Mapping[str, ManagedProcess], url: str) -> None:
    """Print what runs, how long it took, and where to go."""
    rows = {
        name: {"state": process.state.value, "pid": process.pid, "address": process.spec.address}
        for name, process in processes.items()
    }
    console.print(process_rows(rows))
    longest = max(stage.ready for stage in stages)
    words = f"\n[bold]Maquette is ready on {url}[/bold]  ({longest:.1f} s)  documents: {url}/docs"
    console.print(words, soft_wrap=True)
    console.print("[dim]Ctrl-C stops it.[/dim]")


def tell_change(process: ManagedProcess) -> None:
    """Print one line for a process that ended by itself or is back; starts and stops are silent."""
    if process.state in (State.RESTARTING, State.HELD):
        errors.print(f"[yellow]{process.spec.name} {process.last_end}; starting it again[/yellow]")
    elif process.state is State.READY and process.restarts:
        errors.print(f"[green]{process.spec.name} is back (pid {process.pid})[/green]")


@contextmanager
def progress_bar(title: str) -> Iterator[OnProgress]:
    """Show a bar with stage and time left; lines of text where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", style="cyan"),
        TextColumn("{task.fields[stage]}", style="dim"),
    )
    if not console.is_terminal:
        yield _line_by_line(title)
        return
    with RichProgress(*columns, console=console) as bar:
        task = bar.add_task(title, total=1.0, stage="", left="")

        def told(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.fraction,
                stage=progress.message or progress.stage,
                left=time_left(progress.eta),
            )

        yield told
        bar.update(task, completed=1.0, stage="done", left="")


@contextmanager
def passing_text() -> Iterator[Callable[[str], None]]:
    """Show what is told last; where there is no terminal, what is told first."""
    with console.status("") as status:
        told = False

        def tell(text: str) -> None:
            nonlocal told
            if console.is_terminal:
                status.update(Text(text))
            elif not told:
                console.print(text, soft_wrap=True)
            told = True

        yield tell


def _line_by_line(title: str) -> OnProgress:
    last = ""

    def told(progress: Progress) -> None:
        nonlocal last
        if progress.stage != last:
            last = progress.stage
            left = time_left(progress.eta)
            ends = f", {left}" if left else ""
            console.print(f"{title}: {progress.fraction:4.0%} {progress.stage}{ends}", soft_wrap=True)

    return told


def time_left(seconds: float | None) -> str:
    """Return "12 s left" or "2:05 left"; nothing when unknown."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    return f"{whole} s left" if whole < 60 else f"{whole // 60}:{whole % 60:02d} left"


def show_result(result: Result) -> None:
    """Print what was measured and where the files are."""
    facts = [
        f"{label} {_plain(result.info[name])}"
        for name, label in _FACTS.items()
        if result.info.get(name) is not None
    ]
    clips = result.info.get("animations")
    if isinstance(clips, list):
        facts += [f"{clip['name']} {clip['seconds']:.1f} s" for clip in clips]
    seconds = result.job.get("processing_time")
    if seconds is not None:
        facts.append(f"{seconds:.1f} s")
    console.print(Text(" · ".join(facts)), soft_wrap=True)
    for warning in result.info.get("warnings") or ():
        console.print(Text(f"  {warning}", style="yellow"), soft_wrap=True)
    for role, path in result.saved:
        size = filesize.decimal(path.stat().st_size)
        console.print(f"  [green]{path}[/green]  [dim]{role}, {size}[/dim]", soft_wrap=True)


def show_pipeline(done: Mapping[str, Any], saved: Sequence[Path], seconds: float) -> None:
    """Print what came of a picture whose character should move, and where the files are."""
    result = done["result"]
    console.print(Text(f"{done['message']} · {seconds:.1f} s"), soft_wrap=True)
    for warning in (result.get("rigging_error"), *result.get("warnings", ())):
        if warning:
            console.print(Text(f"  {warning}", style="yellow"), soft_wrap=True)
    for path in saved:
        size = filesize.decimal(path.stat().st_size)
        console.print(f"  [green]{path}[/green]  [dim]{size}[/dim]", soft_wrap=True)
    moving = [path for path in saved if path.suffix == ".webp"]
    best = moving[0] if moving else saved[0]
    words = "Your character moves in" if moving else "Your model is"
    console.print(f"\n{words} [bold]{best.absolute()}[/bold]", soft_wrap=True)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
