"""Mici's systems: derivatives against finite differences, folds, laws against quadrature."""

import doctest
import itertools
import math
import pickle
import subprocess
import sys
from typing import Any

import mici
import numpy
import pytest

from dlngeo.core.balanced.submanifold import dimension
from dlngeo.core.base.packing import unpack
from dlngeo.core.depth_metric.metric import raise_index
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.sampling import BalancedSystem, DepthRootSystem, ObservableSystem
from dlngeo.sampling.hamiltonian import balanced_system
from dlngeo.thermodynamics.boltzmann_entropy import free_energy
from tests.sampling.laws import (
    MatrixEnergy,
    PlantedEnergy,
    SpectralEnergy,
    deviations,
    lam_moments,
    make,
    matrix_means,
    roots_of,
    sample,
    second_moments,
    signed_moments,
    spectral_means,
)

KINDS = (BalancedSystem, DepthRootSystem, ObservableSystem)
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
LINEAR = [[0.6, -0.3], [0.2, 0.9]]


def state_of(position, momentum=None):
    return mici.states.ChainState(pos=position, mom=momentum, dir=1)


def differences(function, position, step=1e-5):
    """Return the derivative by central differences, along the last axis."""
    moves = step * numpy.eye(len(position))
    return numpy.stack(
        [(function(position + m) - function(position - m)) / (2 * step) for m in moves], axis=-1
    )


def random_position(system, seed=0):
    rng = numpy.random.default_rng(seed)
    if isinstance(system, BalancedSystem):
        matrix = rng.normal(size=(system.widths[-1], system.widths[0]))
        layers = factorize(matrix, len(system.widths) - 1, system.widths)
        layers = [layer @ numpy.eye(layer.shape[1]) for layer in layers]
        # A rotation of the first hidden layer: a generic balanced point.
        turn = numpy.linalg.qr(rng.normal(size=(system.widths[1],) * 2))[0]
        layers[0], layers[1] = turn @ layers[0], layers[1] @ turn.T
        return numpy.concatenate([layer.ravel() for layer in layers])
    return rng.normal(size=system.width**2)


# --- derivatives ------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("determinant", [None, "positive", "negative"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_slope_of_the_potential(kind, depth, determinant, seed):
    """On both sides of the boundary: of the seeds some are folded."""
    system = make(kind, MatrixEnergy(LINEAR), 2, depth, 1.7, determinant)
    position = random_position(system, seed)
    if kind is BalancedSystem:
        value = 1.7 * MatrixEnergy(LINEAR)(system.observables(position))
        assert system.neg_log_dens(state_of(position)) == pytest.approx(value, rel=1e-12)
    found = system.grad_neg_log_dens(state_of(position))
    expected = differences(lambda q: system.neg_log_dens(state_of(q)), position)
    numpy.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * abs(expected).max())


def test_potential_is_free_energy():
    energy, depth, beta = MatrixEnergy(LINEAR), 3, 1.7
    matrices = numpy.array([[[1.0, 0.2], [0.1, 0.5]], [[0.3, 0.2], [-0.4, 1.5]]])
    expected = beta * free_energy(energy, matrices, (2,) * (depth + 1), beta)
    for kind in (DepthRootSystem, ObservableSystem):
        system = make(kind, energy, 2, depth, beta)
        found = [system.h1(state_of(position)) for position in system.positions(matrices)]
        assert numpy.diff(found) == pytest.approx(numpy.diff(expected), rel=1e-12)
    system = make(BalancedSystem, energy, 2, depth, beta)
    positions = system.positions(factorize(matrices, depth))
    found = [system.h1(state_of(position)) for position in positions]
    assert found == pytest.approx(beta * energy(matrices), rel=1e-12)


