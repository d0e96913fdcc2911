"""Pack rectangles into a square: where the charts of a texture go."""

from __future__ import annotations

from collections.abc import Sequence

Size = tuple[int, int]
Place = tuple[int, int]


def pack(sizes: Sequence[Size], side: int) -> list[Place] | None:
    """Place rectangles ``(width, height)`` in a square of ``side``, or return None when they do not fit.

    Skyline, lowest place first, larger rectangles before smaller ones; nothing is turned.
    Returns the (x, y) of the corners nearest to the origin, in the order of ``sizes``.
    """
    if sum(width * height for width, height in sizes) > side * side:
        return None
    places: list[Place] = [(0, 0)] * len(sizes)
    # The skyline is a list of (x, y, width) from left to right without gaps.
    skyline: list[tuple[int, int, int]] = [(0, 0, side)]
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], -sizes[i][0], i)):
        place = _lowest(skyline, sizes[index], side)
        if place is None:
            return None
        places[index] = place
        skyline = _raise(skyline, place, sizes[index])
    return places


def _lowest(skyline: list[tuple[int, int, int]], size: Size, side: int) -> Place | None:
    width, height = size
    best: Place | None = None
    for start, (x, _, _) in enumerate(skyline):
        if x + width > side:
            break
        y = _resting_height(skyline, start, x + width)
        if y + height <= side and (best is None or (y, x) < (best[1], best[0])):
            best = (x, y)
    return best


def _resting_height(skyline: list[tuple[int, int, int]], start: int, right: int) -> int:
    height = 0
    for x, y, _ in skyline[start:]:
        if x >= right:
            break
        height = max(height, y)
    return height


def _raise(skyline: list[tuple[int, int, int]], place: Place, size: Size) -> list[tuple[int, int, int]]:
    left, right, top = place[0], place[0] + size[0], place[1] + size[1]
    pieces = [(left, top, size[0])]
    for x, y, width in skyline:
        if x < left:
            pieces.append((x, y, min(x + width, left) - x))
        if x + width > right:
            begin = max(x, right)
            pieces.append((begin, y, x + width - begin))
    return sorted(piece for piece in pieces if piece[2] > 0)
