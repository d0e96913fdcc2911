"""Checked requests of the animation routes, and pages of the library. Pure."""

from __future__ import annotations

import base64
import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maquette.api.animation.v1 import animation_pb2, motions_pb2
from maquette.api.dialects.core.v1 import animations_pb2
from maquette.runtime.errors import InvalidArgument
from services.gateway.dialects.aigc.requests import one_of
from services.gateway.dialects.aigc.words import Feature
from services.gateway.motions import Library

ANIMATE = Feature("animate", "Animation job queued successfully", ())
CATEGORIES = ("WalkAndRun", "DailyActions", "BodyMovements", "Fighting", "Dancing")
MATCHES: Mapping[str, motions_pb2.Match.ValueType] = {
    "exact": motions_pb2.MATCH_EXACT,
    "close": motions_pb2.MATCH_CLOSE,
    "approximate": motions_pb2.MATCH_APPROXIMATE,
}
MOODS = ("neutral", "happy", "sad", "angry", "afraid", "tired", "proud", "tense", "relaxed")
OUTPUTS = ("glb", "fbx")
FILES = ("one", "each")
MOST_MOTIONS = 32
_USUAL_PAGE = 50
_NEIGHBOURS = 5
_CHARACTERS = ("character_file_id", "character_path", "character_job_id")
_CLIPS = ("clip_file_id", "clip_path")
_NUMBERS = ("fps", "speed", "energy")
_WORDS = {number: word for word, number in MATCHES.items()}


@dataclass(frozen=True, slots=True)
class AnimationRequest:
    """A request to make a character move, checked."""

    feature: Feature
    given: dict[str, Any]
    """The fields the client gave."""
    model_preference: str
    deny_fallback: bool
    parameters: animation_pb2.Animate

    def text(self, name: str) -> str:
        """Return a field of text, empty where it was not given."""
        return str(self.given.get(name, ""))


def read_animation_request(message: animations_pb2.CreateAnimationRequest) -> AnimationRequest:
    """Check a request for all that can be known without a file or the library.

    Raises InvalidArgument with the one thing that is wrong.
    """
    given: dict[str, Any] = {
        field.name: list(value) if field.is_repeated else value
        for field, value in message.ListFields()
        if value != ""
    }
    _exactly_one(given)
    for name in _NUMBERS:
        if not math.isfinite(given.get(name, 1.0)):
            raise InvalidArgument(f"{name} must be a number.")
    motions = _motions(given)
    clips = [name for name in _CLIPS if name in given]
    if len(clips) > 1:
        raise InvalidArgument(f"One of {' and '.join(_CLIPS)} is enough.")
    if not motions and not clips:
        raise InvalidArgument(
            "Nothing to play: name motions with animation_ids (GET /v1/animations lists them) or motions, or "
            "send a clip of your own with clip_file_id."
        )
    parameters = animation_pb2.Animate(
        motions=motions,
        speed=given.get("speed", 0.0),
        energy=given.get("energy"),
        mood=one_of("mood", given["mood"], MOODS) if "mood" in given else "",
        left_handed=given.get("left_handed", False),
        fps=given.get("fps", 0.0),
        in_place=given.get("in_place"),
        output_format=one_of("output_format", given.get("output_format", "glb"), OUTPUTS),
        clip_only=given.get("clip_only", False),
        keep_clips=given.get("keep_clips", False),
        files=one_of("files", given.get("files", "one"), FILES),
    )
    deny = one_of("fallback", given.get("fallback", "allow"), ("allow", "deny")) == "deny"
    return AnimationRequest(ANIMATE, given, given.get("model_preference", ""), deny, parameters)


def _exactly_one(given: Mapping[str, Any]) -> None:
    used = [name for name in _CHARACTERS if name in given]
    if len(used) != 1:
        raise InvalidArgument(f"Exactly one of {', '.join(_CHARACTERS)} is needed; {len(used)} were given.")


def _motions(given: Mapping[str, Any]) -> list[str]:
    names = [name.strip().lower().replace(" ", "_").replace("-", "_") for name in given.get("motions", ())]
    if not all(names):
        raise InvalidArgument("motions has a name that is empty.")
    motions = [str(number) for number in given.get("animation_ids", ())] + names
    if len(motions) > MOST_MOTIONS:
        raise InvalidArgument(f"A job takes at most {MOST_MOTIONS} motions; {len(motions)} were asked for.")
    twice = next((each for each in motions if motions.count(each) > 1), None)
    if twice is not None:
        raise InvalidArgument(f"The motion {twice[:64]} is asked for twice.")
    return motions


