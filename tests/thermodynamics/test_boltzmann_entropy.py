"""Laws of `dlngeo.thermodynamics.boltzmann_entropy`: orbit volumes, entropy, free energy."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from dlngeo.core.networks.network import end_to_end
from dlngeo.thermodynamics import boltzmann_entropy as th
from dlngeo.thermodynamics import log_balanced_prior, log_volume_density
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
    orbit_velocity,
    random_motion,
    skew_basis,
    velocity,
)
from tests.core.libraries import (
    along,
    autograd_derivative,
    first_derivatives,
    inner,
    second_derivatives,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
DEEP = pytest.mark.parametrize(
    "net", [net for net in NETWORKS.values() if net.depth > 1],
    ids=[name for name, net in NETWORKS.items() if net.depth > 1],
)  # fmt: skip
SPHERES = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi, 4: 2 * math.pi**2, 5: 8 * math.pi**2 / 3}
"""Areas of the unit spheres of ℝ¹, ..., ℝ⁵."""


def entropy_of(net: Network) -> float:
    """Return the entropy of the matrix of a network."""
    return float(th.entropy(net.matrix, net.widths, net.rank))


SQUARE = (3, 3, 3, 3)


# --- volumes --------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_stiefel_volumes_are_products_of_spheres(width):
    """A frame is a tower of unit vectors in spheres of falling dimension."""
    for rank in range(width + 1):
        tower = sum(math.log(SPHERES[k]) for k in range(width - rank + 1, width + 1))
        assert th.log_stiefel_volume(width, rank) == pytest.approx(tower, abs=1e-13)
    with pytest.raises(ValueError, match=f"between 0 and the width {width}, got {width + 1}"):
        th.log_stiefel_volume(width, width + 1)


def test_volumes_of_small_orthogonal_groups():
    """``O(1)`` is two points, ``O(2)`` two circles of radius ``√2``, ``O(3)`` twice ``SO(3)``."""
    assert th.log_orthogonal_volume(1) == pytest.approx(math.log(2), abs=1e-15)
    circles = 2 * 2 * math.pi * math.sqrt(2)
    assert th.log_orthogonal_volume(2) == pytest.approx(math.log(circles), rel=1e-15)
    # SO(3) is half a sphere S³ of radius 2 for unit rotation speed; Frobenius is √2 of it.
    rotations = 2 * (2 * math.pi**2 * 2**3 / 2) * math.sqrt(2) ** 3
    assert th.log_orthogonal_volume(3) == pytest.approx(math.log(rotations), rel=1e-15)


def orbit_volume(net: Network) -> float:
    """Return the log volume of the orbit, from the Gram determinant of its vertical fields.

    The orbit is a product of Stiefel manifolds with a left-invariant metric. In frames
    whose first vectors are ``Q_p`` the fields that rotate these span its tangent space.
    """
    hidden = net.widths[1:-1]
    bases = [
        np.linalg.qr(np.concatenate([frame, np.eye(len(frame))], axis=1))[0]
        for frame in net.frames[1:-1]
    ]
    fields = [
        flatten(orbit_velocity([q @ a @ q.T for q, a in zip(bases, element, strict=True)],
                               net.factors))
        for element in skew_basis(hidden)
        if any(np.any(a[:, : net.rank]) for a in element)
    ]  # fmt: skip
    volume = sum(
        math.log(SPHERES[k]) for width in hidden for k in range(width - net.rank + 1, width + 1)
    )
    if not fields:
        return volume
    gram = np.stack(fields) @ np.stack(fields).T
    return volume + np.linalg.slogdet(gram)[1] / 2


@NETWORK
def test_entropy_is_the_volume_of_the_orbit(net):
    """``S = log vol(O_X)`` from Gram determinants and the volumes of spheres."""
    assert_close(entropy_of(net), orbit_volume(net), 1e-11, scale=10.0)


def test_entropy_by_measuring_a_circle():
    """At ``d = N = 2`` the orbit is two closed curves; their length is measured by chords."""
    net = network((2, 2, 2), 2)
    angles = np.linspace(0, 2 * math.pi, 2001)
    turns = np.stack([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    turns = np.moveaxis(turns, -1, 0)
    first, second = turns @ net.factors[0], net.factors[1] @ turns.swapaxes(1, 2)
    steps = np.diff(first, axis=0), np.diff(second, axis=0)
    chords = np.sqrt(sum(np.sum(step**2, axis=(1, 2)) for step in steps))
    # A chord of a circle is shorter by sin(h/2) / (h/2).
    half = math.pi / 2000
    length = 2 * np.sum(chords) * half / math.sin(half)
    assert entropy_of(net) == pytest.approx(math.log(length), rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("value", [-3.0, 1.0, 1e-6, 1e6])
def test_entropy_of_numbers(depth, value):
    """At ``d = 1`` the orbit is ``2^{N-1}`` points, whatever the number."""
    entropy = th.entropy(np.array([[value]]), (1,) * (depth + 1))
    assert entropy == pytest.approx((depth - 1) * math.log(2), abs=1e-14)


def test_entropy_of_vectors_counts_spheres():
    """At rank one a hidden layer of width ``w`` carries a sphere of radius ``λ√2``."""
    matrix = np.array([[3.0, 4.0]])
    lam = 5.0 ** (1 / 2)
    expected = math.log(4 * math.pi * (math.sqrt(2) * lam) ** 2)
    assert th.entropy(matrix, (2, 3, 1)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("depth", [2, 3, 10])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_entropy_scales(depth, scale):
    """``S(cX) = S(X) + (dim of the orbit) log(c) / N``."""
    matrix = np.random.default_rng(0).standard_normal((3, 3))
    for widths, dimension in (((3,) * (depth + 1), 3), ((3, *[5] * (depth - 1), 3), 9)):
        shift = (depth - 1) * dimension * math.log(scale) / depth
        expected = th.entropy(matrix, widths) + shift
        assert_close(th.entropy(scale * matrix, widths), expected, 1e-13, scale=100.0)


def test_entropy_is_the_spectral_entropy():
    """The entropy depends on singular values only, and is invariant under rotations."""
    rng = np.random.default_rng(1)
    matrix, q = rng.standard_normal((3, 4)), np.linalg.qr(rng.standard_normal((3, 3)))[0]
    sigma, widths = np.linalg.svd(matrix, compute_uv=False), (4, 3, 5, 3)
    expected = th.spectral_entropy(sigma, widths)
    assert th.entropy(matrix, widths) == pytest.approx(expected, rel=1e-14)
    assert th.entropy(q @ matrix, widths) == pytest.approx(expected, rel=1e-13)


# --- gradient -------------------------------------------------------------------------


@NETWORK
def test_entropy_gradient_along_the_stratum(net):
    """``⟨∇S, Ẋ⟩`` is the derivative of the orbit volume along every motion."""
    motion = random_motion(net, np.random.default_rng(2))
    gradient = th.entropy_gradient(net.matrix, net.widths, net.rank)
    change = jacobian(net.factors) @ flatten(velocity(net, motion))
    expected = derivative(lambda t: orbit_volume(moved(net, motion, t)), 2e-3)
    assert_close(gradient.ravel() @ change, expected, 1e-9, scale=1 + np.linalg.norm(change))
    assert_close(
        derivative(lambda t: entropy_of(moved(net, motion, t)), 2e-3), expected, 1e-9, scale=10.0
    )


@DEEP
def test_entropic_force_is_minus_the_mean_curvature_of_the_orbits(net):
    """The lift ``dφ*(∇S)`` of the gradient in ``g^N`` is minus the trace of ``II`` of the orbit."""
    elements = skew_basis(net.widths[1:-1])
    expected = np.zeros(sum(w.size for w in net.factors))
    if elements:
        fields = np.stack([flatten(orbit_velocity(a, net.factors)) for a in elements])
        # Elements whose fields are orthonormal; those that move nothing drop out.
        values, vectors = np.linalg.eigh(fields @ fields.T)
        moving = values > 1e-9 * values[-1]
        for combination in (vectors[:, moving] / np.sqrt(values[moving])).T:
            element = [
                sum(c * a[p] for c, a in zip(combination, elements, strict=True))
                for p in range(net.depth - 1)
            ]
            # The orbit exp(ta)·W has the acceleration ξ_a(ξ_a(W)).
            once = orbit_velocity(element, net.factors)
            expected += flatten(orbit_velocity(element, once))
    gradient = th.entropy_gradient(net.matrix, net.widths, net.rank)
    lifted = jacobian(net.factors).T @ gradient.ravel()
    mean_curvature = horizontal_projector(net) @ expected
    assert_close(lifted, -mean_curvature, 1e-10, scale=1 + np.max(np.abs(mean_curvature)))


@pytest.mark.parametrize("spectrum", [[1.7, 1.1, 0.6], [1.0, 1.0, 1.0], [1 + 1e-12, 1.0, 1.0]])
def test_spectral_gradient(spectrum):
    """``∂S/∂σ_k`` agrees with finite differences, also where values meet."""
    sigma, widths = np.array(spectrum), (3, 4, 5, 3)
    gradient = th.spectral_entropy_gradient(sigma, widths)
    # All directions at once: a batch of spectra.
    expected = derivative(lambda t: th.spectral_entropy(sigma + t * np.eye(3), widths), 2e-3)
    assert_close(gradient, expected, 1e-10)


@pytest.mark.parametrize("least", [1e-3, 1e-9, 1e-15])
def test_two_layers_at_tiny_singular_values(least):
    """``S = ½ log(σ_1 + σ_2)`` and a constant: derivatives stay, though ``1/σ_2`` does not."""
    sigma, total = np.array([1.0, least]), 1 + least
    gradient = th.spectral_entropy_gradient(sigma, (2, 2, 2))
    np.testing.assert_allclose(gradient, 0.5 / total, rtol=1e-14)
    for direction in np.eye(2):
        change = th._gradient_change(np.diag(sigma), np.diag(direction), (2, 2, 2), None)
        np.testing.assert_allclose(np.diag(change), -0.5 / total**2, rtol=1e-13)


def test_gradient_is_finite_at_tiny_gaps():
    """The gradient is continuous through coinciding values."""
    reference = th.entropy_gradient(np.eye(3), SQUARE)
    for gap in (1e-16, 1e-14, 1e-12, 1e-10):
        matrix = np.diag([1 + gap, 1.0, 1 - gap])
        assert_close(th.entropy_gradient(matrix, SQUARE), reference, 10 * gap + 1e-14)


# --- free energy ----------------------------------------------------------------------


def test_free_energy():
    """``F = E - S / β``, and the energy itself at infinite ``β``."""
    matrix = np.random.default_rng(3).standard_normal((5, 3, 3))

    def energy(x):
        return (x**2).sum(axis=(-2, -1)) / 2

    found = th.free_energy(energy, matrix, (3, 4, 4, 3), 2.5)
    expected = energy(matrix) - th.entropy(matrix, (3, 4, 4, 3)) / 2.5
    assert_close(found, expected, 1e-15)
    assert_close(th.free_energy(energy, matrix, SQUARE, math.inf), energy(matrix), 1e-15)


# --- derivatives ----------------------------------------------------------------------

POINTS = {
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "near gap": np.diag([1.0, 1 + 3e-5, 2.0]),
    "random": np.random.default_rng(5).standard_normal((3, 3)),
}
WIDTHS = (3, 4, 5, 3)


def entropy(matrix):
    """Return the entropy with widths above the rank."""
    return th.entropy(matrix, WIDTHS)


def gradient_along(matrix, weight):
    """Return the weighted sum of the entropy's gradient."""
    return inner(th.entropy_gradient(matrix, WIDTHS), weight)


