"""A run of `motion_library`: what it delivers, what it tells, what it refuses, and that it can be stopped."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maquette.geometry.codecs import encode
from maquette.geometry.codecs.gltf_clips_read import read_clips
from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig import read_rig
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import Cancelled, InvalidArgument
from services.animation.engines import engines
from services.animation.library.ids import ENTRIES, Match
from services.animation.motion.figure import FIGURE
from tests.support.characters import splinters
from tests.support.figures import humanoid

MALFORMED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "malformed"
MOST = 1_000_000


def quiet(stage: str, fraction: float, message: str = "", **more: Any) -> None:
    """Report to nobody."""


@pytest.fixture(scope="module")
def character() -> bytes:
    """The figure with a triangle at each joint."""
    return splinters(FIGURE)


def animate(
    folder: Path,
    data: bytes,
    *,
    clip: tuple[str, bytes] | None = None,
    report: Callable[..., None] = quiet,
    **parameters: Any,
) -> EngineResult:
    work = folder / "work"
    work.mkdir(parents=True)
    (folder / "model.glb").write_bytes(data)
    inputs = [InputFile("mesh", folder / "model.glb", "model/gltf-binary", "model.glb")]
    if clip is not None:
        (folder / clip[0]).write_bytes(clip[1])
        inputs.append(InputFile("clip", folder / clip[0], "", clip[0]))
    given = {"output_format": "glb", **parameters}
    (engine,) = engines()
    return engine.run(EngineRequest("animate", given, tuple(inputs), work), report)


def clips_in(data: bytes, fps: float = 30.0) -> list[str]:
    document = GltfDocument(data, MOST)
    rig = read_rig(document)
    assert rig is not None
    return [clip.name for clip in read_clips(document, rig, fps, max_seconds=600.0)]


def delivered(result: EngineResult, role: str = "mesh") -> bytes:
    return next(output.path.read_bytes() for output in result.outputs if output.role == role)


def test_several_motions_come_in_one_file_in_order(tmp_path: Path, character: bytes) -> None:
    stages: list[tuple[str, float]] = []
    result = animate(
        tmp_path,
        character,
        motions=["march", "casual walk"],
        fps=24.0,
        report=lambda stage, share, *_, **__: stages.append((stage, share)),
    )
    assert clips_in(delivered(result)) == ["march", "casual_walk"]
    assert [clip["name"] for clip in result.info["animations"]] == ["march", "casual_walk"]
    assert result.info["file_size_bytes"] == len(delivered(result))
    assert delivered(result, "thumbnail").startswith(b"\x89PNG")
    with Image.open(io.BytesIO(delivered(result, "preview"))) as preview:
        assert preview.format == "WEBP" and getattr(preview, "n_frames", 1) > 8
        looks = []
        for frame in (0, 4):
            preview.seek(frame)
            looks.append(np.asarray(preview.convert("RGBA")).copy())
        assert (looks[0] != looks[1]).any(), "it moves"
    shares = [share for _, share in stages]
    assert shares == sorted(shares)


def test_an_id_plays_its_motion_and_tells_what_it_lacks(tmp_path: Path, character: bytes) -> None:
    number = next(each.id for each in ENTRIES.values() if each.match is Match.APPROXIMATE)
    result = animate(tmp_path, character, motions=[str(number)])
    assert clips_in(delivered(result)) == [ENTRIES[number].name]
    assert any(ENTRIES[number].reason in warning for warning in result.warnings)


def test_clips_can_be_had_without_the_mesh(tmp_path: Path, character: bytes) -> None:
    data = delivered(animate(tmp_path, character, motions=["march"], clip_only=True))
    assert "meshes" not in GltfDocument(data, MOST).json
    assert clips_in(data) == ["march"]


def test_pictures_can_be_left_out(tmp_path: Path, character: bytes) -> None:
    result = animate(tmp_path, character, motions=["30"], no_pictures=True)
    assert [output.role for output in result.outputs] == ["mesh"]


def test_a_clip_of_ones_own_is_taken_over(tmp_path: Path, character: bytes) -> None:
    own = delivered(animate(tmp_path / "a", character, motions=["march"], clip_only=True))
    result = animate(tmp_path / "b", character, clip=("own.glb", own))
    assert clips_in(delivered(result)) == ["march"]


def test_clips_a_model_has_are_left_out_unless_they_are_to_stay(tmp_path: Path, character: bytes) -> None:
    first = delivered(animate(tmp_path / "a", character, motions=["march"]))
    bare = animate(tmp_path / "b", first, motions=["casual_walk"])
    assert clips_in(delivered(bare)) == ["casual_walk"]
    assert any("left out" in warning for warning in bare.warnings)
    both = animate(tmp_path / "c", first, motions=["casual_walk"], keep_clips=True)
    assert clips_in(delivered(both)) == ["march", "casual_walk"]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"motions": ["marsh"]}, "march"),
        ({"motions": ["999999"]}, "nearest"),
        ({"motions": []}, "at least one"),
        ({"motions": ["march", "march"]}, "twice"),
        ({"motions": ["march"], "fps": 10_000.0}, "fps"),
        ({"motions": ["march"], "speed": 9.0}, "speed"),
        ({"motions": ["march"], "mood": "hungry"}, "mood"),
        ({"motions": ["march"], "output_format": "obj"}, "output_format"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    tmp_path: Path, character: bytes, parameters: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        animate(tmp_path, character, **parameters)


def test_a_mesh_without_a_rig_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no skeleton"):
        animate(tmp_path, encode(humanoid(), "glb")[0].data, motions=["march"])


@pytest.mark.parametrize("clip", [("a.bvh", b"HIERARCHY\nMOTION\n"), ("a.glb", b"nonsense"), ("a.glb", b"")])
def test_clips_that_cannot_be_read_are_refused(
    tmp_path: Path, character: bytes, clip: tuple[str, bytes]
) -> None:
    with pytest.raises(InvalidArgument):
        animate(tmp_path, character, clip=clip)


@pytest.mark.skipif(not MALFORMED.is_dir(), reason="the malformed files are not here")
def test_malformed_files_are_refused(tmp_path: Path) -> None:
    for number, path in enumerate(sorted([*MALFORMED.glob("*.glb"), *MALFORMED.glob("*.gltf")])):
        with pytest.raises(InvalidArgument):
            animate(tmp_path / str(number), path.read_bytes(), motions=["march"])


def test_a_run_can_be_stopped(tmp_path: Path, character: bytes) -> None:
    def stop(stage: str, fraction: float, message: str = "", **more: Any) -> None:
        if stage == "performing":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        animate(tmp_path, character, motions=["march"], report=stop)
