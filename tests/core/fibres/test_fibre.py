"""Laws of fibres: projections, dimension, Newton's method, group metric."""

from itertools import pairwise

import numpy as np
import pytest

from dlngeo.core.fibres import fibre as fb
from dlngeo.core.fibres import gram as gm
from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from tests.core.brute import (
    assert_close,
    derivative,
    flatten,
    jacobian,
    orbit_velocity,
    product,
    random_factors,
)
from tests.core.fibres.fibre_laws import (
    ALL,
    DEEP,
    assert_batches,
    assert_first_derivatives,
    assert_same_in_library,
    assert_second_derivatives,
    dense_action,
    elements_of,
    starts,
)
from tests.core.libraries import inner, like

# --- projections ----------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("dense_size", [0, 100], ids=["iterative", "dense"])
def test_projections_are_those_on_kernel_and_range(widths, dense_size, monkeypatch):
    """Dense pseudo-inverses of the Jacobian agree, at singular points and zero layers too."""
    monkeypatch.setattr(gm, "DENSE_SIZE", dense_size)
    rng = np.random.default_rng(0)
    for name, factors in starts(widths, rng):
        vector = random_factors(widths, rng)
        jac = jacobian(factors)
        _, values, rows = np.linalg.svd(jac, full_matrices=False)
        rows = rows[values > 1e-12 * max(values[0], 1e-300)]
        normal = rows.T @ (rows @ flatten(vector))
        # Round-off of the dense projection itself grows with the condition number.
        tolerance = 1e-8 if name == "scales" else 1e-11
        found = fb.normal_projection(factors, vector)
        assert_close(flatten(found), normal, tolerance, scale=3.0)
        tangent = flatten(fb.tangent_projection(factors, vector))
        assert_close(tangent, flatten(vector) - normal, tolerance, scale=3.0)
        size = np.max(np.abs(jac @ flatten(vector)))
        assert_close(jac @ tangent, 0 * (jac @ tangent), 1e-13, scale=size)


@pytest.mark.parametrize(
    "widths", [(12,) * 6, (11, 14, 13, 12), (20, 30, 20), (13, 3, 15)], ids=str
)
def test_larger_projections(widths):
    """Beyond the dense size, ``dφ(V)`` vanishes to round-off and the parts are orthogonal."""
    rng = np.random.default_rng(1)
    factors, vector = random_factors(widths, rng), random_factors(widths, rng)
    tangent = fb.tangent_projection(factors, vector)
    normal = flatten(vector) - flatten(tangent)
    assert_close(jacobian(factors) @ flatten(tangent), np.zeros(widths[0] * widths[-1]), 1e-11, 1.0)
    basis = np.linalg.svd(jacobian(factors), full_matrices=False)[2]
    assert_close(basis.T @ (basis @ normal), normal, 1e-9)


def test_ill_conditioned_products():
    """The product of eight Gaussian layers is nearly singular, and ``dφ(V) = 0`` still."""
    rng = np.random.default_rng(2)
    factors, vector = random_factors((30,) * 9, rng), random_factors((30,) * 9, rng)
    factors = tuple(w / 30**0.5 for w in factors)
    tangent = fb.tangent_projection(factors, vector)
    left = nw.differential(factors, tangent)
    assert_close(left, 0 * left, 1e-12, scale=np.max(np.abs(nw.differential(factors, vector))))


@ALL
def test_dimension_is_the_nullity_of_the_jacobian(widths):
    """Over full rank the dimension is that of ``ker dφ``, at balanced factors too."""
    factors = random_factors(widths, np.random.default_rng(4))
    for point in (factors, balancing.balance(factors)):
        jac = jacobian(point)
        assert fb.fibre_dimension(widths) == jac.shape[1] - np.linalg.matrix_rank(jac, tol=1e-9)


@DEEP
def test_open_orbits(widths):
    """The velocities of the group are all of ``ker dφ`` without neighbours wider than ``X``."""
    factors = random_factors(widths, np.random.default_rng(5))
    is_open = not any(min(pair) > min(widths) for pair in pairwise(widths))
    for point in (factors, balancing.balance(factors)):
        rank = np.linalg.matrix_rank(dense_action(point), tol=1e-9)
        assert rank <= fb.fibre_dimension(widths)
        if is_open:
            assert rank == fb.fibre_dimension(widths)


def test_the_balanced_orbit_is_not_open_between_wide_layers():
    """At balanced factors two neighbouring wide layers leave room beside the orbit."""
    factors = balancing.balance(random_factors((2, 4, 4, 2), np.random.default_rng(6)))
    assert np.linalg.matrix_rank(dense_action(factors), tol=1e-9) < fb.fibre_dimension((2, 4, 4, 2))
    vector = fb.tangent_projection(factors, random_factors((2, 4, 4, 2), np.random.default_rng(7)))
    with pytest.raises(ValueError, match="not tangent to the orbit"):
        fb.algebra_element(factors, vector)


@ALL
def test_newton_returns_to_the_fibre(widths):
    """Disturbed factors come back to ``X``, by a displacement normal to the fibre."""
    rng = np.random.default_rng(8)
    factors = random_factors(widths, rng)
    target = product(factors)
    moved = [w + 1e-3 * v for w, v in zip(factors, random_factors(widths, rng), strict=True)]
    back = fb.project_to_fibre(tuple(moved), target)
    assert_close(product(back), target, 1e-14, scale=max(1.0, np.max(np.abs(target))))
    shift = flatten(back) - flatten(moved)
    rows = np.linalg.svd(jacobian(moved), full_matrices=False)[2]
    rows = rows[: widths[0] * widths[-1] - (widths[0] - min(widths)) * (widths[-1] - min(widths))]
    assert np.linalg.norm(shift - rows.T @ (rows @ shift)) < 0.1 * np.linalg.norm(shift)


