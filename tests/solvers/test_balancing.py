"""Balancing flows: conserved matrix, exact decay, limits, degenerate starts, endings."""

import itertools
import math

import numpy
import pytest
import scipy.integrate

from dlngeo.core.fibres import gram
from dlngeo.core.fibres import kempf_ness_function as kempf_ness
from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.network import moment_map
from dlngeo.solvers import balancing, balancing_flow
from dlngeo.solvers.balancing import KINDS

WIDTHS = [(3, 3, 3), (3, 5, 2), (4, 2, 3), (3, 3, 3, 3), (2, 4, 5, 3), (4, 3, 2, 4, 3), (2,) * 6]
WIDTHS += [(3, 4, 3, 5, 3, 4, 3)]
BOTH = pytest.mark.parametrize("kind", KINDS)


def gaussian(widths, seed=0):
    rng = numpy.random.default_rng(seed)
    return tuple(rng.normal(size=(b, a)) / math.sqrt(a) for a, b in itertools.pairwise(widths))


def regular(widths, seed=0):
    """Return disturbed identities: the products are well conditioned."""
    rng = numpy.random.default_rng(seed)
    return tuple(
        numpy.eye(b, a) + 0.4 * rng.normal(size=(b, a)) / math.sqrt(a)
        for a, b in itertools.pairwise(widths)
    )


def product(factors):
    result = factors[0]
    for layer in factors[1:]:
        result = layer @ result
    return result


def size(matrices):
    return math.sqrt(sum(float(numpy.sum(m**2)) for m in matrices))


def metrics_reached(start, end):
    """Return ``gᵀ g`` for the group element from start to end, by products of the layers."""
    metrics, before, after = [], numpy.eye(start[0].shape[1]), numpy.eye(start[0].shape[1])
    for w, v in zip(start[:-1], end[:-1], strict=True):
        before, after = w @ before, v @ after
        g = after @ numpy.linalg.pinv(before)
        metrics.append(g.T @ g)
    return metrics


# --- the laws ---------------------------------------------------------------------------


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_moment_map_decays_exactly(widths):
    start = gaussian(widths)
    result = balancing_flow(start, t_final=8.0)
    assert result.success
    first = moment_map(start)
    for found, at_start in zip(moment_map(result.states), first, strict=True):
        expected = numpy.exp(-2 * result.times)[:, None, None] * at_start
        numpy.testing.assert_allclose(found, expected, atol=1e-8 * size(first))
    expected = numpy.exp(-2 * result.times) * size(first)
    numpy.testing.assert_allclose(result.moment_map_norm, expected, atol=1e-8 * size(first))
    early = result.times < 3
    numpy.testing.assert_allclose(result.moment_map_norm[early], expected[early], rtol=1e-6)
    assert result.rate == pytest.approx(2.0, abs=5e-2)


@BOTH
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_the_matrix_stays_and_the_norm_falls(widths, kind):
    start = gaussian(widths, seed=1)
    result = balancing_flow(start, kind, t_final=10.0)
    target = product(start)
    assert result.success
    error = product(result.states) - target
    assert abs(error).max() <= 1e-12 * numpy.linalg.norm(target)
    assert result.drift.max() <= 1e-12
    assert (numpy.diff(result.squared_norm) < 1e-12).all()
    expected = [size([layer[i] for layer in result.states]) ** 2 for i in range(len(result.times))]
    numpy.testing.assert_allclose(result.squared_norm, expected)
    expected = [size([m[i] for m in moment_map(result.states)]) for i in range(len(result.times))]
    numpy.testing.assert_allclose(result.moment_map_norm, expected)


