"""Laws of costs of ``(u, s, vt)`` against finite differences of costs of dense matrices."""

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from dlngeo.core.low_rank import matrices as factored
from dlngeo.core.low_rank import svd_costs
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames
from tests.core.brute import assert_close, derivative, second_derivative
from tests.core.low_rank.low_rank_matrices import (
    SHAPES,
    ambient,
    combined,
    dense,
    frames_with,
    random_tangent,
    truncated,
)

VALUES = {
    "distinct": np.array([1.7, 1.2, 0.8, 0.5]),
    "gap 1e-4": 1 + 1e-4 * np.arange(4)[::-1],
    "gap 1e-7": 1 + 1e-7 * np.arange(4)[::-1],
    "gap 1e-12": 1 + 1e-12 * np.arange(4)[::-1],
    "repeated": np.array([1.2, 1.2, 0.7, 0.7]),
    "equal": np.ones(4),
    "graded": np.array([1.0, 1e-3, 1e-6, 1e-6]),
    "small": 1e-6 * np.array([1.7, 1.2, 1.2, 0.5]),
    "large": 1e6 * np.array([1.7, 1.2, 1.2, 0.5]),
}
POINTS = {
    f"{m}x{n}, rank {r}, {name}": frames_with((m, n), values[:r], seed=m + 2 * n + r)
    for m, n, r in SHAPES
    for name, values in VALUES.items()
}
POINT = pytest.mark.parametrize("frames", POINTS.values(), ids=POINTS)
DISTINCT = {name: frames for name, frames in POINTS.items() if name.endswith("distinct")}
CLOSE = {
    name: frames
    for name, frames in POINTS.items()
    if len(frames.sigma) > 1 and name.split(", ")[2] in ("gap 1e-7", "gap 1e-12", "equal")
}

Cost = Callable[[Any, Any, Any], Any]


def of_product(frames: SingularFrames) -> Cost:
    """Return ``Σ C ∘ sin(X/s + D)``, a function of the product."""
    rng = np.random.default_rng(0)
    weights, shift = rng.standard_normal((2, len(frames.left), len(frames.right)))
    scale = frames.sigma[0]
    return lambda u, s, vt: anp.sum(weights * anp.sin((u * s) @ vt / scale + shift))


def distance(frames: SingularFrames) -> Cost:
    """Return ``½‖X - X_0‖²`` from the point itself, as a function of the product."""
    matrix = dense(frames)
    return lambda u, s, vt: anp.sum(((u * s) @ vt - matrix) ** 2) / 2


def spectral(frames: SingularFrames) -> Cost:
    """Return ``Σ s^1.5``."""
    return lambda u, s, vt: anp.sum(s**1.5)


def of_columns(frames: SingularFrames) -> Cost:
    """Return ``tr(uᵀ B u)``, ``B`` symmetric."""
    matrix = np.random.default_rng(1).standard_normal((len(frames.left),) * 2)
    return lambda u, s, vt: anp.trace(u.T @ (matrix + matrix.T) @ u)


def of_rows(frames: SingularFrames) -> Cost:
    """Return ``Σ_k k vt_k C vt_kᵀ``, which is another for every singular value."""
    matrix = np.random.default_rng(2).standard_normal((len(frames.right),) * 2)
    return lambda u, s, vt: anp.sum(np.arange(1, len(s) + 1) * anp.diag(vt @ matrix @ vt.T))


def mixed(frames: SingularFrames) -> Cost:
    """Return the sum of all of them."""
    costs = [kind(frames) for kind in (of_product, spectral, of_columns, of_rows)]
    return lambda u, s, vt: sum(cost(u, s, vt) for cost in costs)


COSTS = {cost.__name__: cost for cost in (of_product, spectral, of_columns, of_rows, mixed)}


def arrays(frames: SingularFrames) -> tuple[np.ndarray, ...]:
    return frames.left, frames.sigma, frames.right.T


def slopes(cost: Cost, frames: SingularFrames) -> tuple[np.ndarray, ...]:
    """Return the derivatives by the three arrays."""
    return autograd.grad(lambda point: cost(*point))(arrays(frames))


def changes(cost: Cost, frames: SingularFrames, vector: Blocks) -> tuple[np.ndarray, ...]:
    """Return the derivatives of these along the velocity."""
    motion = svd_costs.velocity(frames, vector)

    def along(point):
        slope = autograd.grad(lambda p: cost(*p))(point)
        return sum(anp.sum(a * b) for a, b in zip(slope, motion, strict=True))

    return autograd.grad(along)(arrays(frames))


