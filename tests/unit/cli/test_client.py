"""What the command line reads and writes, without a server."""

from __future__ import annotations

import httpx
import pytest

from maquette.cli.client import ClientError, Generation, parse_events
from maquette.cli.saving import file_names
from maquette.cli.screen import time_left


def _file(role: str, filename: str) -> dict[str, object]:
    return {
        "role": role,
        "file_info": {"filename": filename, "file_extension": filename[filename.rindex(".") :]},
    }


def test_events_are_read_with_their_ids_and_comments_are_skipped() -> None:
    lines = [": ping", "", "id: 7", "event: progress", 'data: {"a":', "data: 1}", "", 'data: {"a": 2}', ""]
    assert list(parse_events(iter(lines))) == [("7", {"a": 1}), ("7", {"a": 2})]


def test_an_event_cut_off_in_the_middle_is_not_delivered() -> None:
    assert list(parse_events(iter(["id: 7", 'data: {"a": 1}']))) == []


def test_a_name_that_a_server_sends_never_leaves_the_folder() -> None:
    names = file_names([_file("mesh", "m.obj"), _file("texture", "../../etc/texture.png")], "model.obj")
    assert names == [("mesh", 0, "model.obj"), ("texture", 0, "texture.png")]


def test_several_files_of_a_role_are_told_apart() -> None:
    names = file_names([_file("texture", "a.png"), _file("texture", "b.png")], "model.obj")
    assert names == [("texture", 0, "a.png"), ("texture", 1, "b.png")]


def test_what_was_left_open_is_not_sent() -> None:
    assert Generation(raw=True, texture_resolution=512).body("f") == {
        "image_file_id": "f",
        "output_format": "glb",
    }


def test_several_pictures_are_sent_with_their_views() -> None:
    assert Generation(raw=True, views=("front", "back")).body("f", "b") == {
        "image_file_ids": ["f", "b"],
        "views": ["front", "back"],
        "output_format": "glb",
    }


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, ""), (0.2, "0 s left"), (59.4, "59 s left"), (125, "2:05 left")]
)
def test_time_left_in_words(seconds: float | None, words: str) -> None:
    assert time_left(seconds) == words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(400, json={"message": "Bad", "detail": "no picture"}), "(400): Bad: no picture"),
        (httpx.Response(400, json={"message": "Bad", "detail": "Bad"}), "(400): Bad"),
        (httpx.Response(502, text="<html>"), "(502): Bad Gateway"),
        (httpx.Response(500, json=["odd"]), "(500): Internal Server Error"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, words: str
) -> None:
    from maquette.cli import client as module

    transport = httpx.MockTransport(lambda _: answer)
    original = httpx.Client
    monkeypatch.setattr(module.httpx, "Client", lambda **given: original(**given, transport=transport))
    with module.Client("http://mesh") as client, pytest.raises(ClientError) as refused:
        client.health()
    assert str(refused.value) == f"The server refused {words}"