WIDTHS = [(2, 2, 2), (3, 2, 2, 4), (1, 1, 1), (2,) * 6, (3, 3, 3, 3), (5, 2, 3)]


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_constraint_is_the_moment_map(widths):
    system = BalancedSystem(numpy.sum, numpy.ones_like, widths, 1.0)
    size = sum(a * b for a, b in itertools.pairwise(widths))
    position = numpy.random.default_rng(0).normal(size=size)
    state = state_of(position)
    moments = moment_map(unpack(position, system._shapes))
    expected = numpy.concatenate([m[numpy.triu_indices(len(m))] for m in moments])
    numpy.testing.assert_allclose(system.constr(state), expected, atol=1e-13)
    jacobian = differences(lambda q: system.constr(state_of(q)), position)
    numpy.testing.assert_allclose(system.jacob_constr(state), jacobian, atol=1e-8)


@pytest.mark.parametrize("widths", [*WIDTHS, (2, 3, 2), (3, 4, 2, 5, 3)], ids=str)
def test_level_set_is_regular_where_hidden_layers_have_the_rank(widths):
    shapes = [(b, a) for a, b in itertools.pairwise(widths)]
    count, entry, source, sign = balanced_system._moment_hessian(shapes)
    layers = factorize(
        numpy.random.default_rng(0).normal(size=shapes[-1][:1] + shapes[0][1:]), len(shapes), widths
    )
    position = numpy.concatenate([layer.ravel() for layer in layers])
    jacobian = numpy.bincount(entry, sign * position[source], count * len(position))
    rank = numpy.linalg.matrix_rank(jacobian.reshape(count, -1), tol=1e-8)
    surplus = [width - min(widths) for width in widths[1:-1]]
    assert count - rank == sum(s * (s + 1) // 2 for s in surplus)
    if not any(surplus):
        assert len(position) - rank == dimension(widths)


@pytest.mark.parametrize(("width", "depth"), [(1, 3), (2, 1), (2, 3), (3, 2), (3, 5)])
def test_riemannian_metric_is_the_depth_metric(width, depth):
    system = make(ObservableSystem, SpectralEnergy(depth, (1.0,) * width), width, depth, 1.0)
    position = random_position(system) + 2 * numpy.eye(width).ravel()
    state = state_of(position, numpy.random.default_rng(1).normal(size=width**2))
    jacobian = differences(lambda q: system.observables(q).ravel(), position)
    cometric = [
        raise_index(system.observables(position), e, depth).ravel()
        for e in numpy.eye(width**2).reshape(-1, width, width)
    ]
    metric = jacobian.T @ numpy.linalg.inv(cometric) @ jacobian
    found = system.metric(state)
    numpy.testing.assert_allclose(found.array, metric, rtol=1e-6, atol=1e-6)
    numpy.testing.assert_allclose(found.inv.array @ found.array, numpy.eye(width**2), atol=1e-12)
    root = found.sqrt @ numpy.eye(width**2)
    numpy.testing.assert_allclose(root @ root.T, found.array, atol=1e-12)
    assert found.log_abs_det == pytest.approx(width * math.log(depth), abs=1e-12)
    for method in ("h2", "h1"):
        slope = getattr(system, f"d{method}_dpos")(state)
        expected = differences(
            lambda q, method=method: getattr(system, method)(state_of(q, state.mom)), position
        )
        numpy.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


# --- chains -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("determinant", [None, "positive", "negative"])
def test_factors_of_chains(depth, determinant):
    """Balanced, over the observables, and in the component, also where chains have crossed."""
    system = make(BalancedSystem, SpectralEnergy(depth), 2, depth, 2.0, determinant)
    observables, result = sample(system, 40, seed=0)
    positions = numpy.stack(result.traces["pos"])
    factors = system.factors(positions)
    assert factors.shape == (2, 40, depth, 2, 2)
    assert abs(moment_map(factors)).max() < 1e-8
    numpy.testing.assert_allclose(end_to_end(factors), observables, atol=1e-12)
    found = numpy.unique(numpy.linalg.slogdet(observables)[0])
    expected = {None: [-1, 1], "positive": [1], "negative": [-1]}[determinant]
    assert found.tolist() == expected
    signs = numpy.linalg.slogdet(positions.reshape(2, 40, depth, 2, 2))[0]
    assert (signs[:, 1:] != signs[:, :-1]).any(), "no chain has crossed the boundary"
    if depth == 2 and determinant is not None:
        # In even depth X turns back by itself.
        product = end_to_end(positions.reshape(2, 40, depth, 2, 2))
        numpy.testing.assert_allclose(product, observables, atol=1e-12)


def test_rectangular_networks():
    energy = lambda x: numpy.sum(x**2)  # noqa: E731
    system = BalancedSystem(energy, lambda x: 2 * x, (3, 2, 2, 4), 2.0)
    start = factorize(numpy.random.default_rng(0).normal(size=(2, 4, 3)), 3, (3, 2, 2, 4), 2)
    sampler = mici.samplers.DynamicMultinomialHMC(
        system,
        mici.integrators.ConstrainedLeapfrogIntegrator(system),
        numpy.random.default_rng(0),
        max_tree_depth=3,
    )
    result = sampler.sample_chains(10, 10, system.positions(start), display_progress=False)
    factors = system.factors(result.traces["pos"])
    assert [layer.shape for layer in factors] == [(2, 10, 2, 3), (2, 10, 2, 2), (2, 10, 4, 2)]
    assert all(abs(moment).max() < 1e-8 for moment in moment_map(factors))
    assert system.observables(result.traces["pos"]).shape == (2, 10, 4, 3)


@EVERY
def test_systems_travel_to_other_processes(kind):
    system = make(kind, MatrixEnergy(LINEAR), 2, 2, 1.0)
    copy = pickle.loads(pickle.dumps(system))
    state = state_of(random_position(system))
    assert copy.h1(state) == system.h1(state)


@EVERY
def test_wild_proposals_are_rejected(kind):
    system = make(kind, MatrixEnergy(LINEAR), 2, 3, 1.0)
    position = random_position(system)
    for wild in (numpy.nan, numpy.inf):
        position = numpy.where(numpy.arange(len(position)) == 1, wild, position)
        assert system.neg_log_dens(state_of(position)) == numpy.inf
        assert numpy.isnan(system.grad_neg_log_dens(state_of(position))).all()


def test_example():
    (example,) = doctest.DocTestFinder(recurse=False).find(BalancedSystem, "BalancedSystem")
    failed, count = doctest.DocTestRunner(verbose=False).run(example)
    assert count > 5
    assert failed == 0


# --- errors -----------------------------------------------------------------------------

HALF: Any = 2.5
ONE: Any = 1


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda e: BalancedSystem(e, e.gradient, (2, 3, 2), 1.0), "hidden ones are not all equal"),
        (lambda e: BalancedSystem(e, e.gradient, (3, 3, 2), 1.0), "singular"),
        (lambda e: BalancedSystem(e, e.gradient, (2, 2), 1.0), "no constraint"),
        (lambda e: BalancedSystem(e, e.gradient, (2, 2, 2), 0.0), "inverse temperature"),
        (lambda e: BalancedSystem(e, e.gradient, (2, 2, 2), math.inf), "inverse temperature"),
        (lambda e: DepthRootSystem(e, e.gradient, 2, HALF, 1.0), "depth must be"),
        (lambda e: ObservableSystem(e, e.gradient, 0, 2, 1.0), "positive integers"),
        (
            lambda e: ObservableSystem(e, e.gradient, 2, 2, 1.0, ONE),
            "determinant must be 'positive', 'negative' or None, got 1",
        ),
        (lambda e: BalancedSystem(e, e.gradient, (2, 2, 3), 1.0, "positive"), "are one space"),
    ],
)
def test_refused_systems(build, text):
    with pytest.raises(ValueError, match=text):
        build(MatrixEnergy())