def of_matrix(cost: Cost, rank: int) -> Callable[[np.ndarray], float]:
    """Return the cost of the singular value decomposition of a dense matrix."""

    def function(matrix: np.ndarray) -> float:
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        return float(cost(u[:, :rank], s[:rank], vt[:rank]))

    return function


def pairing(frames: SingularFrames, a: Blocks, b: Blocks) -> float:
    """Return the product of two tangent vectors as matrices."""
    return float(np.sum(ambient(frames, a) * ambient(frames, b)))


def sized(frames: SingularFrames, seed: int) -> Blocks:
    """Return a tangent vector in proportion to the smallest singular value."""
    vector = random_tangent(frames, seed)
    size = frames.sigma[-1] / np.linalg.norm(ambient(frames, vector))
    return combined(size, vector, 0.0, vector)


def assert_derivatives(frames: SingularFrames, cost: Cost, step: float, tolerance: float):
    """Compare gradient and polarised Hessian with differences along ``X + tZ``, truncated."""
    rank = len(frames.sigma)
    function, matrix = of_matrix(cost, rank), dense(frames)
    one, two = (sized(frames, seed) for seed in (3, 4))

    def along(vector: Blocks) -> Callable[[float], float]:
        motion = ambient(frames, vector)
        return lambda time: function(truncated(matrix + time * motion, rank)) - function(matrix)

    gradient = svd_costs.gradient(frames, slopes(cost, frames))
    scale = sum(
        abs(np.asarray(a)).sum() * abs(b).max()
        for a, b in zip(slopes(cost, frames), svd_costs.velocity(frames, one), strict=True)
    )
    for vector in (one, two):
        expected = derivative(along(vector), step)
        assert_close(pairing(frames, gradient, vector), expected, tolerance, scale)
    second = svd_costs.hessian(frames, one, slopes(cost, frames), changes(cost, frames, one))
    own = second_derivative(along(one), step)
    both = second_derivative(along(combined(0.5, one, 0.5, two)), step)
    both -= second_derivative(along(combined(0.5, one, -0.5, two)), step)
    scale += abs(own)
    assert_close(pairing(frames, second, one), own, tolerance, scale)
    assert_close(pairing(frames, second, two), both, tolerance, scale)


# --- velocities -----------------------------------------------------------------------


@POINT
def test_velocity_moves_the_product(frames):
    """``u̇ s vt + u ṡ vt + u s v̇t = Z``, and the frames stay orthonormal where values differ."""
    vector = random_tangent(frames, 5)
    u, s, vt = arrays(frames)
    u_dot, s_dot, vt_dot = svd_costs.velocity(frames, vector)
    assert (u_dot.shape, s_dot.shape, vt_dot.shape) == (u.shape, s.shape, vt.shape)
    moved = u_dot * s @ vt + u * s_dot @ vt + u * s @ vt_dot
    assert_close(moved, ambient(frames, vector), 1e-11)
    rank = len(s)
    gaps = abs(s[:, None] - s)[~np.eye(rank, dtype=bool)]
    if rank == 1 or gaps.min() > 1e-3 * s[0]:
        rounding = 1e-13 * max(abs(u_dot).max(), abs(vt_dot).max())
        assert abs(u.T @ u_dot + u_dot.T @ u).max() < rounding
        assert abs(vt @ vt_dot.T + vt_dot @ vt.T).max() < rounding


@pytest.mark.parametrize("frames", DISTINCT.values(), ids=DISTINCT)
def test_velocity_of_the_decomposition(frames):
    """It is the derivative of NumPy's decomposition along ``X + tZ``."""
    vector, rank = sized(frames, 6), len(frames.sigma)
    matrix, motion = dense(frames), ambient(frames, vector)

    def along(time: float) -> list[np.ndarray]:
        u, s, vt = np.linalg.svd(matrix + time * motion, full_matrices=False)
        signs = np.sign(np.sum(u[:, :rank] * frames.left, axis=0))
        return [u[:, :rank] * signs, s[:rank], signs[:, None] * vt[:rank]]

    for i, found in enumerate(svd_costs.velocity(frames, vector)):

        def array(time: float, i: int = i) -> np.ndarray:
            return along(time)[i]

        assert_close(found, derivative(array, 5e-3), 1e-8)


# --- functions of the product ---------------------------------------------------------


@POINT
def test_gradient_of_a_function_of_the_product(frames):
    """It is the tangent part of the gradient by the matrix, however values repeat."""
    cost = of_product(frames)
    found = svd_costs.gradient(frames, slopes(cost, frames))
    identity = np.eye(len(frames.left)), np.ones(len(frames.left))
    by_matrix = autograd.grad(lambda matrix: cost(identity[0], identity[1], matrix))(dense(frames))
    expected = factored.tangent_blocks(frames, by_matrix)
    assert_close(ambient(frames, found), ambient(frames, expected), 1e-11)