@BOTH
@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 3), (3, 5, 2), (2, 4, 5, 3)], ids=str)
def test_direct_integration_agrees(widths, kind):
    """The definition, with dense pseudo-inverses and without projections or closed forms."""
    start = gaussian(widths, seed=2)
    shapes = [w.shape for w in start]
    ends = numpy.cumsum([w.size for w in start])[:-1]

    def layers(y):
        return [v.reshape(s) for v, s in zip(numpy.split(y, ends), shapes, strict=True)]

    def velocity(_, y):
        w = layers(y)
        if kind == "moment_map":
            inner = [b.T @ b - a @ a.T for a, b in itertools.pairwise(w)]
            m = [numpy.zeros((widths[0],) * 2), *inner, numpy.zeros((widths[-1],) * 2)]
            moves = [m[p + 1] @ x - x @ m[p] for p, x in enumerate(w)]
            return numpy.concatenate([v.ravel() for v in moves])
        columns = []
        for p, x in enumerate(w):
            before = product([numpy.eye(widths[0]), *w[:p]])
            after = product([numpy.eye(x.shape[0]), *w[p + 1 :]])
            columns.append(numpy.kron(after, before.T))
        jacobian = numpy.concatenate(columns, axis=1)
        return numpy.linalg.pinv(jacobian) @ (jacobian @ y) - y

    flat = numpy.concatenate([w.ravel() for w in start])
    options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13}
    exact = scipy.integrate.solve_ivp(velocity, (0, 2.0), flat, **options).y[:, -1]
    result = balancing_flow(start, kind, t_final=2.0)
    found = numpy.concatenate([w.ravel() for w in result.factors])
    numpy.testing.assert_allclose(found, exact, atol=1e-8)


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 3), (3, 3, 3, 3), (4, 2, 2, 3)], ids=str)
def test_both_flows_end_at_the_same_metric(widths):
    start = regular(widths)
    ends = {
        kind: balancing_flow(start, kind, t_final=t).factors
        for kind, t in {"l2": 15.0, "moment_map": 300.0}.items()
    }
    limit = kempf_ness.limit_metrics(start)
    for end in ends.values():
        for found, expected in zip(metrics_reached(start, end), limit, strict=True):
            numpy.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)
        least = len(start) * numpy.sum(
            numpy.linalg.svd(product(start), compute_uv=False)[: min(widths)] ** (2 / len(start))
        )
        assert size(end) ** 2 == pytest.approx(least, rel=1e-9)
    # ... but at different points of the orbit, and of `balance`.
    points = [*ends.values(), balance(start)]
    for one, other in itertools.combinations(points, 2):
        assert size([a - b for a, b in zip(one, other, strict=True)]) > 1e-5


def test_scalars_in_closed_form():
    # d = 1, N = 2: μ(t) = e^{-2t} μ(0) and w_1 w_2 = x; for the other flow P is a tangens.
    start = (numpy.array([[0.5]]), numpy.array([[2.0]]))
    result = balancing_flow(start, t_final=3.0)
    moment = 3.75 * numpy.exp(-2 * result.times)
    square = (-moment + numpy.sqrt(moment**2 + 4)) / 2
    numpy.testing.assert_allclose(result.states[0][:, 0, 0] ** 2, square, rtol=1e-7)
    result = balancing_flow(start, "moment_map", t_final=3.0)
    g, h, x = 4.0, 0.25, 1.0
    tanh = numpy.tanh(2 * x * result.times)
    metric = (1 + g / x * tanh) / (1 + h / x * tanh)
    numpy.testing.assert_allclose(result.states[0][:, 0, 0] ** 2, metric * h, rtol=1e-9)


def test_moment_map_flow_of_depth_three_decays_at_the_jacobi_rate():
    # Linearised at balanced factors λ I the slowest mode has rate 8 λ² sin²(π/2N).
    rng = numpy.random.default_rng(3)
    start = tuple(numpy.eye(2) + 1e-3 * rng.normal(size=(2, 2)) for _ in range(3))
    result = balancing_flow(start, "moment_map", t_final=6.0)
    assert result.rate == pytest.approx(8 * math.sin(math.pi / 6) ** 2, rel=1e-2)


# --- hard and degenerate starts ---------------------------------------------------------


@BOTH
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("ratio", [1e3, 1e6])
def test_badly_unbalanced_starts(kind, depth, ratio):
    first, *middle, last = gaussian((3,) * (depth + 1), seed=4)
    start = (ratio * first, *middle, last / ratio)
    result = balancing_flow(start, kind, t_final=3.0, finish=True)
    assert result.success
    assert result.drift.max() <= 1e-10
    if kind == "l2":
        decay = result.moment_map_norm / result.moment_map_norm[0]
        numpy.testing.assert_allclose(decay, numpy.exp(-2 * result.times), atol=1e-8)
    assert size(moment_map(result.factors)) <= 1e-13 * size(result.factors) ** 2
    target = product((first, *middle, last))
    assert abs(product(result.factors) - target).max() <= 1e-12 * abs(target).max()


