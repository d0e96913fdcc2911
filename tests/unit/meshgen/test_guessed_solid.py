"""The guessed solid keeps its promises: camera, ground, legs, holes, symmetry, soundness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from maquette.geometry.raster import rasterize
from services.meshgen.engines.shape_from_silhouette.body import Plane, Sheet
from services.meshgen.engines.shape_from_silhouette.camera import Camera, MirrorPlane
from services.meshgen.engines.shape_from_silhouette.crossings import self_intersections
from services.meshgen.engines.shape_from_silhouette.nets import mesh_volume
from services.meshgen.engines.shape_from_silhouette.parts import flatness
from services.meshgen.engines.shape_from_silhouette.shape import Shape, Solid, build_shape
from services.meshgen.engines.shape_from_silhouette.silhouette import sample
from services.meshgen.engines.shape_from_silhouette.solid import guess_body
from services.meshgen.engines.shape_from_silhouette.symmetry import paired
from services.meshgen.engines.shape_from_silhouette.thickness import squared_thickness
from services.meshgen.engines.shape_from_silhouette.viewpoint import find_viewpoint

Alpha = NDArray[np.float32]
Points = NDArray[np.float64]
Corner = tuple[float, float, float]
Boxes = list[tuple[Corner, Corner]]

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
_SIDES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], dtype=np.int64
)
TABLE: Boxes = [((-0.5, 0.6, -0.4), (0.5, 0.7, 0.4))] + [
    ((x, 0.0, z), (x + 0.08, 0.62, z + 0.08)) for x in (-0.5, 0.42) for z in (-0.4, 0.32)
]
DOG: Boxes = [
    ((-0.14, 0.4, -0.5), (0.14, 0.7, 0.45)),
    ((-0.1, 0.6, 0.35), (0.1, 0.95, 0.62)),
    *(((x, 0.0, z), (x + 0.08, 0.45, z + 0.09)) for x in (-0.14, 0.06) for z in (-0.46, 0.3)),
]
ARMCHAIR: Boxes = [
    ((-0.25, 0.45, -0.25), (0.25, 0.51, 0.25)),
    *(((x, 0.0, z), (x + 0.06, 0.46, z + 0.06)) for x in (-0.25, 0.19) for z in (-0.25, 0.19)),
    *(((x, 0.5, -0.25), (x + 0.06, 0.9, -0.19)) for x in (-0.25, 0.19)),
    ((-0.25, 0.84, -0.25), (0.25, 0.9, -0.19)),
    *(((x, 0.84, -0.25), (x + 0.06, 0.9, 0.15)) for x in (-0.25, 0.19)),
]
PERSON: Boxes = [
    ((-0.2, 0.45, -0.12), (0.2, 0.95, 0.12)),
    ((-0.1, 0.9, -0.1), (0.1, 1.2, 0.1)),
    *(((x, 0.0, -0.08), (x + 0.15, 0.5, 0.08)) for x in (-0.2, 0.05)),
    *(((x, 0.8, -0.06), (x + 0.22, 0.92, 0.06)) for x in (-0.4, 0.18)),
    *(((x, 0.4, -0.06), (x + 0.12, 0.92, 0.06)) for x in (-0.4, 0.28)),
]
CRATE: Boxes = [((-0.4, 0.0, -0.35), (0.4, 0.6, 0.35))]
FIGURE: Boxes = [
    ((-0.3, 0.6, -0.3), (0.3, 1.2, 0.3)),
    ((-0.1, 0.4, -0.1), (0.1, 0.7, 0.1)),
    ((-0.27, 0.0, -0.25), (0.27, 0.5, 0.25)),
]


def _picture(boxes: Boxes, camera: Camera, side: int = 360) -> Alpha:
    """Draw the silhouette of boxes (low corner, high corner) as a camera sees them."""
    points = np.concatenate([np.array(low) + _CORNERS * (np.array(high) - low) for low, high in boxes])
    flat = (points @ camera.rotation.T)[:, :2] * (1.0, -1.0)
    flat -= flat.min(axis=0)
    flat *= 0.9 * side / flat.max()
    quads = np.concatenate([_SIDES + 8 * index for index in range(len(boxes))])
    corners = flat[np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])] + 0.05 * side
    alpha = np.zeros((side, side), dtype=np.float32)
    drawn = rasterize(corners, alpha.shape)
    alpha[drawn.rows, drawn.columns] = 1.0
    return alpha


def _disc(side: int, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def _model(alpha: Alpha, cells: int = 72) -> Shape:
    view = find_viewpoint(sample(alpha, 256))
    return build_shape(Solid(guess_body(sample(alpha, cells), view), view.camera))


def _pieces(shape: Shape, below: float) -> int:
    """Count the connected pieces of the surface below a height."""
    low = shape.vertices[shape.faces][..., 1].max(axis=1) < below
    faces = shape.faces[low]
    count = len(shape.vertices)
    graph = sparse.coo_matrix(
        (np.ones(len(faces) * 2), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (count, count)
    )
    _, piece = connected_components(graph, directed=False)
    return len(np.unique(piece[faces[:, 0]]))


def _euler_number(shape: Shape) -> int:
    edges = np.sort(shape.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return len(shape.vertices) - len(np.unique(edges, axis=0)) + len(shape.faces)


def _assert_sound(vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
    """Every edge has two faces that run along it in opposite directions; the inside is inside."""
    directed = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert np.array_equal(np.unique(directed, axis=0), np.unique(directed[:, ::-1], axis=0))
    corner = vertices[faces].astype(np.float64)
    assert np.einsum("kd,kd->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) > 0


def _crossings(points: Points, faces: NDArray[np.integer]) -> int:
    """Count pairs of an edge and a face that meet though they share no vertex, trying all pairs."""
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    p, q = points[edges[:, 0]], points[edges[:, 1]]
    found = 0
    for face in faces:
        a, b, c = points[face]
        normal = np.cross(b - a, c - a)
        above, below = (p - a) @ normal, (q - a) @ normal
        through = above * below < 0
        place = p + (above / np.where(through, above - below, 1.0))[:, None] * (q - p)
        within = through & ~np.isin(edges, face).any(axis=1)
        for u, v in ((a, b), (b, c), (c, a)):
            within &= np.cross(v - u, place - u) @ normal > 0
        found += int(within.sum())
    return found


@pytest.mark.parametrize(("yaw", "pitch"), [(35.0, 15.0), (20.0, 20.0), (60.0, 10.0)])
@pytest.mark.parametrize("boxes", [TABLE, DOG, CRATE], ids=["table", "dog", "crate"])
def test_the_camera_is_found_from_the_ground_contact(boxes: Boxes, yaw: float, pitch: float) -> None:
    camera = find_viewpoint(sample(_picture(boxes, Camera(yaw, pitch)), 256)).camera
    # Which of the two sides that are seen is the front, an outline does not tell.
    assert min(abs(camera.yaw - yaw), abs(camera.yaw - yaw + 90.0)) < 4.0
    assert abs(camera.pitch - pitch) < 3.0


@pytest.mark.parametrize("yaw", [0.0, 90.0])
def test_a_level_view_is_told_from_an_oblique_one(yaw: float) -> None:
    assert find_viewpoint(sample(_picture(DOG, Camera(yaw, 0.0)), 256)).camera == Camera()


@pytest.mark.parametrize(("yaw", "pitch"), [(35.0, 15.0), (0.0, 0.0), (90.0, 0.0)])
def test_turned_back_by_the_camera_the_model_has_the_outline_of_the_picture(yaw: float, pitch: float) -> None:
    alpha = _picture(DOG, Camera(yaw, pitch))
    shape = _model(alpha)
    drawn = rasterize(shape.placement.to_pixels(shape.vertices)[shape.faces], alpha.shape)
    outline = np.zeros(alpha.shape, dtype=bool)
    outline[drawn.rows, drawn.columns] = True
    assert (outline & (alpha > 0.5)).sum() / (outline | (alpha > 0.5)).sum() > 0.93


def test_the_model_of_an_oblique_view_stands_level_on_its_feet() -> None:
    shape = _model(_picture(TABLE, Camera(35.0, 15.0)), 96)
    assert shape.vertices[:, 1].min() == 0.0
    feet = shape.vertices[shape.vertices[:, 1] < 0.05]
    # Seen from above feet lie at different heights; on the ground they spread to all sides.
    assert np.ptp(feet[:, 0]) > 0.4 and np.ptp(feet[:, 2]) > 0.3


def test_depth_is_larger_nearer_to_the_camera() -> None:
    shape = _model(_picture(DOG, Camera(35.0, 15.0)))
    depth = shape.placement.depth(shape.vertices)
    seen = np.unique(shape.faces[shape.front])
    hidden = np.setdiff1d(np.arange(len(depth)), seen)
    assert depth[seen].mean() > depth[hidden].mean()


def test_a_side_view_of_an_animal_gets_four_legs() -> None:
    shape = _model(_picture(DOG, Camera(90.0, 0.0)))
    assert _pieces(shape, 0.12) == 4
    assert np.ptp(shape.vertices[:, 2]) < 0.6 * np.ptp(shape.vertices[:, 0]), "no deeper than an animal is"


def test_a_front_view_of_a_table_gets_four_legs_and_a_flat_top() -> None:
    shape = _model(_picture(TABLE, Camera(0.0, 0.0)))
    assert _pieces(shape, 0.12) == 4
    assert np.ptp(shape.vertices[:, 2]) > 0.5


def test_the_legs_of_a_person_stay_one_pair() -> None:
    person: Boxes = [
        ((-0.12, 0.45, 0.0), (0.12, 0.85, 0.1)), ((-0.07, 0.84, 0.0), (0.07, 1.0, 0.1)),
        ((-0.45, 0.74, 0.0), (0.45, 0.81, 0.1)), ((-0.12, 0.0, 0.0), (-0.02, 0.5, 0.1)),
        ((0.02, 0.0, 0.0), (0.12, 0.5, 0.1)),
    ]  # fmt: skip
    shape = _model(_picture(person, Camera()))
    assert _pieces(shape, 0.12) == 2
    assert np.ptp(shape.vertices[:, 2]) < 0.4 * np.ptp(shape.vertices[:, 1])


def test_holes_are_kept() -> None:
    alpha = (_disc(300, 150, 150, 130) & ~_disc(300, 110, 150, 30) & ~_disc(300, 200, 140, 35)).astype(
        np.float32
    )
    assert _euler_number(_model(alpha)) == 2 - 2 * 2


def test_a_symmetric_outline_makes_a_symmetric_model() -> None:
    alpha = (_disc(300, 150, 110, 80) | _disc(300, 95, 220, 40) | _disc(300, 204, 220, 40)).astype(np.float32)
    alpha = np.maximum(alpha, alpha[:, ::-1])
    vertices = _model(alpha).vertices.astype(np.float64)
    away, _ = cKDTree(vertices).query(vertices * (-1.0, 1.0, 1.0))
    assert away.max() < 2e-3


def test_the_mirror_plane_of_an_oblique_view_is_upright_and_maps_the_model_onto_itself() -> None:
    shape = _model(_picture(DOG, Camera(35.0, 15.0)))
    assert shape.mirror is not None and abs(shape.mirror.normal[1]) < 1e-9
    image = shape.mirror.reflect(shape.vertices)
    away, _ = cKDTree(shape.vertices).query(image)
    assert np.median(away) < 0.03
    assert MirrorPlane((1.0, 0.0, 0.0), 0.5).reflect(np.array([[2.0, 3.0, 4.0]])).tolist() == [
        [-1.0, 3.0, 4.0]
    ]


def test_a_crate_has_flat_upright_sides() -> None:
    shape = _model(_picture(CRATE, Camera(35.0, 20.0)))
    corner = shape.vertices[shape.faces].astype(np.float64)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    along = np.abs(normal / np.maximum(area, 1e-30)[:, None]).max(axis=1) > np.cos(np.radians(10.0))
    assert area[along].sum() > 0.75 * area.sum()


def test_each_part_of_a_figure_of_boxes_gets_its_own_box() -> None:
    shape = _model(_picture(FIGURE, Camera(30.0, 15.0)), 96)
    assert abs(shape.camera.pitch - 15.0) < 4.0
    size = {}
    for part, height in (("body", 0.25), ("head", 0.9)):
        slice_ = shape.vertices[np.abs(shape.vertices[:, 1] - height / 1.2) < 0.03]
        size[part] = np.ptp(slice_[:, [0, 2]], axis=0)
        assert size[part].min() > 0.75 * size[part].max(), "a box, not a lens"
    assert (size["body"] < 0.95 * size["head"]).all(), "each part has its own depth"


def test_a_chair_seen_from_the_side_is_as_deep_as_it_stands_wide() -> None:
    alpha = np.zeros((300, 300), dtype=np.float32)
    alpha[10:290, 60:75], alpha[130:160, 60:240], alpha[150:290, 225:240] = 1.0, 1.0, 1.0
    for top in (30, 80):
        alpha[top : top + 14, 60:190] = 1.0
    alpha[30:140, 176:190] = 1.0
    shape = _model(alpha)
    assert np.ptp(shape.vertices[:, 2]) > 0.5 * np.ptp(shape.vertices[:, 0])


def test_the_arms_of_a_chair_seen_from_the_side_and_above_stand_apart() -> None:
    alpha = _picture(ARMCHAIR, Camera(90.0, 24.0))
    camera = find_viewpoint(sample(alpha, 256)).camera
    assert camera.pitch == pytest.approx(24.0, abs=5.0)
    shape = _model(alpha, 110)
    _assert_sound(shape.vertices, shape.faces)
    height = shape.vertices[:, 1]
    seat = shape.vertices[(height > 0.45) & (height < 0.6)]
    assert np.ptp(seat[:, 2]) == pytest.approx(0.55, abs=0.15)
    # Above the seat the middle is free in front; both arms are beside it.
    ends = shape.vertices[(height > 0.85) & (np.abs(shape.vertices[:, 0] - seat[:, 0].mean()) < 0.1)]
    assert len(ends[ends[:, 2] > 0.1]) > 0 and len(ends[ends[:, 2] < -0.1]) > 0
    assert len(ends[np.abs(ends[:, 2]) < 0.05]) == 0


def test_feet_and_hands_of_a_figure_reach_forwards() -> None:
    shape = _model(_picture(PERSON, Camera()), 110)
    _assert_sound(shape.vertices, shape.faces)
    x, y, z = shape.vertices.T
    shins, feet = z[(y > 0.2) & (y < 0.3)], z[y < 0.03]
    assert feet.mean() > shins.mean() + 0.02
    hands, trunk = z[(np.abs(x) > 0.25) & (y < 0.45)], z[(np.abs(x) < 0.15) & (y > 0.5) & (y < 0.7)]
    assert hands.mean() > trunk.mean() + 0.05


def test_a_wing_on_a_narrow_joint_is_flat_and_a_head_on_a_neck_is_not() -> None:
    wing = _disc(300, 150, 180, 60) | _disc(300, 40, 150, 36) | _disc(300, 150, 50, 36)
    wing[158:164, 40:150], wing[50:180, 145:155] = True, True
    silhouette = sample(wing.astype(np.float32), 100)
    factor = flatness(silhouette)

    def at(x: float, y: float) -> float:
        i = int(np.abs(silhouette.x - (x - silhouette.centre[0]) / silhouette.unit).argmin())
        j = int(np.abs(silhouette.y + (y - silhouette.centre[1]) / silhouette.unit).argmin())
        return float(factor[i, j])

    assert at(40, 150) < 0.6
    assert at(150, 50) > 0.98 and at(150, 180) > 0.98


def test_a_limb_whose_mirror_image_leaves_the_outline_has_no_twin() -> None:
    alpha = _disc(300, 120, 150, 80)
    alpha[145:155, 150:290] = True
    silhouette = sample(alpha.astype(np.float32), 100)
    squared = squared_thickness(silhouette, silhouette.signed)
    sheet = Sheet(np.zeros_like(squared), squared)
    disc = (120 - silhouette.centre[0]) / silhouette.unit
    twin = paired(silhouette, sheet, Plane(np.array([1.0, 0.0, 0.0]), disc)).squared > 0
    far = silhouette.x > disc + 0.45
    assert silhouette.inside[far].any() and not twin[far].any()
    assert twin[~far].sum() > 0.9 * silhouette.inside[~far].sum()


def test_a_bottle_is_turned() -> None:
    alpha = np.zeros((300, 300), dtype=np.float32)
    alpha[110:290, 105:195], alpha[10:120, 135:165] = 1.0, 1.0
    vertices = _model(alpha).vertices
    belly = vertices[np.abs(vertices[:, 1] - 0.3) < 0.05]
    assert np.isclose(np.hypot(belly[:, 0], belly[:, 2]), 0.16, atol=0.02).all()


def test_a_thing_on_one_foot_is_as_deep_as_it_is_wide() -> None:
    alpha = (_disc(300, 150, 100, 90)).astype(np.float32)
    alpha[100:290, 140:160] = 1.0
    alpha[95:105, 150:270] = 1.0
    shape = _model(alpha)
    crown = shape.vertices[np.abs(shape.vertices[:, 1] - 0.55) < 0.03]
    assert np.ptp(crown[:, 2]) > 0.5


def _foliage(side: int) -> Alpha:
    coarse = np.random.default_rng(11).random((side // 8, side // 8)) > 0.5
    return np.kron(coarse, np.ones((8, 8))).astype(np.float32)


def _antenna(side: int) -> Alpha:
    alpha = _disc(side, side / 2, 0.7 * side, 0.2 * side).astype(np.float32)
    alpha[5 : side // 2, side // 2 : side // 2 + 1] = 1.0
    return alpha


def _comb(side: int) -> Alpha:
    alpha = np.zeros((side, side), dtype=np.float32)
    alpha[10:30, 10:-10] = 1.0
    alpha[10:-10, 10:-10:6] = 1.0
    return alpha


@pytest.mark.parametrize("nasty", [_foliage, _antenna, _comb], ids=["foliage", "antenna", "comb"])
def test_nasty_outlines_make_sound_meshes(nasty: Callable[[int], Alpha]) -> None:
    shape = _model(nasty(240), 64)
    _assert_sound(shape.vertices, shape.faces)


def _random_volume(rng: np.random.Generator) -> NDArray[np.float32]:
    volume = rng.normal(size=(8, 8, 8)).astype(np.float32)
    for axis in range(3):
        np.moveaxis(volume, axis, 0)[[0, -1]] = -1.0
    return volume


def test_faces_cross_nowhere_where_they_are_delivered() -> None:
    net = mesh_volume(
        _random_volume(np.random.default_rng(5)), place=lambda points: points + 0.4 * np.sin(points)
    )
    _assert_sound(net.vertices, net.faces)
    assert _crossings(net.vertices, net.faces) == 0


def test_self_intersections_finds_the_faces_that_pass_through_one_another() -> None:
    points = np.array(
        [[0, 0, 0], [2, 0, 0], [0, 2, 0], [0.5, 0.5, -1], [0.5, 0.5, 1], [0.6, 0.6, 1], [9, 9, 9], [2, 2, 0]],
        dtype=np.float64,
    )
    faces = np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6], [1, 7, 2]])
    assert self_intersections(points, faces).tolist() == [0, 1]
    assert len(self_intersections(points, faces[[0, 2, 3]])) == 0


def test_the_net_of_any_volume_is_closed_and_crosses_itself_nowhere() -> None:
    rng = np.random.default_rng(3)
    for smooth in (False, True):
        volume = rng.normal(size=(8, 8, 8)).astype(np.float32)
        if smooth:
            volume = volume + np.roll(volume, 1, 0) + np.roll(volume, 1, 1) + np.roll(volume, 1, 2)
        for axis in range(3):
            np.moveaxis(volume, axis, 0)[[0, -1]] = -1.0
        net = mesh_volume(volume)
        _assert_sound(net.vertices, net.faces)
        assert _crossings(net.vertices, net.faces) == 0