def directions(seed=6):
    """Return two random directions."""
    return np.random.default_rng(seed).standard_normal((2, 3, 3)) / 3


def test_first_derivatives_near_a_gap():
    """Derivatives in every library are the gradient, and agree with finite differences."""
    matrix = POINTS["near gap"]
    one, other = directions()
    expected = derivative(along(entropy, (matrix,), (one,)), 2e-3)
    for route, value in first_derivatives(entropy, (matrix,), (one,)).items():
        assert value == pytest.approx(expected, rel=1e-9), route
    expected = derivative(along(gradient_along, (matrix, other), (one, one)), 2e-3)
    for route, value in first_derivatives(gradient_along, (matrix, other), (one, one)).items():
        assert value == pytest.approx(expected, rel=1e-9), route


@pytest.mark.parametrize("matrix", POINTS.values(), ids=POINTS)
def test_second_derivatives(matrix):
    """Second derivatives in every library agree with finite differences of the gradient."""
    one, other = directions()
    expected = derivative(lambda t: gradient_along(matrix + t * one, other), 2e-3)
    for route, value in second_derivatives(entropy, (matrix,), (one,), (other,)).items():
        assert value == pytest.approx(expected, rel=1e-9), route


def test_second_derivatives_below_full_rank():
    """Along ``X = A Bᵀ`` of rank 2 first and second derivatives are right."""
    rng = np.random.default_rng(7)
    point, one, other = (tuple(rng.standard_normal((2, 3, 2))) for _ in range(3))

    def function(a, b):
        return th.entropy(a @ b.swapaxes(-1, -2), (3, 2, 5, 3), 2)

    def slope(*arrays):
        return autograd_derivative(function, arrays, one)

    expected = derivative(along(function, point, one), 2e-3)
    assert slope(*point) == pytest.approx(expected, rel=1e-9)
    expected = derivative(along(slope, point, other), 2e-3)
    for route, value in second_derivatives(function, point, one, other).items():
        assert value == pytest.approx(expected, rel=1e-8), route