@pytest.mark.parametrize("width", [5, 20])
def test_balance_after_ill_conditioned_group_elements(width):
    rng = numpy.random.default_rng(5)
    factors = gaussian((width,) * 4, seed=5)
    for p in range(2):
        left, right = (numpy.linalg.qr(rng.normal(size=(width, width)))[0] for _ in range(2))
        g = left * numpy.logspace(-3, 3, width) @ right
        inverse = right.T / numpy.logspace(-3, 3, width) @ left.T
        factors = (*factors[:p], g @ factors[p], factors[p + 1] @ inverse, *factors[p + 2 :])
    balanced = balance(factors)
    assert size(moment_map(balanced)) <= 1e-13 * size(balanced) ** 2
    target = product(factors)
    assert abs(product(balanced) - target).max() <= 1e-11 * abs(target).max()


@BOTH
@pytest.mark.parametrize("depth", [2, 3])
def test_singular_matrices(kind, depth):
    start = list(gaussian((4,) * (depth + 1), seed=6))
    start[0] = start[0] * numpy.array([1.0, 1.0, 0.0, 0.0])[:, None]
    t_final = 8.0 if kind == "l2" else 100.0
    result = balancing_flow(tuple(start), kind, t_final=t_final, finish=True)
    assert result.success
    assert "rank 2, less than the smallest width 4" in result.status
    assert result.drift.max() <= 1e-10
    decay = result.moment_map_norm / result.moment_map_norm[0]
    if kind == "l2":
        numpy.testing.assert_allclose(decay, numpy.exp(-2 * result.times), atol=1e-8)
    else:
        # Algebraic: t ‖μ‖ settles.
        late = result.times > 50
        scaled = result.times[late] * result.moment_map_norm[late]
        assert scaled.max() < 1.2 * scaled.min()
        assert "falls like 1/t" in result.status
    assert numpy.linalg.matrix_rank(result.factors[1], tol=1e-9) == 2
    assert size(moment_map(result.factors)) <= 1e-13 * size(result.factors) ** 2
    assert abs(product(result.factors) - product(start)).max() < 1e-12


