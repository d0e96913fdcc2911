"""What people send that cannot be animated: each is refused with its reason, none brings a run down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maquette.geometry.codecs.gltf_document import GltfDocument
from maquette.geometry.codecs.gltf_rig_write import write_skeleton
from maquette.geometry.rig import Skeleton
from maquette.runtime.engine import EngineRequest, EngineResult, InputFile
from maquette.runtime.errors import InvalidArgument
from services.animation.engines import engines
from services.animation.motion.figure import FIGURE
from services.animation.motion.quadruped import QUADRUPED
from tests.support.characters import MOST, splinters

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
WALK = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  %s
}
MOTION
Frames: %d
Frame Time: %s
%s
"""
LIMBS = (
    ("LeftUpLeg", (10, 0, 0), (("LeftLeg", (0, -45, 0), (("LeftFoot", (0, -45, 0), ()),)),)),
    ("RightUpLeg", (-10, 0, 0), (("RightLeg", (0, -45, 0), (("RightFoot", (0, -45, 0), ()),)),)),
    (
        "Spine",
        (0, 20, 0),
        (
            ("LeftArm", (20, 30, 0), (("LeftForeArm", (30, 0, 0), (("LeftHand", (30, 0, 0), ()),)),)),
            ("RightArm", (-20, 30, 0), (("RightForeArm", (-30, 0, 0), (("RightHand", (-30, 0, 0), ()),)),)),
            ("Neck", (0, 40, 0), (("Head", (0, 10, 0), ()),)),
        ),
    ),
)


def joint(name: str, offset: tuple[float, ...], children: tuple[Any, ...]) -> str:
    inside = "".join(joint(*child) for child in children) or "End Site\n{\nOFFSET 0 5 0\n}\n"
    place = " ".join(map(str, offset))
    return f"JOINT {name}\n{{\nOFFSET {place}\nCHANNELS 3 Zrotation Xrotation Yrotation\n{inside}}}\n"


def bvh(
    *, frames: int = 30, seconds: float = 0.0333, cell: str = "0", limbs: tuple[Any, ...] = LIMBS
) -> bytes:
    """Return a person who stands; ``cell`` is what every rotation is."""
    body = "".join(joint(*limb) for limb in limbs)
    row = " ".join(["0", "90", "0", *[cell] * (3 + 3 * body.count("JOINT"))])
    return (WALK % (body, frames, seconds, "\n".join([row] * frames))).encode()


@pytest.fixture(scope="module")
def character() -> bytes:
    return splinters(FIGURE)


@pytest.fixture
def animate(tmp_path: Path) -> Iterator[Callable[..., EngineResult]]:
    count = 0

    def run(data: bytes, clip: tuple[str, bytes] | None = None, **parameters: Any) -> EngineResult:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        (folder / "work").mkdir(parents=True)
        (folder / "model.glb").write_bytes(data)
        inputs = [InputFile("mesh", folder / "model.glb", "model/gltf-binary", "model.glb")]
        if clip is not None:
            (folder / clip[0]).write_bytes(clip[1])
            inputs.append(InputFile("clip", folder / clip[0], "", clip[0]))
        given = {"output_format": "glb", "clip_only": True, **parameters}
        (engine,) = engines()
        request = EngineRequest("animate", given, tuple(inputs), folder / "work")
        return engine.run(request, lambda *_, **__: None)

    yield run


def test_the_clip_that_the_bad_ones_are_made_of_is_good(
    animate: Callable[..., EngineResult], character: bytes
) -> None:
    result = animate(character, ("stand.bvh", bvh()))
    assert [clip["name"] for clip in result.info["animations"]] == ["stand"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (bvh(frames=5, seconds=36_000.0 / 4), "frames per second"),
        (bvh(frames=1300, seconds=0.5), "at most 600"),
        (bvh(cell="nan"), "no numbers"),
        (bvh(cell="inf"), "no numbers"),
        (bvh(cell=""), "holds"),
        (bvh(frames=0), "no frames"),
        (bvh(limbs=(("Blade1", (0, 10, 0), (("Blade2", (0, 10, 0), ()),)),)), "legs"),
        (bvh(limbs=LIMBS[:2]), "two arms"),
    ],
    ids=["ten hours", "eleven minutes", "NaN", "infinite", "no values", "no frames", "no body", "no arms"],
)
def test_a_clip_that_makes_no_sense_is_refused(
    animate: Callable[..., EngineResult], character: bytes, data: bytes, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says) as refused:
        animate(character, ("clip.bvh", data))
    assert len(refused.value.message) > 20, "it tells why"