def test_refused_starts():
    energy = MatrixEnergy()
    system = make(BalancedSystem, energy, 2, 2, 1.0, "positive")
    eye = numpy.eye(2)
    for start, text in (
        (numpy.stack([eye, 2 * eye])[None], "balance them first"),
        (numpy.stack([eye, eye[::-1]])[None], "with positive determinants"),
        (numpy.stack([eye * [1, 0]] * 2)[None], "zero to round-off"),
        (numpy.stack([eye] * 3)[None], "expected widths"),
    ):
        with pytest.raises(ValueError, match=text):
            system.positions(start)
    for kind in (DepthRootSystem, ObservableSystem):
        system = make(kind, energy, 2, 2, 1.0, "positive")
        for start, text in (
            (eye[None, ::-1], "with positive determinants"),
            (numpy.eye(3)[None], "shape"),
            (eye[None] * numpy.nan, "NaN"),
        ):
            with pytest.raises(ValueError, match=text):
                system.positions(start)
    for broken, text in ((lambda x: x, "must return one number"), (lambda x: numpy.nan, "NaN")):
        system = DepthRootSystem(broken, energy.gradient, 2, 2, 1.0)
        with pytest.raises(ValueError, match=text):
            system.positions(eye[None])


def test_without_mici():
    code = "import sys; sys.modules['mici'] = None; import dlngeo.sampling as s; s.BalancedSystem"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError" in done.stderr
    assert "dlngeo[sampling]" in done.stderr


