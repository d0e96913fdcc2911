from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.paths import issue_path, safe_filename


def test_the_mesh_and_its_thumbnail_have_the_documented_paths() -> None:
    mesh = issue_path("J", "mesh", last=True, role="mesh", ordinal=0, filename="model.GLB")
    thumb = issue_path("J", "mesh", last=True, role="thumbnail", ordinal=0, filename="t.png")
    assert mesh.main_path == "/outputs/meshes/mesh_J.glb"
    assert thumb.main_path == "/outputs/thumbnails/mesh_J_thumb.png"


def test_further_files_keep_their_names_below_the_job() -> None:
    issued = issue_path("J", "mesh", last=True, role="material", ordinal=0, filename="model.mtl")
    assert (issued.path, issued.main_path) == ("/outputs/meshes/J/model.mtl", None)


def test_two_tasks_may_use_the_same_name() -> None:
    paths = {
        issue_path("J", task, last=last, role="mesh", ordinal=0, filename="model.glb").path
        for task, last in (("mesh", False), ("texture", False), ("rig", True))
    }
    assert len(paths) == 3


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("a\\b.obj", "b.obj"), ("..", ""), ("", ""), ("a\x00b", "ab")],
)
def test_a_name_leads_nowhere_else(name: str, kept: str) -> None:
    assert safe_filename(name) == kept


@given(st.text(max_size=300))
def test_every_issued_path_stays_in_its_folder(name: str) -> None:
    path = issue_path("J", "t", last=True, role="r", ordinal=3, filename=name).path
    head, _, tail = path.rpartition("/")
    assert head == "/outputs/meshes/J"
    assert tail.strip(". ") and "\\" not in tail and tail.isprintable()