@BOTH
def test_singular_points_of_fibres(kind):
    """The rank of ``dφ`` is less at the start than nearby: the tangent part jumps there."""
    start = numpy.array(
        [
            [[1.0, 0, 1], [1, 0, 1], [1, 1, 0]],
            [[0, 0, 1], [0, 0, 0], [0, 0, 0]],
            [[1, 1, 0], [1, 0, 1], [1, 1, 0]],
        ]
    )
    result = balancing_flow(start, kind, t_final=2.0)
    assert result.success
    assert result.drift.max() < 1e-9
    if kind == "l2":
        expected = result.moment_map_norm[0] * numpy.exp(-2 * result.times)
        numpy.testing.assert_allclose(result.moment_map_norm, expected, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("zeros", [(0,), (1,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("depth", [2, 3])
def test_zero_layers(kind, zeros, depth):
    start = gaussian((3,) * (depth + 1), seed=7)
    start = tuple(w * (p not in zeros) for p, w in enumerate(start))
    result = balancing_flow(start, kind, t_final=2.0, finish=True)
    assert result.success
    assert (result.drift == 0).all()
    if kind == "l2":
        # dφ* vanishes or is orthogonal: every layer shrinks like e^{-t}.
        shrunk = numpy.exp(-result.times)[:, None, None] * start[-1]
        numpy.testing.assert_allclose(result.states[-1], shrunk, atol=1e-8)
    assert all((layer == 0).all() for layer in result.factors)


@BOTH
def test_depth_one_and_balanced_starts_stay(kind):
    (layer,) = gaussian((3, 2))
    result = balancing_flow((layer,), kind, t_final=1.0)
    numpy.testing.assert_allclose(result.factors[0], layer, atol=1e-14)
    assert (result.moment_map_norm == 0).all()
    assert math.isnan(result.rate)
    stack = factorize(numpy.diag([2.0, 2.0, 0.5]), 3)
    result = balancing_flow(stack, kind, t_final=3.0)
    numpy.testing.assert_allclose(result.states, numpy.stack([stack] * 50), atol=1e-12)


# --- results and endings ----------------------------------------------------------------


@BOTH
def test_stacks_stay_stacks(kind):
    result = balancing_flow(numpy.stack(gaussian((3,) * 4)), kind, t_final=1.0, n_saved=7)
    assert result.states.shape == (7, 3, 3, 3)
    numpy.testing.assert_array_equal(result.factors, result.states[-1])
    assert result.times[0] == 0
    assert result.times[-1] == 1.0
    finished = balancing_flow(result.states[0], kind, t_final=1.0, finish=True)
    assert finished.factors.shape == (3, 3, 3)
    assert "balanced in closed form" in finished.status


def test_error_falls_with_the_tolerance():
    start = gaussian((3, 3, 3, 3), seed=8)
    exact = balancing_flow(start, t_final=2.0, rtol=1e-12, atol=1e-14).factors
    errors = [
        size(
            a - b
            for a, b in zip(
                balancing_flow(start, t_final=2.0, rtol=r, atol=r).factors, exact, strict=True
            )
        )
        for r in (1e-3, 1e-5, 1e-7, 1e-9)
    ]
    assert all(smaller < larger / 5 for larger, smaller in itertools.pairwise(errors))


@pytest.mark.parametrize(
    ("widths", "is_slow"),
    [((3, 6, 3), False), ((3, 5, 3, 5, 3), False), ((4, 4, 3), True), ((3, 4, 4, 3), True)],
)
def test_only_wide_neighbours_slow_the_flow_of_the_moment_map(widths, is_slow):
    """``‖μ‖`` falls like ``1/t`` or like ``e^{-ct}``."""
    rng = numpy.random.default_rng(0)
    balanced = balance(gaussian(widths), 3)
    start = tuple(layer + 0.5 * rng.normal(size=layer.shape) for layer in balanced)
    result = balancing_flow(start, "moment_map", t_final=1000.0, n_saved=5)
    assert result.success
    first, early, late = result.moment_map_norm[[0, 2, 4]]
    assert ("falls like 1/t" in result.status) == is_slow
    if is_slow:
        assert 0.4 < late / early < 0.6
    else:
        assert late < max(0.1 * early, 1e-13 * first)


def test_status_says_how_far_a_flow_came():
    slow = balancing_flow(gaussian((3, 4, 3)), "moment_map", t_final=5.0)
    assert "raise t_final, or end in closed form with finish=True" in slow.status
    done = balancing_flow(regular((3, 3, 3)), t_final=12.0)
    assert done.status == "reached t = 12."


def test_interrupted(monkeypatch):
    calls = itertools.count()

    def interrupting(layers, vector):
        if next(calls) == 100:
            raise KeyboardInterrupt
        return gram.damped_tangent_part(layers, vector)

    monkeypatch.setattr(balancing, "damped_tangent_part", interrupting)
    result = balancing_flow(gaussian((3, 3, 3)), t_final=50.0)
    assert result.interrupted
    assert not result.success
    assert "start again from the last state" in result.status
    assert 0 < result.times[-1] < 50.0
    assert result.drift.max() < 1e-12


def test_progress_is_shown(capsys):
    balancing_flow(gaussian((2, 2, 2)), t_final=1.0, progress=True)
    assert "balancing flow" in capsys.readouterr().err


def test_lazy_name():
    import dlngeo

    assert dlngeo.balancing_flow is balancing_flow


@pytest.mark.parametrize(
    ("factors", "options", "message"),
    [
        (gaussian((2, 2, 2)), {"kind": "fast"}, "kind must be one of l2, moment_map"),
        (gaussian((2, 2, 2)), {"t_final": 0.0}, "t_final must be positive"),
        (gaussian((2, 2, 2)), {"rtol": -1.0}, "rtol must be positive"),
        (gaussian((2, 2, 2)), {"n_saved": 1}, "n_saved must be an integer of at least 2"),
        ((numpy.ones((2, 2)), numpy.ones((2, 3))), {}, "do not chain"),
        ((numpy.ones((2, 2)), numpy.full((2, 2), numpy.nan)), {}, "NaN"),
        (numpy.ones((2, 2)), {}, "as one array must have shape"),
    ],
)
def test_errors(factors, options, message):
    with pytest.raises(ValueError, match=message):
        balancing_flow(factors, **{"t_final": 1.0, **options})


@pytest.mark.parametrize("kind", ["l2", "moment_map"])
@pytest.mark.parametrize("depth", [2, 3])
def test_flows_are_saved_at_given_times(kind, depth):
    factors = numpy.random.default_rng(0).normal(size=(depth, 3, 3))
    flow = balancing_flow(factors, kind, t_eval=[0.1, 0.4])
    assert flow.times.tolist() == [0.1, 0.4]
    until = balancing_flow(factors, kind, t_final=0.4, n_saved=2)
    numpy.testing.assert_allclose(flow.factors, until.factors, atol=1e-7)
