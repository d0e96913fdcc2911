"""`maquette demo`: a whole mesh for one picture, whose character walks in the end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from maquette.cli import running, screen
from maquette.cli.client import Client, ClientError, OnProgress, Progress
from maquette.geometry.codecs import encode, read_mesh
from maquette.geometry.errors import MeshError
from maquette.runtime.settings import Settings
from maquette.runtime.supervisor.lock import data_folder_is_free

MOTIONS = (106, 28)
"""A confident walk and a big wave."""
_POLL_SECONDS = 0.25
_LONGEST_SECONDS = 1800.0
_NODES_SECONDS = 30.0


def run_demo(picture: Path, out: Path, *, port: int | None, data_dir: Path | None) -> None:
    """Start a mesh, make the character of ``picture`` move, save everything below ``out``, stop in order.

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
        began = time.monotonic()
        done, saved = running.run_while(settings, lambda: _make(settings, picture, out))
    screen.show_pipeline(done, saved, time.monotonic() - began)


def _make(settings: Settings, picture: Path, out: Path) -> tuple[dict[str, Any], list[Path]]:
    with Client(f"http://127.0.0.1:{settings.port}") as client:
        _wait_for_nodes(client)
        with screen.progress_bar(f"{picture.name} → a character that moves") as told:
            form = {"animation_ids": ",".join(map(str, MOTIONS)), "skip_confirmation": "true"}
            job_id = str(client.send_picture("/animate/image", picture, form)["job_id"])
            done = follow(client, job_id, told)
        saved = []
        out.mkdir(parents=True, exist_ok=True)
        for name, link in _files(done, job_id):
            # Our own links name the public address: here they are fetched where the mesh listens.
            client.fetch(link.removeprefix(settings.base_url), out / name)
            saved.append(out / name)
        saved.append(_save_obj(out / "model.glb"))
    return done, saved


def _save_obj(model: Path) -> Path:
    """Write the same mesh as OBJ, with material and texture beside it. Raises ClientError."""
    try:
        for file in encode(read_mesh(model), "obj", model.stem):
            (model.parent / file.name).write_bytes(file.data)
    except MeshError as error:
        raise ClientError(f"{model} cannot be written as OBJ: {error}") from error
    return model.with_suffix(".obj")


def _wait_for_nodes(client: Client) -> None:
    """Wait a little for those that come last: whether there will be FBX files is decided at the submit."""
    deadline = time.monotonic() + _NODES_SECONDS
    while time.monotonic() < deadline:
        models = client.scheduler()["scheduler"]["models"]
        if {"limb_graph", "motion_library"} <= set(models):
            return
        time.sleep(_POLL_SECONDS)


def follow(client: Client, job_id: str, told: OnProgress) -> dict[str, Any]:
    """Poll a job to its end and return its last status. Raises ClientError when it fails."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        body = client.get(f"/status/{job_id}")
        message = str(body["message"])
        told(Progress(message, message, body["progress"] / 100, None))
        if body["status"] == "completed":
            return body
        if body["status"] == "failed" or time.monotonic() > deadline:
            raise ClientError(f"The job failed: {message}")
        time.sleep(_POLL_SECONDS)


def _files(done: Mapping[str, Any], job_id: str) -> Iterator[tuple[str, str]]:
    """Yield what to save: file name and link."""
    result = done["result"]
    steps = f"/jobs/{job_id}/files"
    yield "model.glb", result["model_url"]
    yield "thumbnail.png", f"{steps}/mesh/thumbnail.png"
    if result["rigging_status"] != "completed":
        return
    yield "rigged.glb", result["rigged_character_glb_url"]
    yield "rigged.thumbnail.png", f"{steps}/rig/thumbnail.png"
    if result["rigged_character_fbx_url"]:
        yield "rigged.fbx", result["rigged_character_fbx_url"]
    for move in result["animation_urls"]:
        name = f"anim_{move['action_id']}"
        yield f"{name}.glb", move["raw_anim_glb"]
        if move["raw_anim_fbx"]:
            yield f"{name}.fbx", move["raw_anim_fbx"]
        yield f"{name}.thumbnail.png", f"{steps}/{name}/thumbnail.png"
        yield f"{name}.preview.webp", f"{steps}/{name}/preview.webp"