# --- laws; longer ones in tests/statistics ----------------------------------------------

DRAWS = {BalancedSystem: 250, DepthRootSystem: 500, ObservableSystem: 120}


@EVERY
def test_spectral_law(kind):
    """``N = 3``, unequal weights: against ``ρ(λ) e^{-βE}`` by quadrature."""
    depth, beta = 3, 2.0
    energy = SpectralEnergy(depth, (1.0, 2.0))
    observables, _ = sample(make(kind, energy, 2, depth, beta), DRAWS[kind], seed=1)
    expected = spectral_means(energy, beta, lam_moments)
    assert abs(deviations(lam_moments(roots_of(observables, depth)), expected)).max() < 4


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("depth", "determinant"), [(3, "negative"), (2, None)])
def test_law_of_components(kind, depth, determinant):
    """Of one or of both, for an energy that tells ``det X < 0`` from ``det X > 0``."""
    beta, energy = 2.0, MatrixEnergy(LINEAR)
    system = make(kind, energy, 2, depth, beta, determinant)
    observables, _ = sample(system, DRAWS[kind], seed=2)
    signs, statistics = ((-1,), second_moments) if determinant else ((1, -1), signed_moments)
    expected = matrix_means(energy, depth, beta, statistics, signs)
    assert abs(deviations(statistics(observables), expected)).max() < 4


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("size", [1e120, 1e308, math.inf, math.nan])
def test_positions_beyond_all_bounds_are_rejected(kind, size):
    """Where ``X`` overflows the density is zero, and no error ends the chain."""
    system = make(kind, MatrixEnergy(LINEAR), 2, 3, beta=2.0)
    state = mici.states.ChainState(pos=numpy.full(4, size), mom=numpy.zeros(4), dir=1)
    assert system.neg_log_dens(state) == math.inf
    assert numpy.isnan(system.grad_neg_log_dens(state)).all()


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("depth", [2, 3])
def test_numbers_are_half_normal(kind, depth):
    """``d = 1``: all of the law is at the boundary, which chains cross."""
    system = make(kind, SpectralEnergy(depth, (1.0,)), 1, depth, beta=2.0, determinant="negative")
    observables, _ = sample(system, 200, seed=3, width=1)
    assert (observables < 0).all()
    lam = roots_of(observables, depth)
    variance = 1 / (2.0 * depth)
    expected = numpy.array([math.sqrt(2 * variance / math.pi), variance])
    draws = numpy.concatenate([lam, lam**2], axis=-1)
    assert abs(deviations(draws, expected)).max() < 4


@pytest.mark.parametrize("error", ["entropy left out", "volume of X instead of g"])
def test_planted_errors_are_seen(error):
    depth, beta = 3, 2.0
    energy = SpectralEnergy(depth, (1.0, 2.0))
    planted = PlantedEnergy(energy, beta, error == "entropy left out")
    observables, _ = sample(make(DepthRootSystem, planted, 2, depth, beta), 300, seed=1)
    expected = spectral_means(energy, beta, lam_moments)
    assert abs(deviations(lam_moments(roots_of(observables, depth)), expected)).max() > 5
