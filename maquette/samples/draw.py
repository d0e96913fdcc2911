"""Draw the sample pictures from formulas: solids as signed distances, lit by sphere tracing.

The method is Hart's (Sphere Tracing, 1996); soft shadow and ambient occlusion are read off
the same distances. Run as ``python -m maquette.samples.draw``; it takes a minute or two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
Scene = Callable[[Array], tuple[Array, Array]]
"""Maps points ``(n, 3)`` to distances ``(n,)`` and, per point, a material number ``(n,)``."""

SIDE = 1024
_SAMPLES = 2
_FAR = 12.0


@dataclass(frozen=True, slots=True)
class Paint:
    """A colour (sRGB 0–1), how strongly it glistens and how sharp the highlight is."""

    color: tuple[float, float, float]
    gloss: float = 0.25
    sharpness: float = 40.0


@dataclass(frozen=True, slots=True)
class Setup:
    """Where the camera looks from and what it sees: degrees, and the half height of the picture."""

    yaw: float
    pitch: float
    centre: tuple[float, float, float]
    half_height: float
    key: tuple[float, float, float]


def _array(values: Sequence[float] | Sequence[Sequence[float]]) -> Array:
    return np.array(values, dtype=np.float32)


def sphere(p: Array, centre: tuple[float, float, float], radius: float) -> Array:
    """Return the distance to a sphere."""
    return np.asarray(np.linalg.norm(p - _array(centre), axis=1) - np.float32(radius))


def ellipsoid(p: Array, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """Return a close bound of the distance to an ellipsoid along the axes."""
    q = p - _array(centre)
    near = np.linalg.norm(q / _array(radii), axis=1)
    steep = np.linalg.norm(q / _array(radii) ** 2, axis=1)
    return np.asarray(near * (near - 1) / np.maximum(steep, 1e-6), dtype=np.float32)


def capsule(
    p: Array,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
    end_radius: float,
) -> Array:
    """Return the distance to a rod whose thickness runs from one radius to the other."""
    a, b = _array(start), _array(end)
    axis = b - a
    along = np.clip((p - a) @ axis / float(axis @ axis), 0, 1)
    nearest = a + along[:, None] * axis
    return np.asarray(np.linalg.norm(p - nearest, axis=1) - (radius + along * (end_radius - radius)))


def blend(a: Array, b: Array, width: float) -> Array:
    """Unite two solids with a fillet of the given width."""
    h = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return np.asarray(b + (a - b) * h - width * h * (1 - h), dtype=np.float32)


def nearest(*solids: tuple[Array, int]) -> tuple[Array, Array]:
    """Unite solids and tell for each point which is the nearest."""
    distances = np.stack([distance for distance, _ in solids])
    which = distances.argmin(axis=0)
    numbers = np.array([number for _, number in solids])
    return distances.min(axis=0).astype(np.float32), numbers[which].astype(np.float32)


# --- the figurine: a mushroom sprite -------------------------------------------------------

FIGURINE_PAINTS = (
    Paint((0.86, 0.16, 0.15), 0.45, 60),  # 0 cap
    Paint((0.98, 0.95, 0.88), 0.25, 30),  # 1 spots and gills
    Paint((0.97, 0.86, 0.70), 0.18, 20),  # 2 skin
    Paint((0.10, 0.08, 0.09), 0.9, 120),  # 3 eyes
    Paint((0.99, 0.99, 0.99), 0.3, 60),  # 4 glint
    Paint((0.48, 0.29, 0.18), 0.25, 30),  # 5 shoes
    Paint((0.30, 0.60, 0.32), 0.2, 25),  # 6 scarf
    Paint((0.66, 0.22, 0.20), 0.2, 20),  # 7 mouth
    Paint((0.97, 0.62, 0.53), 0.15, 20),  # 8 cheeks
)
FIGURINE = Setup(yaw=0, pitch=7, centre=(0, 1.28, 0), half_height=1.42, key=(-0.42, 0.42, 0.9))

_SPOTS = (
    (0.00, 0.78, 0.62, 0.25), (-0.62, 0.55, 0.56, 0.20), (0.66, 0.50, 0.56, 0.22), (-0.93, 0.22, 0.28, 0.15),
    (0.95, 0.18, 0.20, 0.14), (-0.33, 0.30, 0.90, 0.13), (0.36, 0.27, 0.90, 0.12), (0.30, 0.93, 0.20, 0.13),
    (-0.36, 0.93, 0.10, 0.15), (0.0, 0.6, -0.8, 0.25), (0.6, 0.5, -0.6, 0.2), (-0.6, 0.5, -0.6, 0.2),
)  # fmt: skip


def figurine(p: Array) -> tuple[Array, Array]:
    """Model a mushroom with a face, a scarf and shoes, 2.6 units high."""
    dome = ellipsoid(p, (0, 1.64, 0), (1.02, 0.92, 0.98))
    cap = -blend(-dome, p[:, 1] - np.float32(1.50), 0.12) - 0.03
    gills = ellipsoid(p, (0, 1.52, 0), (0.80, 0.14, 0.76))
    body = blend(
        ellipsoid(p, (0, 0.72, 0), (0.58, 0.60, 0.52)), capsule(p, (0, 0.9, 0), (0, 1.6, 0), 0.5, 0.40), 0.15
    )
    arm = np.minimum(
        capsule(p, (-0.50, 0.74, 0.10), (-0.86, 0.66, 0.22), 0.14, 0.15),
        capsule(p, (0.50, 0.74, 0.10), (0.88, 0.92, 0.22), 0.14, 0.15),
    )
    body = blend(body, arm, 0.10)
    shoes = np.minimum(
        ellipsoid(p, (-0.30, 0.14, 0.12), (0.27, 0.17, 0.36)),
        ellipsoid(p, (0.30, 0.14, 0.12), (0.27, 0.17, 0.36)),
    )
    shoes = np.maximum(shoes, -p[:, 1])
    ring = np.sqrt((np.hypot(p[:, 0] / 1.06, p[:, 2]) - 0.50) ** 2 + ((p[:, 1] - 0.78) * 0.8) ** 2) - 0.105
    tail = capsule(p, (0.20, 0.74, 0.56), (0.30, 0.40, 0.62), 0.09, 0.12)
    eyes = np.minimum(
        ellipsoid(p, (-0.19, 1.17, 0.40), (0.085, 0.125, 0.07)),
        ellipsoid(p, (0.19, 1.17, 0.40), (0.085, 0.125, 0.07)),
    )
    glints = np.minimum(sphere(p, (-0.215, 1.22, 0.462), 0.026), sphere(p, (0.165, 1.22, 0.462), 0.026))
    distance, paint = nearest(
        (cap, 0), (gills, 1), (body, 2), (eyes, 3), (glints, 4), (shoes, 5), (blend(ring, tail, 0.06), 6)
    )
    return distance, _figurine_marks(p, paint)


def _figurine_marks(p: Array, paint: Array) -> Array:
    """Paint spots on the cap, a smile and cheeks on the skin."""
    direction = (p - _array((0, 1.64, 0))) / _array((1.05, 0.95, 1.01))
    for x, y, z, size in _SPOTS:
        axis = _array((x, y, z)) / np.float32(np.sqrt(x * x + y * y + z * z))
        paint = np.where((paint == 0) & (np.linalg.norm(direction - axis, axis=1) < size), 1, paint)
    skin = (paint == 2) & (p[:, 2] > 0)
    arc = np.abs(np.hypot(p[:, 0], p[:, 1] - 1.12) - 0.135) < 0.022
    paint = np.where(skin & arc & (p[:, 1] < 1.045), 7, paint)
    cheek = np.minimum(np.hypot(p[:, 0] + 0.33, p[:, 1] - 1.03), np.hypot(p[:, 0] - 0.33, p[:, 1] - 1.03))
    return np.asarray(np.where(skin & (cheek < 0.075), 8, paint))


# --- the photo: a rubber duck on a table ---------------------------------------------------

PHOTO_PAINTS = (
    Paint((0.98, 0.78, 0.12), 0.6, 70),  # 0 duck
    Paint((0.95, 0.42, 0.10), 0.5, 60),  # 1 bill
    Paint((0.07, 0.07, 0.08), 0.9, 150),  # 2 eye
    Paint((0.98, 0.98, 0.98), 0.4, 80),  # 3 white of the eye
    Paint((1.0, 1.0, 1.0), 0.0, 0),  # 4 table and wall, in one seamless sheet
)
PHOTO = Setup(yaw=-80, pitch=8, centre=(0.0, 0.92, 0.0), half_height=1.32, key=(-0.5, 0.9, 0.6))


def duck(p: Array) -> tuple[Array, Array]:
    """Model a rubber duck that looks along +Z, 1.9 units high."""
    body = ellipsoid(p, (0, 0.52, -0.10), (0.66, 0.52, 0.86))
    body = blend(body, capsule(p, (0, 0.62, -0.72), (0, 1.02, -1.04), 0.30, 0.08), 0.30)
    body = blend(body, ellipsoid(p, (0, 0.66, 0.42), (0.46, 0.46, 0.42)), 0.20)
    head = sphere(p, (0, 1.36, 0.36), 0.50)
    body = blend(body, head, 0.16)
    side = np.abs(p[:, 0])
    folded = np.stack([side, p[:, 1], p[:, 2]], axis=1).astype(np.float32)
    wing = blend(
        ellipsoid(folded, (0.62, 0.60, -0.12), (0.13, 0.26, 0.46)),
        ellipsoid(folded, (0.66, 0.72, -0.46), (0.09, 0.15, 0.26)),
        0.10,
    )
    body = np.maximum(blend(body, wing, 0.05), 0.03 - p[:, 1])
    upper = ellipsoid(p, (0, 1.30, 0.88), (0.25, 0.075, 0.28))
    lower = ellipsoid(p, (0, 1.20, 0.84), (0.20, 0.06, 0.22))
    white = ellipsoid(folded, (0.235, 1.50, 0.735), (0.115, 0.145, 0.09))
    pupil = ellipsoid(folded, (0.235, 1.51, 0.795), (0.065, 0.09, 0.05))
    glint = sphere(folded, (0.215, 1.55, 0.842), 0.022)
    return nearest((body, 0), (blend(upper, lower, 0.03), 1), (white, 3), (pupil, 2), (glint, 3))


def duck_on_table(p: Array) -> tuple[Array, Array]:
    """Add the table and, in a wide curve, the wall behind the duck."""
    distance, paint = duck(p)
    ground = p[:, 1]
    return np.minimum(distance, ground), np.where(distance < ground, paint, 4)


# --- tracing and shading -------------------------------------------------------------------


def trace(scene: Scene, origin: Array, direction: Array, steps: int = 140) -> Array:
    """March along rays; returns the distance to the hit, infinity without one."""
    travelled = np.zeros(len(origin), dtype=np.float32)
    hit = np.full(len(origin), np.inf, dtype=np.float32)
    active = np.arange(len(origin))
    for _ in range(steps):
        if not len(active):
            break
        distance = scene(origin[active] + direction[active] * travelled[active, None])[0]
        reached = distance < 8e-4
        hit[active[reached]] = travelled[active[reached]]
        travelled[active] += 0.9 * distance
        active = active[~reached & (travelled[active] < _FAR)]
    # Rays that graze a surface run out of steps very near to it.
    near = active[scene(origin[active] + direction[active] * travelled[active, None])[0] < 0.02]
    hit[near] = travelled[near]
    return hit


def gradient(scene: Scene, p: Array) -> Array:
    """Return unit normals from four distances each."""
    total = np.zeros_like(p)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        step = _array(corner)
        total += step * scene(p + step * np.float32(2e-3))[0][:, None]
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9))


def soft_shadow(scene: Scene, p: Array, light: Array, sharpness: float) -> Array:
    """Return how much of a wide light is seen, 0–1, from how closely rays to it pass things."""
    seen = np.ones(len(p), dtype=np.float32)
    travelled = np.full(len(p), 0.03, dtype=np.float32)
    for _ in range(56):
        distance = scene(p + light * travelled[:, None])[0]
        seen = np.minimum(seen, sharpness * np.maximum(distance, 0) / travelled)
        travelled += np.clip(0.7 * distance, 0.02, 0.2)
    return np.asarray(seen * seen * (3 - 2 * seen))


def openness(scene: Scene, p: Array, normal: Array) -> Array:
    """Return how free the surroundings are, 0–1."""
    closed = np.zeros(len(p), dtype=np.float32)
    for index, step in enumerate((0.03, 0.09, 0.18, 0.32, 0.5)):
        closed += (step - scene(p + normal * np.float32(step))[0]) * 0.75**index
    return np.asarray(np.clip(1 - 1.15 * closed, 0, 1), dtype=np.float32)


def shade(
    scene: Scene,
    paints: tuple[Paint, ...],
    p: Array,
    eye: Array,
    key: tuple[float, float, float],
    sharpness: float,
) -> Array:
    """Return linear colours ``(n, 3)`` of surface points seen from direction ``eye``."""
    normal = gradient(scene, p)
    number = scene(p)[1].astype(np.int64)
    albedo = _array([paint.color for paint in paints])[number] ** 2.2
    gloss = _array([paint.gloss for paint in paints])[number]
    power = _array([paint.sharpness for paint in paints])[number]
    light = _array(key) / np.linalg.norm(key)
    shadow = soft_shadow(scene, p + normal * np.float32(0.01), light, sharpness)
    free = openness(scene, p, normal)
    # Light wraps a little round the edge, as in soft plastic.
    diffuse = np.clip((normal @ light + 0.15) / 1.15, 0, 1) * shadow
    sky = (0.62 + 0.38 * normal[:, 1]) * free
    bounce = np.clip(-normal[:, 1], 0, 1) * free
    half = light - eye
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    glint = gloss * np.clip((normal * half).sum(axis=1), 0, 1) ** power * shadow
    rim = (1 + (normal * eye).sum(axis=1)).clip(0, 1) ** 3 * free * gloss
    warm, cool = _array((1.0, 0.95, 0.86)), _array((0.80, 0.90, 1.0))
    lit = albedo * (1.05 * diffuse[:, None] * warm + 0.50 * sky[:, None] * cool + 0.14 * bounce[:, None])
    lit = lit + 0.75 * glint[:, None] + 0.22 * rim[:, None] * cool
    # Table and wall are one seamless sheet: only what falls on it is told, in grey.
    fallen = (0.62 + 0.38 * shadow) * (0.72 + 0.28 * free)
    return np.where(_is_sheet(paints, number)[:, None], fallen[:, None], lit).astype(np.float32)


def _is_sheet(paints: tuple[Paint, ...], number: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.array([paint.sharpness == 0 for paint in paints])[number.astype(np.int64)]


def rays(setup: Setup, side: int) -> tuple[Array, Array]:
    """Return origins and the one direction of a camera far away, ``(side², 3)`` and ``(3,)``."""
    yaw, pitch = np.radians(setup.yaw), np.radians(setup.pitch)
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    up = np.cross(towards, right)
    grid = ((np.arange(side) + 0.5) / side * 2 - 1) * setup.half_height
    x, y = np.meshgrid(grid, -grid)
    origin = np.array(setup.centre) + 5 * towards + x[..., None] * right + y[..., None] * up
    return origin.reshape(-1, 3).astype(np.float32), (-towards).astype(np.float32)


def picture(
    scene: Scene, paints: tuple[Paint, ...], setup: Setup, shadow: float, backdrop: Array | None = None
) -> Array:
    """Trace a picture ``(side, side, 4)``: linear colours times alpha, and alpha.

    With a ``backdrop (side, side, 3)`` everything is opaque: what is no object shows it,
    dimmed on the sheet by what falls there.
    """
    side = SIDE * _SAMPLES
    origin, towards = rays(setup, side)
    direction = np.broadcast_to(towards, origin.shape)
    image = np.zeros((side * side, 4), dtype=np.float32)
    for start in range(0, side * side, 1 << 18):
        block = slice(start, start + (1 << 18))
        hit = trace(scene, origin[block], direction[block])
        seen = np.flatnonzero(np.isfinite(hit))
        if len(seen):
            place = origin[block][seen] + direction[block][seen] * hit[seen, None]
            image[block][seen, :3] = shade(scene, paints, place, direction[block][seen], setup.key, shadow)
            image[block][seen, 3] = np.where(_is_sheet(paints, scene(place)[1]), 2, 1)
    if backdrop is not None:
        behind = backdrop.repeat(_SAMPLES, axis=0).repeat(_SAMPLES, axis=1).reshape(-1, 3)
        image[:, :3] *= np.where(image[:, 3:] == 2, behind, 1)
        image[:, :3] += np.where(image[:, 3:] == 0, behind, 0)
        image[:, 3] = 1
    return np.asarray(image.reshape(SIDE, _SAMPLES, SIDE, _SAMPLES, 4).mean(axis=(1, 3)))


def develop(linear: Array) -> Array:
    """Map linear light to sRGB 0–1 with a gentle shoulder."""
    tone = linear * (1 + 0.12 * linear) / (1 + 0.22 * linear)
    return np.asarray(np.clip(tone, 0, 1) ** (1 / 2.2), dtype=np.float32)


def draw_cut_out(scene: Scene, paints: tuple[Paint, ...], setup: Setup, target: Path) -> None:
    """Draw a scene without background, as PNG with transparency."""
    image = picture(scene, paints, setup, 6)
    color = develop(np.asarray(image[..., :3] / np.maximum(image[..., 3:], 1e-4), dtype=np.float32))
    pixels = np.concatenate([color * (image[..., 3:] > 0), image[..., 3:]], axis=2)
    Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(target, optimize=True)


def draw_photo(target: Path) -> None:
    """Draw the photo-like picture: backdrop with a gradient, soft shadow, lens and sensor."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    wall = _array((0.55, 0.66, 0.70)) * (1.0 + 0.14 * y)[..., None]
    linear = picture(duck_on_table, PHOTO_PAINTS, PHOTO, 3, wall)[..., :3]
    linear *= (1.0 - 0.10 * (x * x + y * y))[..., None].astype(np.float32)
    noise = np.random.default_rng(7).normal(scale=0.006, size=linear.shape).astype(np.float32)
    pixels = np.clip(develop(linear) + noise, 0, 1)
    Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(target, quality=88, optimize=True)


if __name__ == "__main__":
    folder = Path(__file__).parent
    draw_cut_out(figurine, FIGURINE_PAINTS, FIGURINE, folder / "figurine.png")
    draw_photo(folder / "photo.jpg")
