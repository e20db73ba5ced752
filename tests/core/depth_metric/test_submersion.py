"""Laws of `dlngeo.core.depth_metric.submersion` against dense projectors and pseudo-inverses."""

import numpy as np
import pytest

from dlngeo.core.balanced import alignment
from dlngeo.core.depth_metric import submersion as sub
from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from tests.core.brute import (
    NETWORKS,
    Network,
    assert_close,
    derivative,
    flatten,
    horizontal_projector,
    jacobian,
    moved,
    network,
    random_factors,
    random_motion,
    tangent_projector,
    tangent_space,
    unflatten,
    velocity,
    vertical_projector,
)
from tests.core.libraries import (
    ARRAYS,
    along,
    autograd_derivative,
    first_derivatives,
    inner,
    mapped_gradients,
    second_derivatives,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def tangent(net: Network, seed: int) -> np.ndarray:
    """Return a random flat tangent vector."""
    return flatten(velocity(net, random_motion(net, np.random.default_rng(seed))))


def image(net: Network, seed: int) -> np.ndarray:
    """Return a random tangent vector of the observable space."""
    vector = jacobian(net.factors) @ tangent(net, seed)
    return vector.reshape(net.widths[-1], net.widths[0])


def neill(net: Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return O'Neill's tensor of flat vectors."""
    one, other = (unflatten(v, net.factors) for v in (x, y))
    return flatten(sub.integrability_tensor(net.factors, one, other, net.rank))


# --- lift and projections -------------------------------------------------------------


@NETWORK
def test_horizontal_lift_is_the_pseudo_inverse(net):
    """The lift is the shortest tangent vector over ``Z``: ``(dφ P)⁺ Z``."""
    restricted = jacobian(net.factors) @ tangent_projector(net)
    vector = image(net, 0)
    lifted = flatten(sub.horizontal_lift(net.factors, vector, net.rank))
    assert_close(lifted, np.linalg.pinv(restricted, rcond=1e-9) @ vector.ravel(), 1e-11)
    assert_close(restricted @ lifted, vector.ravel(), 1e-12)


@NETWORK
def test_lift_drops_the_part_between_null_spaces(net):
    """A vector that is not tangent is lifted as its tangent part."""
    vector = np.random.default_rng(1).standard_normal(net.matrix.shape)
    lifted = flatten(sub.horizontal_lift(net.factors, vector, net.rank))
    left, _, right = np.linalg.svd(net.matrix)
    null = left[:, net.rank :] @ left[:, net.rank :].T @ vector
    null = null @ right[net.rank :].T @ right[net.rank :]
    expected = flatten(sub.horizontal_lift(net.factors, vector - null, net.rank))
    assert_close(lifted, expected, 1e-12)


@NETWORK
def test_projections_are_dense_projectors(net):
    """Horizontal and vertical parts agree with dense projectors and add up."""
    vector = tangent(net, 2)
    layers = unflatten(vector, net.factors)
    horizontal = flatten(sub.horizontal_projection(net.factors, layers, net.rank))
    vertical = flatten(sub.vertical_projection(net.factors, layers, net.rank))
    scale = np.max(np.abs(vector))
    assert_close(horizontal, horizontal_projector(net) @ vector, 1e-12, scale)
    assert_close(vertical, vertical_projector(net) @ vector, 1e-12, scale)
    assert_close(horizontal + vertical, vector, 1e-14)
    assert_close(jacobian(net.factors) @ vertical, 0 * net.matrix.ravel(), 1e-12, scale)


@NETWORK
def test_submersion_is_riemannian_on_fibres(net):
    """Lifts to two points of a fibre have the same inner products."""
    rng = np.random.default_rng(3)
    frames = [np.linalg.qr(rng.standard_normal((w, w)))[0] for w in net.widths[1:-1]]
    other = nw.act(frames, net.factors)
    vector = image(net, 4)
    lifts = [flatten(sub.horizontal_lift(w, vector, net.rank)) for w in (net.factors, other)]
    assert lifts[0] @ lifts[0] == pytest.approx(lifts[1] @ lifts[1], rel=1e-12)


# --- O'Neill --------------------------------------------------------------------------


@NETWORK
def test_integrability_tensor(net):
    """``A_X Y = ver (dP_h) hor Y - hor (dP_h) ver Y`` along ``hor X``."""
    x, y = tangent(net, 5), tangent(net, 6)
    horizontal, vertical = horizontal_projector(net), vertical_projector(net)
    # A motion of the parameters with the velocity hor X.
    motion = motion_of(net, horizontal @ x)
    change = derivative(lambda t: horizontal_projector(moved(net, motion, t)), 2e-3)
    expected = vertical @ change @ horizontal @ y - horizontal @ change @ vertical @ y
    assert_close(neill(net, x, y), expected, 1e-9, scale=1 + np.max(np.abs(expected)))


def motion_of(net: Network, vector: np.ndarray) -> Network:
    """Return a motion of frames and core with the given velocity, by least squares."""
    still = Network(tuple(np.zeros_like(frame) for frame in net.frames), np.zeros_like(net.core))
    arrays = (*still.frames, still.core)
    size = sum(array.size for array in arrays)

    def motion(parameters: np.ndarray) -> Network:
        *free, core = unflatten(parameters, arrays)
        frames = tuple(
            change - q @ (q.T @ change + change.T @ q) / 2
            for q, change in zip(net.frames, free, strict=True)
        )
        return Network(frames, core + core.T)

    columns = [flatten(velocity(net, motion(unit))) for unit in np.eye(size)]
    parameters = np.linalg.lstsq(np.stack(columns, axis=1), vector, rcond=1e-9)[0]
    found = motion(parameters)
    assert_close(flatten(velocity(net, found)), vector, 1e-12)
    return found


@NETWORK
def test_integrability_tensor_is_skew(net):
    """``⟨A_X Y, Z⟩ = -⟨Y, A_X Z⟩``, and ``A_X Y = -A_Y X`` for horizontal vectors."""
    x, y, z = (tangent(net, seed) for seed in (7, 8, 9))
    scale = np.linalg.norm(y) * np.linalg.norm(z) * (1 + np.linalg.norm(x))
    assert abs(neill(net, x, y) @ z + y @ neill(net, x, z)) < 1e-12 * scale
    horizontal = horizontal_projector(net)
    x, y = horizontal @ x, horizontal @ y
    assert_close(neill(net, x, y), -neill(net, y, x), 1e-12, scale=1 + scale)
    tensor = neill(net, x, y)
    assert_close(vertical_projector(net) @ tensor, tensor, 1e-11, scale=1 + scale)


def test_integrability_tensor_of_vertical_first_argument_vanishes():
    """``A`` depends on the horizontal part of its first argument only."""
    net = network((4, 3, 5, 4), 2)
    x, y = vertical_projector(net) @ tangent(net, 10), tangent(net, 11)
    assert_close(neill(net, x, y), 0 * y, 1e-13, scale=10.0)


# --- scales, batches, derivatives -----------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("shape", [((3,) * 11, 3), ((4, 3, 5, 4), 2)], ids=str)
def test_scales(shape, scale):
    """Projections do not depend on the scale, the tensor scales with its inverse."""
    net = network(*shape)
    x, y = (unflatten(tangent(net, seed), net.factors) for seed in (13, 14))
    scaled = [scale * w for w in net.factors]
    for kernel, weight in (
        (lambda w: sub.horizontal_projection(w, x, net.rank), 1.0),
        (lambda w: sub.vertical_projection(w, x, net.rank), 1.0),
        (lambda w: sub.integrability_tensor(w, x, y, net.rank), scale),
    ):
        assert_close(weight * flatten(kernel(scaled)), flatten(kernel(net.factors)), 1e-11)


def test_one_point_broadcasts_with_many_vectors():
    """A point serves a batch of vectors, and a batch of points is a stack of results."""
    net = network((4, 3, 5, 4), 2)
    vectors = np.stack([image(net, seed) for seed in range(6)])
    lifts = sub.horizontal_lift(net.factors, vectors, 2)
    points = [np.broadcast_to(w, (6, *w.shape)) for w in net.factors]
    tensors = sub.integrability_tensor(points, lifts, [v[::-1] for v in lifts], 2)
    for i in range(6):
        single = sub.horizontal_lift(net.factors, vectors[i], 2)
        assert_close(flatten([v[i] for v in lifts]), flatten(single), 1e-13)
        other = sub.horizontal_lift(net.factors, vectors[5 - i], 2)
        expected = sub.integrability_tensor(net.factors, single, other, 2)
        assert_close(flatten([v[i] for v in tensors]), flatten(expected), 1e-12, scale=1.0)


POINTS = {
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "random": np.random.default_rng(15).standard_normal((3, 3)),
}


def lifted(matrix, vector, weight):
    """Return a weighted sum of squares of a lift's gauge-invariant part."""
    factors = balancing.factorize(matrix, 3)
    lift = sub.horizontal_lift(factors, vector)
    return inner(lift, sub.horizontal_lift(factors, weight)) + inner(
        sub.horizontal_projection(factors, lift), lift
    )


def arguments(matrix, seed=16):
    """Return a point, a vector and a weight, and two directions."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((2, 3, 3, 3)) / 3
    return (matrix, *rng.standard_normal((2, 3, 3))), tuple(directions[0]), tuple(directions[1])


@pytest.mark.parametrize("matrix", POINTS.values(), ids=POINTS)
def test_first_derivatives(matrix):
    """Derivatives of inner products of lifts agree with finite differences."""
    point, direction, _ = arguments(matrix)
    expected = derivative(along(lifted, point, direction), 2e-3)
    for route, value in first_derivatives(lifted, point, direction).items():
        assert value == pytest.approx(expected, rel=1e-9), route


def lifted_to_rank_two(left, right, vector, weight):
    """Return an inner product of lifts to a point of rank 2, given by two thin factors."""
    factors = balancing.factorize(left @ right.swapaxes(-1, -2), 3, rank=2)
    lifts = [sub.horizontal_lift(factors, z, 2) for z in (vector, weight)]
    return inner(*lifts)


def test_derivatives_below_full_rank():
    """Along ``X = A Bᵀ`` of rank 2 lifts of any matrix are differentiated rightly."""
    rng = np.random.default_rng(21)
    shapes = [(3, 2), (3, 2), (3, 3), (3, 3)]
    point, direction = (tuple(rng.standard_normal(shape) for shape in shapes) for _ in range(2))
    expected = derivative(along(lifted_to_rank_two, point, direction))
    found = autograd_derivative(lifted_to_rank_two, point, direction)
    assert found == pytest.approx(expected, rel=1e-9)


def test_second_derivatives():
    """Second derivatives at ``X = I`` agree with finite differences."""
    point, one, other = arguments(np.eye(3))
    expected = derivative(
        lambda t: autograd_derivative(
            lifted, [a + t * d for a, d in zip(point, other, strict=True)], one
        )
    )
    for route, value in second_derivatives(lifted, point, one, other).items():
        assert value == pytest.approx(expected, rel=1e-9), route


def test_mapped_gradients():
    """Gradients mapped over a batch, and compiled, are those of the elements."""
    points = [arguments(matrix, seed)[0] for seed, matrix in enumerate(POINTS.values())]
    batch = tuple(np.stack(arrays) for arrays in zip(*points, strict=True))
    direction = np.random.default_rng(17).standard_normal((3, 3))
    still = [np.zeros((3, 3))] * 2
    expected = [autograd_derivative(lifted, point, (direction, *still)) for point in points]
    for route, value in mapped_gradients(lifted, batch).items():
        assert_close(np.sum(value * direction, axis=(1, 2)), expected, 1e-11), route


# --- libraries and errors -------------------------------------------------------------

CASES = {
    "horizontal_lift": lambda z, v, *w: sub.horizontal_lift(w, z, 2),
    "horizontal_projection": lambda z, v, *w: sub.horizontal_projection(w, v, 2),
    "vertical_projection": lambda z, v, *w: sub.vertical_projection(w, v, 2),
    "integrability_tensor": lambda z, v, *w: sub.integrability_tensor(
        w, v, [x @ x.swapaxes(-1, -2) @ x for x in v], 2
    ),
    "align": lambda z, v, *w: alignment.align(w, w, 2),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_library_gives_the_same_values(name, library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    net = network((3, 3, 3, 3), 2)
    vector = unflatten(tangent(net, 18), net.factors)
    observable = image(net, 19)

    def call(make):
        arguments = make(observable), tuple(map(make, vector))
        return CASES[name](*arguments, *map(make, net.factors))

    expected = flatten(call(np.array))
    assert_close(flatten(call(ARRAYS[library])), expected, 1e-12)
    for make in (np.array, ARRAYS[library]):
        single = call(lambda a, make=make: make(a.astype(np.float32)))
        assert {str(w.dtype).rpartition(".")[2] for w in single} == {"float32"}
        assert_close(flatten(single), expected, 1e-4)


FIRST, SECOND = network((3, 3, 3), 3).factors
BAD_CALLS = {
    "unbalanced": (lambda: sub.horizontal_lift((2 * FIRST, SECOND), FIRST), "balance the factors"),
    "unbalanced, tensor": (
        lambda: sub.integrability_tensor((2 * FIRST, SECOND), (FIRST,) * 2, (FIRST,) * 2),
        "balance the factors first",
    ),
    "rank-deficient": (
        lambda: sub.horizontal_lift(network((3, 3, 3), 2).factors, FIRST),
        "expected rank 3, but singular value 3 is zero to round-off: pass a smaller rank",
    ),
    "rank above the width": (
        lambda: sub.horizontal_lift((FIRST, SECOND), FIRST, 4),
        "between 1 and the smallest width 3, got 4",
    ),
    "NaN in the factors": (
        lambda: sub.horizontal_lift((FIRST, SECOND * np.nan), FIRST),
        "factor 2 holds NaN",
    ),
    "NaN in the vector": (
        lambda: sub.horizontal_projection((FIRST, SECOND), (FIRST, SECOND * np.nan)),
        "holds NaN",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


def test_brute_force_agrees_with_itself():
    """The tangent space splits in the horizontal and the vertical space."""
    net = network((4, 3, 5, 4), 2)
    horizontal, vertical = horizontal_projector(net), vertical_projector(net)
    assert round(np.trace(horizontal + vertical)) == tangent_space(net).shape[1]
    assert_close(horizontal @ vertical, 0 * vertical, 1e-13, scale=1.0)
    factors = random_factors((2, 3, 2), np.random.default_rng(20))
    assert jacobian(factors).shape == (4, 12)