# --- the group metric -----------------------------------------------------------------


@DEEP
def test_algebra_element_is_the_pseudo_inverse(widths):
    """Velocities of the orbit give the element of least norm, as dense matrices do."""
    rng = np.random.default_rng(9)
    for factors in (random_factors(widths, rng), balancing.balance(random_factors(widths, rng))):
        vector = orbit_velocity(elements_of(widths, rng), factors)
        found = fb.algebra_element(factors, vector)
        dense = np.linalg.pinv(dense_action(factors), rcond=1e-11) @ flatten(vector)
        assert_close(flatten(found), dense, 1e-8)
        assert_close(flatten(orbit_velocity(found, factors)), flatten(vector), 1e-9)


@DEEP
def test_group_inner_product(widths):
    """``⟨V, V'⟩_G = aᵀ a'`` with dense pseudo-inverses."""
    rng = np.random.default_rng(10)
    factors = random_factors(widths, rng)
    one, other = (orbit_velocity(elements_of(widths, rng), factors) for _ in range(2))
    inverse = np.linalg.pinv(dense_action(factors), rcond=1e-11)
    expected = (inverse @ flatten(one)) @ (inverse @ flatten(other))
    assert_close(fb.group_inner_product(factors, one, other), expected, 1e-8, scale=10.0)
    size = np.sum((inverse @ flatten(one)) ** 2)
    assert_close(fb.group_inner_product(factors, one, one), size, 1e-8)


@DEEP
def test_group_gradient(widths):
    """``⟨grad f, V⟩_G = df(V)``; of ``½‖W‖²`` it is the gradient of ``¼ Σ ‖μ‖²``."""
    rng = np.random.default_rng(11)
    factors, ambient = random_factors(widths, rng), random_factors(widths, rng)
    vector = orbit_velocity(elements_of(widths, rng), factors)
    gradient = fb.group_gradient(factors, ambient)
    slope = flatten(ambient) @ flatten(vector)
    assert_close(fb.group_inner_product(factors, gradient, vector), slope, 1e-8, scale=10.0)

    def energy(t):
        moved = [w + t * v for w, v in zip(factors, ambient, strict=True)]
        return sum(np.sum(m**2) for m in nw.moment_map(moved)) / 4

    along_it = flatten(fb.group_gradient(factors, factors)) @ flatten(ambient)
    assert_close(along_it, derivative(energy), 1e-8)


# --- libraries, batches, errors -------------------------------------------------------


def projection_function(*arrays):
    layers, vector = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
    rng = np.random.default_rng(31)
    weights = like(arrays[0], [rng.standard_normal(np.shape(w)[-2:]) for w in layers])
    return inner(tuple(fb.tangent_projection(layers, vector)), tuple(weights))


@pytest.mark.parametrize("widths", [(2, 4, 3, 3), (3, 2, 4)], ids=["wide", "below full rank"])
def test_first_derivatives_in_every_library(widths):
    rng = np.random.default_rng(33)
    point = (*random_factors(widths, rng), *random_factors(widths, rng))
    assert_first_derivatives(projection_function, point)


def test_second_derivatives_in_every_library():
    rng = np.random.default_rng(33)
    point = (*random_factors((2, 4, 3, 3), rng), *random_factors((2, 4, 3, 3), rng))
    assert_second_derivatives(projection_function, point)


KERNELS = {
    "normal": fb.normal_projection,
    "tangent": fb.tangent_projection,
    "newton": lambda w, v: fb.project_to_fibre(w, nw.end_to_end(w) * 1.01),
}
ITERATION = pytest.mark.parametrize("name", KERNELS)


@ITERATION
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_iterations_in_every_library(name, library, monkeypatch):
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    assert_same_in_library(KERNELS[name], library)


@ITERATION
def test_iterations_in_batches(name, monkeypatch):
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    assert_batches(KERNELS[name], of_vectors=name != "newton")


def test_depth_one():
    """At depth 1 the fibre is a point: no tangent vectors, no group."""
    stack = np.random.default_rng(38).standard_normal((1, 3, 3))
    assert_close(fb.tangent_projection(stack, stack), 0 * stack, 1e-15, scale=1.0)
    assert fb.algebra_element(stack, 0 * stack).shape == (0, 3, 3)
    assert fb.group_inner_product(stack, 0 * stack, 0 * stack) == 0
    assert fb.fibre_dimension((3, 3)) == 0


ONES = np.ones((3, 3))
PAIR = (np.eye(3), np.eye(3))
BAD_CALLS = {
    "vector of other shapes": (
        lambda: fb.tangent_projection(PAIR, (ONES, ONES[:2])),
        "expected matrices of shapes",
    ),
    "not finite": (lambda: fb.tangent_projection(PAIR, (ONES * np.nan, ONES)), "NaN"),
    "off the orbit": (lambda: fb.algebra_element(PAIR, PAIR), "not tangent to the orbit"),
    "widths": (lambda: fb.fibre_dimension((3,)), "at least two"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    """Every bad call is a ValueError that says what was expected."""
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_projections_hold_at_every_scale(scale):
    """Multiples of factors have the same tangent spaces, and projections are linear."""
    factors, vector = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    for project in (fb.normal_projection, fb.tangent_projection):
        expected = project(factors, vector)
        np.testing.assert_allclose(project(scale * factors, vector), expected, atol=1e-14)
        found = project(scale * factors, scale * vector) / scale
        np.testing.assert_allclose(found, expected, atol=1e-14)