# --- libraries and errors -------------------------------------------------------------


ONES, EYE = np.ones((3, 3)), np.eye(3)
DEPTH: Any = 3
BAD_CALLS = {
    "a higher rank": (lambda: th.entropy(EYE, SQUARE, rank=2), "expected a matrix of rank 2, but"),
    "rank-deficient": (
        lambda: th.entropy(ONES, SQUARE),
        "expected rank 3, but singular value 3 is",
    ),
    "gradient, rank-deficient": (lambda: th.entropy_gradient(ONES, SQUARE), "pass a smaller rank"),
    "a depth for the widths": (
        lambda: th.entropy(EYE, DEPTH),
        r"positive integers \(d_0, ..., d_N\)",
    ),
    "too many layers": (lambda: th.entropy(EYE, [3] * 200_000), "at most 100000"),
    "widths of another matrix": (
        lambda: th.entropy(EYE, (4, 4, 4)),
        r"shape \(3, 3\) and depth 2 need 3 widths from 3 to 3",
    ),
    "rank above a hidden width": (lambda: th.entropy(EYE, (3, 2, 3), 3), "width 2, got 3"),
    "NaN": (lambda: th.entropy(EYE * np.nan, SQUARE), "the matrix holds NaN"),
    "temperature": (
        lambda: th.free_energy(np.sum, EYE, SQUARE, 0.0),
        "beta must be positive and finite, got 0.0",
    ),
    "NaN temperature": (
        lambda: th.free_energy(np.sum, EYE, SQUARE, math.nan),
        "beta must be positive and finite, got nan",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


def test_a_network_knows_its_widths():
    """The entropy of factors is that of their widths, which a matrix does not tell."""
    rng = np.random.default_rng(8)
    widths = (6, 8, 8, 3)
    factors = tuple(rng.standard_normal((b, a)) for a, b in itertools.pairwise(widths))
    matrix = end_to_end(factors)
    found = th.network_entropy(factors)
    assert found == pytest.approx(float(th.entropy(matrix, widths)), rel=1e-14)
    assert abs(found - th.entropy(matrix, (6, 3, 3, 3))) > 20
    # A stack is one network, and the matrices of a batch are not its factors.
    stack = rng.standard_normal((5, 3, 4, 4))
    expected = [th.entropy(end_to_end(one), (4, 4, 4, 4)) for one in stack]
    assert_close(th.network_entropy(stack), np.array(expected), 1e-13)
    with pytest.raises(TypeError, match="take network_entropy"):
        th.entropy(factors, widths)
    for function in (
        th.entropy,
        th.entropy_gradient,
        lambda x, widths: th.free_energy(np.sum, x, widths, 1),
    ):
        with pytest.raises(ValueError, match="may be a batch of matrices, and the factors"):
            function(stack, (4, 4, 4, 4))
    # Of as many matrices as layers, and of as many networks.
    batch, square = end_to_end(stack)[:3], (4, 4, 4, 4)
    assert_close(th.entropy(batch[:, None], square)[:, 0], np.array(expected[:3]), 1e-13)
    assert_close(th.network_entropy(stack[:3]), np.array(expected[:3]), 1e-13)
    both = [log_volume_density(one, 3) for one in batch]
    assert_close(log_volume_density(batch, 3), np.array(both), 1e-13)
    prior = [log_balanced_prior(one, 3) for one in batch]
    assert_close(log_balanced_prior(batch, 3), np.array(prior), 1e-13)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        th.entropy(matrix, depth=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="expected rank 2, but singular value 2 is zero"):
        th.network_entropy((np.ones((2, 2)), np.ones((2, 2))))