def test_ten_hours_of_glb_are_refused(animate: Callable[..., EngineResult], character: bytes) -> None:
    def slower(document: GltfDocument) -> None:
        for animation in document.json["animations"]:
            for number in {sampler["input"] for sampler in animation["samplers"]}:
                times = document.arrays.accessor(number).astype(np.float32)
                late = document.add_array(np.linspace(0, 36_000, len(times), dtype="<f4")[:, None], "SCALAR")
                document.json["accessors"][late] |= {"min": [0.0], "max": [36_000.0]}
                for sampler in animation["samplers"]:
                    if sampler["input"] == number:
                        sampler["input"] = late

    with pytest.raises(InvalidArgument, match="at most 600"):
        animate(character, ("own.glb", changed(animate, character, slower)))


def test_a_glb_clip_with_values_that_are_no_numbers_is_refused(
    animate: Callable[..., EngineResult], character: bytes
) -> None:
    def spoilt(document: GltfDocument) -> None:
        sampler = document.json["animations"][0]["samplers"][0]
        values = document.arrays.accessor(sampler["output"]).astype("<f4").copy()
        values[0, 0] = np.nan
        kind = document.json["accessors"][sampler["output"]]["type"]
        sampler["output"] = document.add_array(values, kind)

    with pytest.raises(InvalidArgument, match="number"):
        animate(character, ("own.glb", changed(animate, character, spoilt)))


def test_a_glb_without_clips_or_channels_is_refused(
    animate: Callable[..., EngineResult], character: bytes
) -> None:
    with pytest.raises(InvalidArgument, match="no clip"):
        animate(character, ("own.glb", character))

    def empty(document: GltfDocument) -> None:
        document.json["animations"][0] |= {"channels": [], "samplers": []}

    with pytest.raises(InvalidArgument):
        animate(character, ("own.glb", changed(animate, character, empty)))


def changed(
    animate: Callable[..., EngineResult], character: bytes, change: Callable[[GltfDocument], None]
) -> bytes:
    """Return a good clip of the library after a change."""
    result = animate(character, motions=["march"])
    document = GltfDocument(result.outputs[0].path.read_bytes(), MOST)
    change(document)
    return document.encode()


def test_a_motion_of_people_on_four_legs_is_refused_or_warned_of(
    animate: Callable[..., EngineResult],
) -> None:
    try:
        result = animate(splinters(QUADRUPED), motions=["casual_walk"])
    except InvalidArgument as error:
        assert "four legs" in error.message or "quadruped" in error.message, error.message
    else:
        assert result.warnings


def test_a_skeleton_of_no_body_is_refused(animate: Callable[..., EngineResult]) -> None:
    rest = np.tile(np.eye(4), (4, 1, 1))
    rest[:, 1, 3] = np.arange(4)
    crane = Skeleton(("base", "mast", "boom", "hook"), np.array([-1, 0, 1, 2], np.int32), rest)
    with pytest.raises(InvalidArgument) as refused:
        animate(splinters(crane), motions=["casual_walk"])
    assert len(refused.value.message) > 20


def test_joints_without_a_mesh_can_be_given_clips(animate: Callable[..., EngineResult]) -> None:
    document = GltfDocument(json.dumps({"asset": {"version": "2.0"}}).encode(), MOST)
    write_skeleton(document, FIGURE)
    document.json.setdefault("scenes", [{"nodes": [0]}])
    try:
        result = animate(document.encode(), motions=["march"], clip_only=False)
    except InvalidArgument as error:
        assert len(error.message) > 20
    else:
        assert [file.role for file in result.outputs] == ["mesh"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_no_malformed_file_is_taken_for_a_clip(
    animate: Callable[..., EngineResult], character: bytes
) -> None:
    paths = [path for path in sorted((SHARED / "malformed").iterdir()) if path.is_file()]
    assert paths
    for path in paths:
        with pytest.raises(InvalidArgument) as refused:
            animate(character, (f"clip{path.suffix.lower()}", path.read_bytes()))
        assert refused.value.message, path.name


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_every_bvh_of_others_is_taken_over_or_refused_with_its_reason(
    animate: Callable[..., EngineResult], character: bytes
) -> None:
    paths = sorted((SHARED / "animation").glob("*.bvh"))
    assert paths
    for path in paths:
        try:
            result = animate(character, (path.name, path.read_bytes()), fps=12.0)
        except InvalidArgument as error:
            assert len(error.message) > 20, path.name
        else:
            assert result.info["animations"][0]["seconds"] >= 0, path.name
