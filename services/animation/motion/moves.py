"""A move: one named motion, and the style in which it is played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.animation.motion.channels import HIGH, INDEX, LOW, REST, mirrored, sideless
from services.animation.motion.gait import Gait, gait
from services.animation.motion.ground import grounded
from services.animation.motion.keys import Curve, play, sway
from services.animation.motion.moods import MOODS, carried
from services.animation.motion.pose import Motion, solve

CATEGORIES = ("WalkAndRun", "DailyActions", "BodyMovements", "Fighting", "Dancing")


@dataclass(frozen=True, slots=True)
class Style:
    """How a move is played: what gives one move many characters."""

    speed: float = 1.0
    """Tempo; a gait's steps grow with it too."""
    energy: float = 1.0
    """Size of what trunk, head and arms do, 1 as written."""
    mood: str = "neutral"
    left_handed: bool = False
    """Play the mirror image."""

    def __post_init__(self) -> None:
        if not 0.25 <= self.speed <= 4.0 or not 0.0 <= self.energy <= 2.0 or self.mood not in MOODS:
            raise ValueError(f"no style: {self}")


PLAIN = Style()
Draw = Callable[[float, Style], Curve]


@dataclass(frozen=True, slots=True)
class Move:
    """One motion of the library. ``draw(fps, style)`` returns its channels over time."""

    name: str
    category: str
    summary: str
    """What is seen, in a few words."""
    loop: bool
    draw: Draw = field(repr=False, compare=False)
    tags: tuple[str, ...] = ()
    rests: bool = False
    """The body lies or leans on the floor, not only on its feet."""
    lasts: Callable[[Style], float] = field(default=lambda style: 0.0, repr=False, compare=False)
    """Seconds of one round in a style; what is drawn ends on the nearest frame."""

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"{self.name}: no category {self.category}")

    def perform(self, fps: float, style: Style = PLAIN) -> Motion:
        """Make the motion."""
        curve = carried(self.draw(fps, style), style.mood).clip(LOW, HIGH)
        curve = mirrored(curve) if style.left_handed else curve
        return solve(grounded(curve, fps, loop=self.loop, rests=self.rests), fps)


def keyed(
    name: str,
    category: str,
    summary: str,
    *keys: tuple[float, Curve],
    loop: bool = False,
    lag: float = 1.0,
    breath: float = 1.0,
    tags: tuple[str, ...] = (),
    rests: bool = False,
) -> Move:
    """Build a move from poses at seconds; a loop's last key is its first pose."""

    def draw(fps: float, style: Style) -> Curve:
        timed = [(time / style.speed, pose) for time, pose in keys]
        curve = play(timed, fps, loop=loop, lag=lag)
        return energetic(sway(curve, fps, breath=breath), style.energy)

    return Move(
        name, category, summary, loop, draw, tags, rests, lasts=lambda style: keys[-1][0] / style.speed
    )


def stepping(
    name: str,
    summary: str,
    form: Gait,
    *,
    over: Callable[[Curve], Curve] | None = None,
    cycles: int = 2,
    category: str = "WalkAndRun",
    tags: tuple[str, ...] = (),
) -> Move:
    """Build a looping walk or run; ``over`` changes the channels of trunk, head and arms."""

    def draw(fps: float, style: Style) -> Curve:
        # People go faster by longer and quicker steps in about equal parts.
        paced = replace(form, cycle=form.cycle / style.speed**0.5, stride=form.stride * style.speed**0.5)
        curve = energetic(gait(paced, fps, cycles=cycles), style.energy)
        return over(curve) if over else curve

    return Move(
        name, category, summary, True, draw, tags, lasts=lambda style: cycles * form.cycle / style.speed**0.5
    )


_TRUNK = ("bend", "lean", "twist", "nod", "tilt", "look")
_ARMS = ("shrug", "reach", "swing", "spread", "rotate", "elbow", "wrist", "elbow_out")
_EXPRESSIVE = frozenset((*_TRUNK, *_ARMS))


def energetic(curve: Curve, energy: float) -> Curve:
    """Scale what trunk, head and arms do about their middle over the motion; feet stay where they are."""
    if energy == 1.0:
        return curve
    scaled = curve.copy()
    for name, index in INDEX.items():
        if sideless(name) in _EXPRESSIVE:
            # A held pose is scaled from standing, a movement about its own middle.
            middle = 0.5 * (REST[index] + curve[:, index].mean())
            scaled[:, index] = middle + energy * (curve[:, index] - middle)
    return scaled