def check_motions(request: AnimationRequest, library: Library) -> None:
    """Refuse a motion that the library does not have. Raises InvalidArgument, which tells how to find one."""
    for motion in request.parameters.motions:
        if motion.isascii() and motion.lstrip("-").isdigit():
            if int(motion) not in library.motions:
                raise InvalidArgument(library.unknown(int(motion)))
        elif motion not in library.names:
            holding = sorted(name for name in library.names if motion in name)
            close = difflib.get_close_matches(motion, library.names, n=_NEIGHBOURS, cutoff=0.4)
            near = list(dict.fromkeys((*holding, *close)))[:_NEIGHBOURS]
            nearest = f" The nearest are {', '.join(near)}." if near else ""
            raise InvalidArgument(
                f"There is no motion {motion[:64]!r}.{nearest} Find one with GET /v1/animations?search=…; "
                "the member motion tells its name."
            )


def number_of(text: str) -> int | None:
    """Return the id that a path names; None for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


@dataclass(frozen=True, slots=True)
class Query:
    """A search of the library, and where its page begins."""

    words: tuple[str, ...]
    category: str
    match: str
    size: int
    after: int
    """Id of the last motion of the page before; -1 for the first page."""

    @property
    def seal(self) -> str:
        """What makes two searches the same: a token is only good for the search it came from."""
        said = "\x00".join((" ".join(self.words), self.category, self.match))
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def token(self, last: int) -> str:
        """Return the token of the page that follows a motion."""
        return base64.urlsafe_b64encode(f"{last}.{self.seal}".encode()).decode().rstrip("=")


def read_query(message: animations_pb2.ListAnimationsRequest) -> Query:
    """Check a search. Raises InvalidArgument with the one thing that is wrong."""
    # Forms write a space as a plus, which the transcoder leaves as it is.
    search = message.search.lower().replace("+", " ").replace("_", " ")
    query = Query(
        words=tuple(search.split()),
        category=one_of("category", message.category, CATEGORIES) if message.category else "",
        match=one_of("match", message.match, MATCHES) if message.match else "",
        size=message.page_size if message.HasField("page_size") else _USUAL_PAGE,
        after=-1,
    )
    if not message.page_token:
        return query
    try:
        padded = message.page_token + "=" * (-len(message.page_token) % 4)
        last, _, seal = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii").partition(".")
        after = int(last)
    except ValueError as error:
        raise InvalidArgument("page_token is not one that this API issued.") from error
    if seal != query.seal:
        raise InvalidArgument("page_token belongs to another search; ask for the first page without one.")
    return Query(query.words, query.category, query.match, query.size, after)


def find(query: Query, library: Library) -> Sequence[motions_pb2.Motion]:
    """Return all motions of a search, by id."""
    return [
        motion
        for motion in library.motions.values()
        if (not query.category or motion.category == query.category)
        and (not query.match or motion.match == MATCHES[query.match])
        and _has(motion, query.words)
    ]


def _has(motion: motions_pb2.Motion, words: Iterable[str]) -> bool:
    text = " ".join((motion.name, motion.motion, motion.summary, *motion.tags)).lower().replace("_", " ")
    whole = (str(motion.id), motion.category.lower())
    return all(word in text or word in whole for word in words)


def page_view(query: Query, library: Library, base_url: str) -> animations_pb2.AnimationPage:
    """Return a page of what a search finds."""
    found = find(query, library)
    rest = [motion for motion in found if motion.id > query.after]
    page = rest[: query.size]
    return animations_pb2.AnimationPage(
        animations=[animation_view(motion, base_url) for motion in page],
        next_page_token=query.token(page[-1].id) if len(rest) > len(page) else "",
        total=len(found),
        names_without_id=_names_without_id(query, library),
    )


def _names_without_id(query: Query, library: Library) -> list[str]:
    if query.category or query.match:
        return []
    rest = library.names - {motion.motion for motion in library.motions.values()}
    return sorted(name for name in rest if all(word in name.replace("_", " ") for word in query.words))


def animation_view(motion: motions_pb2.Motion, base_url: str) -> animations_pb2.Animation:
    """Return a motion in our own words."""
    return animations_pb2.Animation(
        id=motion.id,
        name=motion.name,
        category=motion.category,
        motion=motion.motion,
        summary=motion.summary,
        tags=motion.tags,
        match=_WORDS.get(motion.match, ""),
        reason=motion.reason or None,
        loop=motion.loop,
        seconds=motion.seconds,
        in_place=motion.in_place,
        mood=motion.mood,
        preview_url=f"{base_url}/v1/animations/{motion.id}/preview",
    )