@POINT
def test_hessian_of_a_function_of_the_product(frames):
    """It is the Hessian of depth one, from the two derivatives by the matrix."""
    cost, vector = of_product(frames), sized(frames, 7)
    identity = np.eye(len(frames.left)), np.ones(len(frames.left))
    by_matrix = autograd.grad(lambda matrix: cost(identity[0], identity[1], matrix))
    gradient = by_matrix(dense(frames))
    motion = ambient(frames, vector)
    second = autograd.grad(lambda matrix: anp.sum(by_matrix(matrix) * motion))(dense(frames))
    expected = factored.embedded_hessian(frames, gradient, second, vector)
    args = slopes(cost, frames), changes(cost, frames, vector)
    found = svd_costs.hessian(frames, vector, *args)
    assert_close(ambient(frames, found), ambient(frames, expected), 1e-9)


@POINT
def test_derivatives_of_a_function_of_the_product(frames):
    """The same by finite differences."""
    assert_derivatives(frames, of_product(frames), 0.05, 1e-6)


@POINT
def test_hessian_at_a_minimum(frames):
    """Where the gradient is round-off, that of ``½‖X - X_0‖²`` is the identity."""
    cost, vector = distance(frames), sized(frames, 8)
    slope = slopes(cost, frames)
    gradient = svd_costs.gradient(frames, slope)
    assert abs(ambient(frames, gradient)).max() <= 1e-14 * frames.sigma[0]
    found = svd_costs.hessian(frames, vector, slope, changes(cost, frames, vector))
    assert_close(ambient(frames, found), ambient(frames, vector), 1e-9)


# --- functions of the decomposition ---------------------------------------------------


@pytest.mark.parametrize("kind", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("frames", DISTINCT.values(), ids=DISTINCT)
def test_derivatives_of_functions_of_the_decomposition(frames, kind):
    """Gradient and Hessian are those of the cost of a dense matrix's decomposition."""
    assert_derivatives(frames, kind(frames), 0.01, 1e-6)


@pytest.mark.parametrize("shape", [(5, 4, 2), (4, 4, 4), (5, 3, 3)], ids=str)
def test_derivatives_at_a_small_gap(shape):
    """They hold at a gap of 1e-3 too, where the decomposition moves a thousand times faster."""
    frames = frames_with(shape, 1 + 1e-3 * np.arange(shape[2])[::-1], seed=9)
    for kind in (spectral, of_columns):
        assert_derivatives(frames, kind(frames), 5e-5, 1e-3)


@POINT
def test_gradient_of_a_spectral_function(frames):
    """That of ``Σ f(s_k)`` is ``u diag(f') vt``, also where singular values repeat."""
    found = svd_costs.gradient(frames, slopes(spectral(frames), frames))
    expected = frames.with_values(1.5 * frames.sigma**0.5)
    assert_close(ambient(frames, found), expected, 1e-12)


@pytest.mark.parametrize("frames", DISTINCT.values(), ids=DISTINCT)
def test_hessian_at_a_minimum_of_a_spectral_function(frames):
    """Where the gradient is exactly zero the cost is not taken for one of the product."""
    vector, target = sized(frames, 10), frames.sigma.copy()

    def cost(u, s, vt):
        return anp.sum((s - target) ** 2) / 2

    args = slopes(cost, frames), changes(cost, frames, vector)
    found = svd_costs.hessian(frames, vector, *args)
    expected = frames.with_values(np.diag(vector.core))
    assert_close(ambient(frames, found), expected, 1e-11)


@pytest.mark.parametrize("frames", CLOSE.values(), ids=CLOSE)
@pytest.mark.parametrize("kind", [of_rows, mixed], ids=["of_rows", "mixed"])
def test_refused_where_singular_values_agree(frames, kind):
    """Derivatives by frames do not tell the gradient of a cost that depends on which frames."""
    cost, vector = kind(frames), sized(frames, 11)
    with pytest.raises(ValueError, match="not a function of the product"):
        svd_costs.gradient(frames, slopes(cost, frames))
    with pytest.raises(ValueError, match="not a function of the product"):
        svd_costs.hessian(frames, vector, slopes(cost, frames), changes(cost, frames, vector))


@pytest.mark.parametrize("frames", CLOSE.values(), ids=CLOSE)
def test_spectral_hessian_is_refused_where_singular_values_agree(frames):
    """The gradient of a spectral function is told by its derivatives there, the Hessian not."""
    cost, vector = spectral(frames), sized(frames, 12)
    with pytest.raises(ValueError, match="not a function of the product"):
        svd_costs.hessian(frames, vector, slopes(cost, frames), changes(cost, frames, vector))
