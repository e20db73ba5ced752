"""Laws of fibres: projections, group metric, Kempf–Ness, metric flow."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import linalg, optimize

from dlngeo.core.fibres import fibre as fb
from dlngeo.core.fibres import gram as gm
from dlngeo.core.fibres import kempf_ness_function as kn
from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from tests.core.brute import (
    assert_close,
    derivative,
    flatten,
    jacobian,
    orbit_velocity,
    power,
    product,
    random_factors,
    second_derivative,
    unflatten,
)
from tests.core.libraries import (
    ARRAYS,
    along,
    autograd_derivative,
    first_derivatives,
    inner,
    like,
    second_derivatives,
)

WIDTHS = [
    (3, 3),
    (2, 4),
    (3, 3, 3),
    (3, 5, 2),
    (4, 2, 3),
    (3, 3, 3, 3),
    (2, 4, 5, 3),
    (4, 3, 2, 4),
    (2, 5, 2, 5, 2),
    (2,) * 11,
    (1, 1, 1, 1),
]
ALL = pytest.mark.parametrize("widths", WIDTHS, ids=str)
DEEP = pytest.mark.parametrize("widths", [w for w in WIDTHS if len(w) > 2], ids=str)
THIN = pytest.mark.parametrize(
    "widths", [(3, 3, 3), (3, 3, 3, 3), (4, 2, 3), (3, 2, 2, 4)], ids=str
)


def starts(widths, rng):
    """Return factors of every sort: Gaussian, balanced, of low rank, with zero layers."""
    factors = random_factors(widths, rng)
    yield "gaussian", factors
    yield "balanced", balancing.balance(factors)
    low = [w.copy() for w in factors]
    low[-1][0] = low[-1][-1]
    yield "low rank", tuple(low)
    for p in {0, len(factors) // 2, len(factors) - 1}:
        yield f"layer {p} zero", tuple(w * (q != p) for q, w in enumerate(factors))
    yield "zero", tuple(0 * w for w in factors)
    scales = np.logspace(-3, 3, len(factors)) if len(factors) > 1 else [1e6]
    yield "scales", tuple(s * w for s, w in zip(scales, factors, strict=True))


def dense_action(factors):
    """Return the matrix of ``a ↦ (a_p W_p - W_p a_{p-1})_p``."""
    hidden = [w.shape[0] for w in factors[:-1]]
    columns = []
    for p, width in enumerate(hidden):
        for index in np.ndindex(width, width):
            element = [np.zeros((d, d)) for d in hidden]
            element[p][index] = 1.0
            columns.append(flatten(orbit_velocity(element, factors)))
    size = sum(w.size for w in factors)
    return np.stack(columns, axis=1) if columns else np.zeros((size, 0))


def elements_of(widths, rng, count=1):
    return tuple(rng.standard_normal((width, width)) for width in widths[1:-1])


def metrics_of(widths, rng):
    """Return random positive definite matrices of the hidden widths."""
    return tuple(linalg.expm(0.4 * (a + a.T)) for a in elements_of(widths, rng))


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
def test_gram_solve(widths):
    """It solves the dense equation ``J Jᵀ P = C``."""
    rng = np.random.default_rng(3)
    factors, covector = random_factors(widths, rng), rng.standard_normal((widths[-1], widths[0]))
    gram = jacobian(factors) @ jacobian(factors).T
    matrix = (gram @ covector.ravel()).reshape(covector.shape)
    solution = gm.gram_solve(factors, matrix)
    assert_close((gram @ solution.ravel()).reshape(matrix.shape), matrix, 1e-12)


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


# --- Kempf and Ness -------------------------------------------------------------------


@DEEP
def test_kempf_ness_is_half_the_squared_norm_on_the_orbit(widths):
    """``Ψ(gᵀ g) = ½ ‖g·W‖²``."""
    rng = np.random.default_rng(12)
    factors, g = random_factors(widths, rng), elements_of(widths, rng)
    expected = np.sum(flatten(nw.act(g, factors)) ** 2) / 2
    assert_close(kn.kempf_ness(factors, tuple(a.T @ a for a in g)), expected, 1e-9)


@DEEP
def test_kempf_ness_along_geodesics(widths):
    """Gradient and second derivative along ``h^{1/2} e^{tS} h^{1/2}``, which is convex."""
    rng = np.random.default_rng(13)
    factors, metrics = random_factors(widths, rng), metrics_of(widths, rng)
    roots = [power(h, 0.5) for h in metrics]
    moves = [a + a.T for a in elements_of(widths, rng)]

    def energy(t):
        curve = [r @ linalg.expm(t * s) @ r for r, s in zip(roots, moves, strict=True)]
        return kn.kempf_ness(factors, tuple(curve))

    velocity = tuple(r @ s @ r for r, s in zip(roots, moves, strict=True))
    gradient = kn.kempf_ness_gradient(factors, metrics)
    slope = sum(
        np.trace(np.linalg.solve(h, g) @ np.linalg.solve(h, v))
        for h, g, v in zip(metrics, gradient, velocity, strict=True)
    )
    assert_close(slope, derivative(energy, 1e-3), 1e-7, scale=abs(energy(0.0)))
    second = kn.kempf_ness_hessian(factors, metrics, velocity)
    assert second >= 0
    assert_close(second, second_derivative(energy, 1e-3), 1e-5)


@THIN
def test_limit_metrics_are_the_minimum(widths):
    """Any ``g`` with ``gᵀ g = P`` balances, and a minimiser of SciPy finds ``P``."""
    rng = np.random.default_rng(14)
    factors = random_factors(widths, rng)
    metrics = kn.limit_metrics(factors)
    roots = tuple(np.linalg.cholesky(h).T for h in metrics)
    balanced = nw.act(roots, factors)
    for before, after in pairwise(balanced):
        assert_close(after.T @ after, before @ before.T, 1e-9)
    expected = widths[1:-1]

    def energy(vector):
        logs = unflatten(vector, metrics)
        return kn.kempf_ness(factors, tuple(linalg.expm(a + a.T) for a in logs))

    start = np.concatenate([np.zeros(width**2) for width in expected])
    found = optimize.minimize(energy, start, method="BFGS", options={"gtol": 1e-8})
    for a, metric in zip(unflatten(found.x, metrics), metrics, strict=True):
        assert_close(linalg.expm(a + a.T), metric, 1e-4)
    assert_close(found.fun, kn.certificate(factors).minimum / 2, 1e-8)
    assert_close(found.fun, kn.kempf_ness(factors, metrics), 1e-8)


@DEEP
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_balanced_factors_minimise_schatten_norms(widths, exponent):
    """The minimum is ``N Σ σ^{q/N}``, taken by `balance`, and no other point is below."""
    rng = np.random.default_rng(15)
    factors = random_factors(widths, rng)
    balanced = balancing.balance(factors)
    sigma = np.linalg.svd(product(factors), compute_uv=False)[: min(widths)]
    depth = len(factors)
    least = depth * np.sum(sigma ** (exponent / depth))
    found = kn.schatten_minimum(product(factors), depth, exponent, min(widths))
    assert_close(found, least, 1e-12)
    # Layers wider than the rank have zeros for singular values, to round-off.
    assert_close(kn.schatten_norm(balanced, exponent), least, 1e-14 ** min(exponent, 0.7) * 10)
    for scale in (1e-2, 0.3):
        g = [linalg.expm(scale * a) for a in elements_of(widths, rng)]
        assert kn.schatten_norm(nw.act(tuple(g), balanced), exponent) > least
    values = [np.linalg.svd(w, compute_uv=False) for w in factors]
    expected = sum(np.sum(v**exponent) for v in values)
    assert_close(kn.schatten_norm(factors, exponent), expected, 1e-12)


@ALL
def test_certificate(widths):
    """Moment map, norm, minimum and gap; zero at balanced factors."""
    factors = random_factors(widths, np.random.default_rng(16))
    found = kn.certificate(factors)
    moments = [b.T @ b - a @ a.T for a, b in pairwise(factors)]
    assert_close(found.moment_map_norm, sum(np.sum(m**2) for m in moments) ** 0.5, 1e-13)
    assert_close(found.squared_norm, np.sum(flatten(factors) ** 2), 1e-13)
    assert_close(found.gap, found.squared_norm - found.minimum, 1e-13)
    end = kn.certificate(balancing.balance(factors))
    assert end.moment_map_norm < 1e-12 * end.squared_norm
    assert abs(end.gap) < 1e-12 * end.squared_norm
    assert_close(end.minimum, found.minimum, 1e-12)


# --- the flow of the metric at depth two ----------------------------------------------


def precise_metric(factors, time):
    """Return ``V U⁻¹`` of the linear Hamiltonian system, in 600 digits."""
    with mpmath.workdps(600):
        first, second = (mpmath.matrix(w.tolist()) for w in factors)
        g, h = second.T * second, first * first.T
        d = g.rows
        system = mpmath.zeros(2 * d)
        system[:d, d:], system[d:, :d] = 2 * h, 2 * g
        flow = mpmath.expm(mpmath.mpf(time) * system)
        both = flow * mpmath.matrix(np.vstack([np.eye(d), np.eye(d)]).tolist())
        metric = both[d:, :] * both[:d, :] ** -1
        return np.array(metric.tolist(), dtype=float)


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 5, 2), (4, 2, 3), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("time", [0.0, 1e-3, 0.7, 30.0])
def test_metric_flow(widths, time):
    """The exponential in 600 digits agrees, at times where ``cosh`` needs 200 of them."""
    rng = np.random.default_rng(17)
    factors = random_factors(widths, rng)
    low = (factors[0] @ np.diag([0.0, *[1.0] * (widths[0] - 1)]), factors[1])
    for start in (factors, low, (factors[0], 0 * factors[1]), (0 * factors[0], factors[1])):
        found = kn.metric_flow(start, time)
        assert_close(found.metric, precise_metric(start, time), 1e-10)
        assert_close(found.metric @ found.inverse, np.eye(widths[1]), 1e-9)


def test_metric_flow_ends_at_the_limit():
    """At infinite time it is `limit_metrics`; times broadcast."""
    factors = random_factors((3, 3, 3), np.random.default_rng(18))
    end = kn.metric_flow(factors, np.inf)
    assert_close(end.metric, kn.limit_metrics(factors)[0], 1e-11)
    times = np.array([0.0, 0.5, 2.0])
    many = kn.metric_flow(factors, times)
    for i, time in enumerate(times):
        assert_close(many.metric[i], kn.metric_flow(factors, time).metric, 1e-13)


def test_metric_flow_obeys_the_riccati_equation():
    """``Ṗ = 2 (G - P H P) = -4 grad Ψ(P)``."""
    factors = random_factors((3, 4, 2), np.random.default_rng(19))
    metric = kn.metric_flow(factors, 0.3).metric
    change = derivative(lambda t: kn.metric_flow(factors, 0.3 + t).metric, 1e-3)
    g, h = factors[1].T @ factors[1], factors[0] @ factors[0].T
    assert_close(change, 2 * (g - metric @ h @ metric), 1e-8)
    (gradient,) = kn.kempf_ness_gradient(factors, (metric,))
    assert_close(change, -4 * gradient, 1e-8)


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 5, 2), (4, 2, 3)], ids=str)
def test_polar_flow_turns_to_the_flow_of_the_moment_map(widths):
    """``d/dt (R P^{1/2}·W) = ξ_μ`` at ``R = I``: the rotation rate is right."""
    factors = random_factors(widths, np.random.default_rng(20))
    now = kn.polar_flow(factors, 0.4)
    change = derivative(lambda t: flatten(kn.polar_flow(factors, 0.4 + t).factors), 1e-3)
    turned = orbit_velocity([now.turning], now.factors)
    (moment,) = nw.moment_map(now.factors)
    expected = orbit_velocity([moment], now.factors)
    assert_close(now.turning, -now.turning.T, 1e-14, scale=1.0)
    assert_close(change + flatten(turned), flatten(expected), 1e-7)
    assert_close(product(now.factors), product(factors), 1e-12)


# --- libraries, batches, errors -------------------------------------------------------


def gram_function(*arrays):
    *layers, matrix = arrays
    (weight,) = like(arrays[0], [np.random.default_rng(30).standard_normal(np.shape(matrix)[-2:])])
    return inner(gm.gram_solve(tuple(layers), matrix), weight)


def projection_function(*arrays):
    layers, vector = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
    rng = np.random.default_rng(31)
    weights = like(arrays[0], [rng.standard_normal(np.shape(w)[-2:]) for w in layers])
    return inner(tuple(fb.tangent_projection(layers, vector)), tuple(weights))


def energy_function(*arrays):
    half = (len(arrays) + 1) // 2
    layers, metrics = arrays[:half], arrays[half:]
    sym = tuple(h @ h.swapaxes(-1, -2) for h in metrics)
    return kn.kempf_ness(layers, sym) + kn.kempf_ness_hessian(layers, sym, sym)


def limit_function(*arrays):
    rng = np.random.default_rng(32)
    weights = like(arrays[0], [rng.standard_normal((3, 3)) for _ in arrays[1:]])
    return inner(tuple(kn.limit_metrics(arrays)), tuple(weights))


def cases():
    rng = np.random.default_rng(33)
    square, wide = random_factors((3, 3, 3, 3), rng), random_factors((2, 4, 3, 3), rng)
    low, pair = random_factors((3, 2, 4), rng), random_factors((3, 4, 2), rng)
    return {
        "gram": (gram_function, (*wide, rng.standard_normal((3, 2)))),
        "gram at depth 2": (gram_function, (*pair, rng.standard_normal((2, 3)))),
        "projection": (projection_function, (*wide, *random_factors((2, 4, 3, 3), rng))),
        "projection below full rank": (
            projection_function,
            (*low, *random_factors((3, 2, 4), rng)),
        ),
        "energy": (energy_function, (*square, *(np.eye(3) + 0.1 * w for w in square[1:]))),
        "limit": (limit_function, square),
    }


@pytest.mark.parametrize("name", cases())
def test_first_derivatives_in_every_library(name):
    """Directional derivatives agree with finite differences, by every route."""
    function, point = cases()[name]
    rng = np.random.default_rng(34)
    direction = tuple(rng.standard_normal(w.shape) for w in point)
    expected = derivative(along(function, point, direction), 1e-3)
    for route, found in first_derivatives(function, point, direction).items():
        assert found == pytest.approx(expected, rel=1e-7), route


@pytest.mark.parametrize("name", ["gram", "projection"])
def test_second_derivatives_in_every_library(name):
    """Mixed second derivatives agree with finite differences of first ones."""
    function, point = cases()[name]
    rng = np.random.default_rng(35)
    one, other = (tuple(rng.standard_normal(w.shape) for w in point) for _ in range(2))

    def slope(t):
        moved = tuple(a + t * d for a, d in zip(point, other, strict=True))
        return float(autograd_derivative(function, moved, one))

    expected = derivative(slope, 1e-3)
    for route, found in second_derivatives(function, point, one, other).items():
        assert float(found) == pytest.approx(expected, rel=1e-6), route


KERNELS = {
    "normal": lambda w, v: fb.normal_projection(w, v),
    "tangent": lambda w, v: fb.tangent_projection(w, v),
    "gram": lambda w, v: (gm.gram_solve(w, v[..., 0, :, :]),),
    "newton": lambda w, v: fb.project_to_fibre(w, nw.end_to_end(w) * 1.01),
}


def as_layers(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_iterations_in_every_library(name, library, monkeypatch):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    rng = np.random.default_rng(36)
    stack = np.eye(3) + 0.3 * rng.standard_normal((3, 3, 3))
    vector = rng.standard_normal((3, 3, 3))
    expected = as_layers(KERNELS[name](stack, vector))
    make = ARRAYS[library]
    found = as_layers(KERNELS[name](make(stack), make(vector)))
    single = as_layers(
        KERNELS[name](make(stack.astype(np.float32)), make(vector.astype(np.float32)))
    )
    for a, b, c in zip(expected, found, single, strict=True):
        assert_close(np.asarray(b), a, 1e-11, scale=max(1.0, np.max(np.abs(a))))
        assert str(c.dtype).rpartition(".")[2] == "float32"
        assert_close(np.asarray(c), a, 1e-3, scale=max(1.0, np.max(np.abs(a))))


@pytest.mark.parametrize("name", KERNELS)
def test_iterations_in_batches(name, monkeypatch):
    """A batch gives what its elements give; one point serves many vectors."""
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    rng = np.random.default_rng(37)
    stack = np.eye(3) + 0.3 * rng.standard_normal((2, 4, 3, 3, 3))
    vector = rng.standard_normal((4, 3, 3, 3))
    found = as_layers(KERNELS[name](stack, vector))
    for i, j in np.ndindex(2, 4):
        single = as_layers(KERNELS[name](stack[i, j], vector[j]))
        for many, one in zip(found, single, strict=True):
            assert_close(many[i, j] if many.ndim > one.ndim + 1 else many[j], one, 1e-9)
    if name in ("normal", "tangent", "algebra", "gram"):
        many = as_layers(KERNELS[name](stack[0, 0], vector))[0]
        for j in range(4):
            single = as_layers(KERNELS[name](stack[0, 0], vector[j]))[0]
            assert_close(many[j], single, 1e-9)


def test_depth_one():
    """At depth 1 the fibre is a point: no tangent vectors, no group."""
    stack = np.random.default_rng(38).standard_normal((1, 3, 3))
    assert_close(fb.tangent_projection(stack, stack), 0 * stack, 1e-15, scale=1.0)
    assert fb.algebra_element(stack, 0 * stack).shape == (0, 3, 3)
    assert kn.limit_metrics(stack).shape == (0, 3, 3)
    assert fb.group_inner_product(stack, 0 * stack, 0 * stack) == 0
    assert fb.fibre_dimension((3, 3)) == 0
    assert kn.certificate(stack).moment_map_norm == 0


ONES = np.ones((3, 3))
PAIR = (np.eye(3), np.eye(3))
BAD_CALLS = {
    "vector of other shapes": (
        lambda: fb.tangent_projection(PAIR, (ONES, ONES[:2])),
        "expected mat",
    ),
    "matrix of another shape": (
        lambda: gm.gram_solve(PAIR, ONES[:2]),
        "expected a vector of shape",
    ),
    "not finite": (lambda: fb.tangent_projection(PAIR, (ONES * np.nan, ONES)), "NaN"),
    "off the orbit": (lambda: fb.algebra_element(PAIR, PAIR), "not tangent to the orbit"),
    "wide layers": (lambda: kn.limit_metrics((ONES[:, :2], ONES[:2])), "outside the orbit"),
    "singular": (lambda: kn.limit_metrics((ONES, ONES)), "zero to round-off"),
    "depth of the metric flow": (lambda: kn.metric_flow((ONES,), 1.0), "depth 2, got 1"),
    "exponent": (lambda: kn.schatten_norm(PAIR, 0.0), "positive and finite"),
    "metrics": (lambda: kn.kempf_ness(PAIR, (ONES, ONES)), "hidden widths"),
    "widths": (lambda: fb.fibre_dimension((3,)), "at least two"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    """Every bad call is a ValueError that says what was expected."""
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
