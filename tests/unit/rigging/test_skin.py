"""The skin keeps its promises: every vertex bound, seams whole, limbs apart, loose things carried."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from numpy.typing import NDArray

from maquette.geometry.errors import MeshError
from maquette.geometry.rig import Skeleton, Skin
from quality import true_rigs
from services.rigging.engines.limb_graph.skin import bind, layers
from services.rigging.engines.limb_graph.skin.heat import balance
from services.rigging.engines.limb_graph.skin.surface import weld_surface

Array = NDArray[np.float64]
Faces = NDArray[np.int64]


def _skeleton(*joints: tuple[str, int, tuple[float, float, float]]) -> Skeleton:
    rest = np.tile(np.eye(4), (len(joints), 1, 1))
    rest[:, :3, 3] = [place for _, _, place in joints]
    return Skeleton(
        tuple(name for name, _, _ in joints), np.array([parent for _, parent, _ in joints], np.int32), rest
    )


def _tube(start: Array, end: Array, radius: float, rings: int = 24, around: int = 16) -> tuple[Array, Faces]:
    """A closed tube with its seam welded."""
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    side /= np.linalg.norm(side)
    other = np.cross(along, side)
    angle = np.arange(around) * 2 * np.pi / around
    circle = radius * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other)
    places = start + np.linspace(0, 1, rings)[:, None] * (end - start)
    vertices = np.concatenate([(places[:, None] + circle).reshape(-1, 3), [start], [end]])
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij"))
    a, b = i * around + j, i * around + (j + 1) % around
    walls = np.concatenate([np.stack([a, b, b + around], 1), np.stack([a, b + around, a + around], 1)])
    ring = np.arange(around)
    bottom = np.stack([np.full(around, rings * around), np.roll(ring, -1), ring], 1)
    top = np.stack([np.full(around, rings * around + 1), ring, np.roll(ring, -1)], 1)
    top[:, 1:] += (rings - 1) * around
    return vertices, np.concatenate([walls, bottom, top])


def _joined(*meshes: tuple[Array, Faces]) -> tuple[Array, Faces]:
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def _dense(skin: Skin, joints: int) -> Array:
    return true_rigs.dense_weights(skin, joints)


def _check(skin: Skin, vertices: int, joints: int) -> None:
    assert skin.joints.shape == skin.weights.shape == (vertices, 4)
    assert skin.joints.dtype == np.uint16 and skin.weights.dtype == np.float32
    assert (skin.weights.sum(axis=1) == np.float32(1)).all()
    assert (skin.weights >= 0).all() and (np.diff(skin.weights, axis=1) <= 0).all()
    assert (skin.joints < joints).all() and (skin.joints[skin.weights == 0] == 0).all()


ARM = _skeleton(("upper", -1, (0, 0, 0)), ("lower", 0, (1, 0, 0)), ("hand", 1, (2, 0, 0)))
ARM_MESH = _tube(np.array([-0.1, 0, 0]), np.array([2.5, 0, 0]), 0.2, rings=40)
LEGS = _skeleton(
    ("root", -1, (0, 0, 0)),
    ("hips", 0, (0, 1.1, 0)),
    ("leftLeg", 1, (0.1, 1, 0)),
    ("leftFoot", 2, (0.1, 0.2, 0)),
    ("rightLeg", 1, (-0.1, 1, 0)),
    ("rightFoot", 4, (-0.1, 0.2, 0)),
)


def _legs(gap: float = 0.0) -> tuple[Array, Faces]:
    """Two legs of radius 0.1 on the lines x = ±0.1, so that they touch along their whole length."""
    left = _tube(np.array([0.1 + gap, 1, 0]), np.array([0.1 + gap, 0, 0]), 0.1)
    right = _tube(np.array([-0.1 - gap, 1, 0]), np.array([-0.1 - gap, 0, 0]), 0.1)
    return _joined(left, right)


def test_an_arm_bends_at_its_elbow_with_weights_that_sum_to_one() -> None:
    skin, warnings = bind(*ARM_MESH, ARM)
    _check(skin, len(ARM_MESH[0]), 3)
    assert not warnings
    x = ARM_MESH[0][:, 0]
    weights = _dense(skin, 3)
    assert (weights[x < 0.6].argmax(axis=1) == 0).all()
    assert (weights[(x > 1.2) & (x < 1.8)].argmax(axis=1) == 1).all()
    assert (weights[x > 2.2].argmax(axis=1) == 2).all()
    at_elbow = weights[np.abs(x - 1) < 0.05]
    assert np.abs(at_elbow[:, :2] - 0.5).max() < 0.25


def test_weights_change_smoothly_along_the_surface() -> None:
    skin, _ = bind(*ARM_MESH, ARM)
    weights, (vertices, faces) = _dense(skin, 3), ARM_MESH
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    step = np.abs(weights[edges[:, 0]] - weights[edges[:, 1]]).max(axis=1)
    assert (step / length).max() < 6.0, "from 0 to 1 within no less than a sixth of an upper arm"


def test_both_sides_of_a_seam_get_equal_rows() -> None:
    vertices, faces = ARM_MESH
    cut = vertices[faces].reshape(-1, 3)
    torn_apart = np.arange(len(cut)).reshape(-1, 3)
    jitter = np.random.default_rng(5).uniform(-1e-6, 1e-6, cut.shape)
    skin, _ = bind(cut + jitter, torn_apart, ARM)
    whole, _ = bind(vertices, faces, ARM)
    for corner in range(len(vertices)):
        copies = np.flatnonzero(faces.ravel() == corner)
        assert (skin.joints[copies] == skin.joints[copies[0]]).all()
        assert (skin.weights[copies] == skin.weights[copies[0]]).all()
    assert np.abs(_dense(skin, 3) - _dense(whole, 3)[faces.ravel()]).max() < 0.02


def test_both_sides_of_a_cloth_get_equal_rows() -> None:
    x, z = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 2, 21), np.linspace(-0.4, 0.4, 9)))
    cloth = np.stack([x, np.full(len(x), 0.25), z], axis=1)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(20), indexing="ij"))
    a = i * 21 + j
    front = np.concatenate([np.stack([a, a + 1, a + 22], 1), np.stack([a, a + 22, a + 21], 1)])
    vertices, faces = _joined(ARM_MESH, (cloth, front), (cloth, front[:, ::-1]))
    skin, _ = bind(vertices, faces, ARM)
    first, second = len(vertices) - 2 * len(cloth), len(vertices) - len(cloth)
    assert (skin.joints[first:second] == skin.joints[second:]).all()
    assert (skin.weights[first:second] == skin.weights[second:]).all()


@pytest.mark.parametrize("gap", [0.0, 1e-3])
def test_legs_that_touch_stay_apart(gap: float) -> None:
    vertices, faces = _legs(gap)
    weights = _dense(bind(vertices, faces, LEGS)[0], 6)
    half = len(vertices) // 2
    assert weights[:half, 4:].max() < 0.05 and weights[half:, 2:4].max() < 0.05


def test_a_root_on_the_ground_moves_nothing() -> None:
    assert _dense(bind(*_legs(), LEGS)[0], 6)[:, 0].max() == 0


def test_the_mark_of_an_end_moves_nothing() -> None:
    marked = _skeleton(("upper", -1, (0, 0, 0)), ("lower", 0, (1, 0, 0)), ("lower_end", 1, (2, 0, 0)))
    weights = _dense(bind(*ARM_MESH, marked)[0], 3)
    assert weights[:, 2].max() == 0 and weights[:, 1].max() > 0.99


def test_an_arm_beside_the_body_does_not_stick_to_it() -> None:
    body = _tube(np.array([0, 0, 0.0]), np.array([0, 2, 0.0]), 0.3)
    arm = _tube(np.array([0.42, 1.8, 0.0]), np.array([0.42, 0.6, 0.0]), 0.1)
    shoulder = _tube(np.array([0.1, 1.8, 0.0]), np.array([0.5, 1.8, 0.0]), 0.1)
    bones = _skeleton(
        ("hips", -1, (0, 0.1, 0)),
        ("spine", 0, (0, 1, 0)),
        ("clavicle", 1, (0, 1.8, 0)),
        ("upperArm", 2, (0.42, 1.8, 0)),
        ("lowerArm", 3, (0.42, 1.2, 0)),
    )
    vertices, faces = _joined(body, arm, shoulder)
    weights = _dense(bind(vertices, faces, bones)[0], 5)
    on_arm = np.zeros(len(vertices), dtype=bool)
    on_arm[len(body[0]) : len(body[0]) + len(arm[0])] = True
    hanging = on_arm & (vertices[:, 1] < 1.5)
    assert weights[hanging, :2].max() < 0.05, "a hanging arm with weights of the trunk"
    low = ~on_arm & (vertices[:, 1] < 1.3)
    assert weights[low, 3:].max() < 0.05, "a flank with weights of the arm"


def test_a_loose_button_follows_the_body_as_one() -> None:
    button = _tube(np.array([0.5, 0, 0.202]), np.array([0.5, 0, 0.23]), 0.03, rings=3, around=8)
    vertices, faces = _joined(ARM_MESH, button)
    skin, _ = bind(vertices, faces, ARM)
    first = len(ARM_MESH[0])
    assert (skin.weights[first:] == skin.weights[first]).all()
    assert (skin.joints[first:] == skin.joints[first]).all()
    under = np.linalg.norm(ARM_MESH[0] - [0.5, 0, 0.2], axis=1).argmin()
    weights = _dense(skin, 3)
    assert np.abs(weights[first] - weights[under]).max() < 0.05


def test_a_sleeve_goes_with_the_arm_inside_it() -> None:
    sleeve = _tube(np.array([0.1, 0, 0]), np.array([1.9, 0, 0]), 0.26)
    vertices, faces = _joined(ARM_MESH, sleeve)
    weights = _dense(bind(vertices, faces, ARM)[0], 3)
    first = len(ARM_MESH[0])
    inner = [np.linalg.norm(ARM_MESH[0] - vertex, axis=1).argmin() for vertex in vertices[first:]]
    assert np.abs(weights[first:] - weights[inner]).max() < 0.35
    assert np.abs(weights[first:] - weights[inner]).mean() < 0.05


def test_a_soup_without_connections_is_bound() -> None:
    vertices, faces = ARM_MESH
    corners = vertices[faces]
    middle = corners.mean(axis=1, keepdims=True)
    soup = (middle + 0.9 * (corners - middle)).reshape(-1, 3)
    skin, warnings = bind(soup, np.arange(len(soup)).reshape(-1, 3), ARM)
    _check(skin, len(soup), 3)
    assert layers.SOUP in warnings
    weights = _dense(skin, 3)
    assert (weights[soup[:, 0] < 0.6].argmax(axis=1) == 0).all()
    assert (weights[(soup[:, 0] > 1.3) & (soup[:, 0] < 1.7)].argmax(axis=1) == 1).all()


def test_heat_without_a_pull_has_no_balance() -> None:
    surface = weld_surface(*ARM_MESH)
    nobody = sparse.csr_matrix((len(surface.points), 3))
    assert balance(surface, nobody, np.full(len(surface.points), np.inf)) is None


def test_where_heat_has_no_balance_the_solid_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "balance", lambda *_: None)
    skin, warnings = bind(*ARM_MESH, ARM)
    _check(skin, len(ARM_MESH[0]), 3)
    assert layers.UNSOLVED in warnings
    x, weights = ARM_MESH[0][:, 0], _dense(skin, 3)
    assert (weights[x < 0.6].argmax(axis=1) == 0).all() and (weights[x > 2.3].argmax(axis=1) == 2).all()


def test_faces_between_any_points_are_bound_in_time() -> None:
    random = np.random.default_rng(3)
    vertices, faces = random.random((5000, 3)), random.integers(0, 5000, (10000, 3))
    skin, warnings = bind(vertices, faces, ARM)
    _check(skin, 5000, 3)
    assert layers.SOUP in warnings


def test_points_without_faces_are_bound() -> None:
    skin, _ = bind(ARM_MESH[0], np.zeros((0, 3), dtype=np.int64), ARM)
    _check(skin, len(ARM_MESH[0]), 3)


def test_what_is_no_number_and_what_has_no_area_do_no_harm() -> None:
    vertices, faces = ARM_MESH
    broken = np.concatenate([vertices, [[np.nan, 0, 0], [np.inf, 1, 1], [0.5, 0, 0.2]]])
    n = len(vertices)
    bad = np.array([[0, 1, n], [2, n + 1, 3], [5, 5, 6], [7, 7, 7], [n + 2, n + 2, 4]])
    skin, _ = bind(broken, np.concatenate([faces, bad]), ARM)
    _check(skin, len(broken), 3)
    clean, _ = bind(vertices, faces, ARM)
    assert np.abs(_dense(skin, 3)[:n] - _dense(clean, 3)).max() < 1e-6


def test_faces_that_look_inwards_change_nothing() -> None:
    vertices, faces = ARM_MESH
    here, there = bind(vertices, faces, ARM)[0], bind(vertices, faces[:, ::-1], ARM)[0]
    assert np.abs(_dense(here, 3) - _dense(there, 3)).max() < 1e-3


def test_joints_that_lie_in_one_place_are_no_trouble() -> None:
    heap = _skeleton(("a", -1, (1, 0, 0)), ("b", 0, (1, 0, 0)), ("c", 1, (1, 0, 0)))
    _check(bind(*ARM_MESH, heap)[0], len(ARM_MESH[0]), 3)


def test_a_skeleton_outside_the_mesh_still_binds_it() -> None:
    far = _skeleton(("a", -1, (9, 9, 9)), ("b", 0, (9, 8, 9)))
    _check(bind(*ARM_MESH, far)[0], len(ARM_MESH[0]), 2)


def test_a_mesh_of_nothing_is_refused() -> None:
    with pytest.raises(MeshError):
        bind(np.full((3, 3), np.nan), np.array([[0, 1, 2]]), ARM)
    with pytest.raises(MeshError):
        bind(ARM_MESH[0], np.array([[0, 1, 10_000_000]]), ARM)


def test_scale_and_place_do_not_matter() -> None:
    vertices, faces = ARM_MESH
    moved = np.tile(np.eye(4), (3, 1, 1))
    moved[:, :3, 3] = ARM.heads * 250 + 1000
    far = Skeleton(ARM.names, ARM.parents, moved)
    here, there = bind(vertices, faces, ARM)[0], bind(vertices * 250 + 1000, faces, far)[0]
    assert np.abs(_dense(here, 3) - _dense(there, 3)).max() < 0.01


def test_equal_input_gives_an_equal_skin() -> None:
    one, two = bind(*_legs(), LEGS)[0], bind(*_legs(), LEGS)[0]
    assert (one.joints == two.joints).all() and (one.weights == two.weights).all()


def test_progress_rises_and_may_stop_the_work() -> None:
    told: list[float] = []
    bind(*ARM_MESH, ARM, report=lambda share, message: told.append(share))
    assert told == sorted(told) and told[0] == 0.0 and told[-1] <= 1.0

    def stop(share: float, message: str) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        bind(*ARM_MESH, ARM, report=stop)


@pytest.mark.skipif(not true_rigs.there(), reason="the rigs are not here")
@pytest.mark.parametrize(
    ("name", "bar"), [("Casual_f.glb", 0.25), ("Horse.glb", 0.30), ("KK_Knight.glb", 0.42)]
)
def test_the_skin_of_a_real_rig_is_near_its_makers(name: str, bar: float) -> None:
    rig = true_rigs.read_true_rig(true_rigs.RIGS / name)
    skin, _ = bind(rig.vertices, rig.faces, rig.skeleton)
    _check(skin, len(rig.vertices), len(rig.skeleton.names))
    assert true_rigs.mean_l1(rig, skin) <= bar
