"""Counts of conservation laws: against naive brackets, incidence matrices, flows and Jacobians."""

from itertools import pairwise

import autograd
import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from dlngeo.intrinsic import conservation_laws, conservation_laws_of, network_polynomials
from dlngeo.intrinsic.conservation import laws as laws_module
from dlngeo.intrinsic.conservation.lie_algebra import lie_dimension, network_chain
from dlngeo.intrinsic.conservation.network_laws import known_count, scalar_parts
from dlngeo.intrinsic.conservation.polynomials import monomial_chain, symbols_and_polynomials
from tests.intrinsic.networks import forward, linear_map, naive_lie_dimension, path_incidence, size

PUBLISHED = {
    (2, 2, 2): (8, 3, 5),
    (5, 3, 2): (21, 6, 15),
    (3, 4, 2, 4): (28, 13, 15),
    (2, 2, 5, 2, 4): (32, 20, 12),
}


def random_networks(number, *, depths, widest, seed=0):
    rng = np.random.default_rng(seed)
    return [
        tuple(int(w) for w in rng.integers(1, widest + 1, size=rng.choice(depths) + 1))
        for _ in range(number)
    ]


@pytest.mark.parametrize("widths", PUBLISHED, ids=str)
def test_published_counts(widths):
    laws = conservation_laws(widths)
    counts = laws.n_parameters, laws.n_laws, laws.lie_algebra_dimension
    assert counts == PUBLISHED[widths]
    assert laws.complete
    assert laws.is_proved
    assert laws.n_known == laws.n_laws


@pytest.mark.parametrize(
    ("widths", "bias"),
    [
        ((3, 2), False),
        ((2, 1), True),
        ((1, 1, 1), False),
        ((1, 1, 1), True),
        ((2, 2, 1), False),
        ((1, 3, 1), False),
        ((2, 1, 2), False),
        ((2, 2, 2), False),
        ((1, 2, 1), True),
        ((1, 1, 1, 2), False),
        ((1, 1, 1, 1), True),
        ((1, 2, 2, 1), False),
        ((1, 2, 2, 2), False),
        ((2, 1, 2, 2, 1), False),
    ],
    ids=str,
)
def test_naive_brackets(widths, bias):
    """Expanded in full by SymPy; the general route of polynomials agrees too."""
    phi, variables = network_polynomials(widths, "linear", bias)
    polynomials = symbols_and_polynomials(phi, variables)[1]
    dimension = naive_lie_dimension(polynomials)
    laws = conservation_laws(widths, "linear", bias)
    assert laws.lie_algebra_dimension == dimension
    assert laws.n_parameters == len(variables) == size(widths, bias)
    general = conservation_laws_of(phi, variables)
    assert general.lie_algebra_dimension == dimension
    assert general.n_laws == laws.n_laws
    assert not general.complete or laws.n_laws == 0


@pytest.mark.parametrize("bias", [False, True])
def test_random_linear_networks(bias):
    """Known laws are complete, but for networks with a scalar-to-scalar part."""
    n_exceptions = 0
    for widths in random_networks(220, depths=[2, 3, 4], widest=5):
        laws = conservation_laws(widths, bias=bias)
        assert laws.is_proved, widths
        assert laws.n_laws == laws.n_parameters - laws.lie_algebra_dimension
        further = 0 if bias else sum(count for _, count in scalar_parts(widths))
        assert laws.n_laws == laws.n_known + further, widths
        assert laws.complete == (further == 0)
        assert ("scalar-to-scalar part" in laws.status) == (further > 0)
        n_exceptions += further > 0
    assert n_exceptions == (0 if bias else 9)


@pytest.mark.parametrize("bias", [False, True])
def test_without_an_upper_bound_the_dimension_is_the_same(bias):
    """Saturation alone, which knows nothing of laws."""
    for widths in random_networks(40, depths=[1, 2, 3], widest=3, seed=1):
        found = lie_dimension(network_chain(widths, bias))
        dimension = conservation_laws(widths, bias=bias).lie_algebra_dimension
        assert found.dimension == dimension, widths
        assert found.is_proved == (dimension in (1, size(widths, bias)))


@pytest.mark.parametrize("bias", [False, True])
def test_random_relu_networks(bias):
    """The rank of paths against parameters is that of ``∂φ``, where no parameter is zero."""
    for widths in random_networks(50, depths=[1, 2, 3, 4], widest=6, seed=2):
        incidence = path_incidence(widths, bias)
        rank = np.linalg.matrix_rank(incidence.T @ incidence)
        laws = conservation_laws(widths, "relu", bias)
        assert laws.n_parameters == incidence.shape[1]
        assert laws.lie_algebra_dimension == rank, widths
        assert laws.n_laws == laws.n_known == laws.n_parameters - rank == sum(widths[1:-1])
        assert laws.complete


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(1, 1, 1), (2, 3, 2), (1, 2, 2, 1), (3, 2, 2, 2)], ids=str)
def test_relu_paths_as_polynomials(widths, bias):
    phi, variables = network_polynomials(widths, "relu", bias)
    exponents = [sympy.Poly(path, *variables).monoms()[0] for path in phi]
    assert sorted(exponents) == sorted(map(tuple, path_incidence(widths, bias).astype(int)))
    incoming: dict = {}
    outgoing: dict = {}
    for symbol in variables:
        name, *place = str(symbol).split("_")
        layer = int(name[1:])
        incoming.setdefault((layer, place[0]), []).append(symbol)
        if name[0] == "w":
            outgoing.setdefault((layer - 1, place[1]), []).append(symbol)
    hidden = [key for key in incoming if key[0] < len(widths) - 1]
    known = [sum(x**2 for x in incoming[key]) - sum(x**2 for x in outgoing[key]) for key in hidden]
    general = conservation_laws_of(phi, variables, known=known)
    laws = conservation_laws(widths, "relu", bias)
    assert (general.n_known, general.n_laws) == (laws.n_known, laws.n_laws)
    assert general.complete
    assert general.is_proved
    theta = np.random.default_rng(0).normal(size=(2, len(variables)))
    np.testing.assert_allclose(general.known(theta), laws.known(theta), rtol=1e-12)
    np.testing.assert_allclose(
        general.known.magnitudes(theta), laws.known.magnitudes(theta), rtol=1e-12
    )


@pytest.mark.parametrize("kind", ["linear", "relu"])
@pytest.mark.parametrize("bias", [False, True])
def test_rank_of_the_known_laws(kind, bias):
    networks = random_networks(25, depths=[1, 2, 3, 4], widest=5, seed=3)
    for widths in [*networks, (4, 3, 3, 4), (1, 3, 3, 1), (2, 5, 2, 5, 2), (1, 1, 1, 1)]:
        laws = conservation_laws(widths, kind, bias)
        theta = np.random.default_rng(0).normal(size=laws.n_parameters)
        if len(widths) == 2:
            assert laws.known(theta).shape == (0,)
            assert laws.known.names == ()
            continue
        jacobian = autograd.jacobian(laws.known)(theta)
        assert jacobian.shape[0] == len(laws.known.names)
        rank = np.linalg.matrix_rank(jacobian)
        assert rank == known_count(widths, kind, bias) == laws.n_known


def flow(widths, bias, seed, *, start=None, end=0.3, event=None):
    """Return an accurate gradient flow of a random quadratic loss of end-to-end matrix and bias."""
    rng = np.random.default_rng(seed)
    phi = linear_map(widths, bias)
    theta = rng.normal(size=size(widths, bias)) if start is None else start
    target = rng.normal(size=phi(theta).shape)
    root = rng.normal(size=(len(target), len(target)))
    slope = autograd.grad(lambda t: 0.5 * ((root @ (phi(t) - target)) ** 2).sum())
    return solve_ivp(
        lambda _, t: -slope(t), (0, end), theta, "DOP853", rtol=1e-12, atol=1e-12, events=event
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(2, 3, 2), (1, 2, 2, 3), (3, 2, 4, 1, 2)], ids=str)
def test_laws_hold_along_flows_and_others_do_not(widths, bias):
    path = flow(widths, bias, 0).y.T
    laws = conservation_laws(widths, bias=bias)
    values = laws.known(path)
    assert values.shape[-1] == len(laws.known.names)
    scale = laws.known.magnitudes(path).max()
    assert abs(values - values[0]).max() < 1e-9 * scale
    # One side of a law alone is no law.
    incoming = (path[:, : widths[0]] ** 2).sum(1)
    assert abs(incoming - incoming[0]).max() > 1e-3 * scale
    if bias:
        # Without the biases the moment map is not conserved.
        first = path[:, : widths[0] * widths[1]].reshape(-1, widths[1], widths[0])
        start = (widths[0] + 1) * widths[1]
        second = path[:, start : start + widths[1] * widths[2]]
        second = second.reshape(-1, widths[2], widths[1])
        moment = second.swapaxes(1, 2) @ second - first @ first.swapaxes(1, 2)
        assert abs(moment - moment[0]).max() > 1e-3 * scale


def part_of_flow(widths, part, seed, change):
    """Return the parameters of some layers at the time when their product has changed enough."""
    sizes = np.cumsum([0] + [a * b for a, b in pairwise(widths)])
    inner = slice(sizes[part[0]], sizes[part[1]])
    inner_widths = widths[part[0] : part[1] + 1]
    start = np.random.default_rng(7).normal(size=size(widths))
    first = forward(start[inner], inner_widths, False)[0][0, 0]

    def event(_, theta):
        return abs(forward(theta[inner], inner_widths, False)[0][0, 0] - first) - abs(change)

    event.terminal = True  # type: ignore[attr-defined]
    path = flow(widths, False, seed, start=start, end=50.0, event=event)
    assert path.t_events[0].size
    end = path.y_events[0][0][inner]
    return np.sign(forward(end, inner_widths, False)[0][0, 0] - first), end


def test_scalar_parts_move_on_one_curve():
    """Inside (2, 1, 2, 2, 1) every loss moves the last three layers on the same curve."""
    widths = (2, 1, 2, 2, 1)
    assert scalar_parts(widths) == [((1, 2, 2, 1), 1)]
    ends: dict = {1.0: [], -1.0: []}
    for seed in range(5):
        sign, end = part_of_flow(widths, (1, 4), seed, 0.05)
        ends[sign].append(end)
    assert max(map(len, ends.values())) >= 3
    for group in ends.values():
        for end in group[1:]:
            np.testing.assert_allclose(end, group[0], atol=1e-8)
    # Not so if the last layer has two outputs: its first row alone tells the losses apart.
    other = [part_of_flow((2, 1, 2, 2, 2), (1, 4), seed, 0.05) for seed in range(5)]
    spread = max(abs(end - rest).max() for sign, end in other for s, rest in other if s == sign)
    assert spread > 1e-3


@pytest.mark.parametrize(
    ("widths", "n_laws", "n_known"),
    [
        ((1, 1, 1, 1), 2, 2),
        ((1, 2, 1), 3, 3),
        ((1, 2, 2, 1), 7, 6),
        ((1, 3, 3, 1), 14, 12),
        ((1, 4, 4, 4, 1), 39, 30),
        ((5, 1, 4, 5, 1), 29, 26),
        ((3, 1, 2, 2, 1, 2, 2, 2, 1, 3), 21, 18),
    ],
    ids=str,
)
def test_scalar_networks(widths, n_laws, n_known):
    laws = conservation_laws(widths)
    assert (laws.n_laws, laws.n_known) == (n_laws, n_known)
    assert laws.complete == (n_laws == n_known)
    if widths[0] == widths[-1] == 1:
        assert laws.n_laws == laws.n_parameters - 1
        assert laws.lie_algebra_dimension == 1


def test_one_polynomial_has_all_but_one_law():
    """A single field has ``D - 1`` local integrals, whatever it is."""
    x, y, z = sympy.symbols("x y z")
    laws = conservation_laws_of([x**3 * y + 5 * z**2 + x * y * z / 7 + sympy.Rational(1, 3)])
    assert (laws.n_parameters, laws.n_laws, laws.lie_algebra_dimension) == (3, 2, 1)
    assert laws.is_proved


@pytest.mark.parametrize(
    ("phi", "n_variables", "dimension"),
    [
        (lambda t: [t[0], t[1]], 3, 2),  # commuting fields
        (lambda t: [t[0] + t[1] ** 2, t[2]], 3, 2),  # involutive, with one law
        (lambda t: [t[0], t[0] * t[1] * t[2] * t[3]], 4, 2),
        (lambda t: [t[0] + t[1] * t[2], t[2] + t[3] ** 2 * t[4], t[0] ** 5], 5, 4),
        # Its law 1/x_2 - 1/x_3 is no symmetry by linear maps, as those of networks are.
        (lambda t: [t[0], t[0] * t[1] + t[2] ** 3 + t[3] ** 3], 4, 3),
        # Heisenberg's algebra one step further, where every bracket adds one direction.
        (lambda t: [t[0], t[1] + t[0] * t[2] + t[0] ** 2 * t[3] + t[0] ** 3 * t[4]], 5, 5),
        (lambda t: [2**40 * t[0] * t[1], t[1] * t[2] / 3**30], 3, 2),
    ],
)
def test_polynomials_against_naive_brackets(phi, n_variables, dimension):
    polynomials = symbols_and_polynomials(phi, n_variables)[1]
    laws = conservation_laws_of(phi, n_variables)
    naive = naive_lie_dimension(polynomials)
    assert laws.lie_algebra_dimension == naive
    assert naive == dimension
    assert laws.n_laws == n_variables - naive


def test_constants_are_conserved_by_nothing_and_everything():
    laws = conservation_laws_of([sympy.Integer(3)], 4)
    assert (laws.n_laws, laws.lie_algebra_dimension) == (4, 0)


def test_functions_and_expressions_are_the_same():
    def phi(theta):
        return (theta[4:].reshape(2, 2) @ theta[:4].reshape(2, 2)).ravel()

    by_function = conservation_laws_of(phi, 8)
    assert (by_function.n_laws, by_function.n_parameters) == (3, 8)
    x = sympy.symbols("x:8")
    known = [x[4] ** 2 + x[6] ** 2 - x[0] ** 2 - x[1] ** 2]
    checked = conservation_laws_of(sympy.Matrix(phi(np.array(x))), x, known=known)
    assert (checked.n_laws, checked.n_known, checked.complete) == (3, 1, False)
    assert "1 of 3" in checked.status
    twice = conservation_laws_of(phi, x, known=[known[0], known[0] ** 2])
    assert twice.n_known == 1


def test_large_networks_follow_from_theorems():
    deep = conservation_laws((784, 64, 32, 10), "relu", bias=True)
    assert deep.n_parameters == 784 * 64 + 64 + 64 * 32 + 32 + 320 + 10
    assert (deep.n_laws, deep.complete, deep.is_proved) == (96, True, True)
    wide = conservation_laws((784, 64, 10))
    assert (wide.n_laws, wide.complete) == (64 * 65 // 2, True)
    assert conservation_laws((1000, 1000)).n_laws == 0


def test_theorem_of_depth_two_is_what_is_computed(monkeypatch):
    networks = random_networks(30, depths=[2], widest=6, seed=4)
    computed = [conservation_laws(widths) for widths in networks]
    monkeypatch.setattr(laws_module, "LARGEST", -1)
    for widths, laws in zip(networks, computed, strict=True):
        assert conservation_laws(widths).lie_algebra_dimension == laws.lie_algebra_dimension


def test_parameters_in_every_form():
    laws = conservation_laws((2, 3, 4, 2), bias=True).known
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (3,), (4, 3), (4,), (2, 4), (2,)]
    arrays = [rng.normal(size=(5, *shape)) for shape in shapes]
    flat = np.concatenate([array.reshape(5, -1) for array in arrays], 1)
    values = laws(flat)
    np.testing.assert_array_equal(values, laws(arrays))
    first, b, second = arrays[:3]
    moment = second.swapaxes(1, 2) @ second - first @ first.swapaxes(1, 2)
    moment = moment - b[:, :, None] * b[:, None, :]
    names = list(laws.names)
    for i, j in [(0, 0), (0, 2), (1, 2)]:
        place = names.index(f"mu_1[{i},{j}]")
        np.testing.assert_allclose(values[:, place], moment[:, i, j], rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="shapes"):
        laws(arrays[:4])
    with pytest.raises(ValueError, match="35"):
        laws(flat[:, :-1])


@pytest.mark.parametrize("kind", ["linear", "relu"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_known_laws_of_other_libraries(kind, library):
    laws = conservation_laws((2, 3, 2), kind).known
    theta = np.random.default_rng(0).normal(size=(2, 12))
    if library == "torch":
        import torch

        values = laws(torch.tensor(theta)).numpy()
    else:
        import jax.numpy

        values = np.asarray(laws(jax.numpy.asarray(theta)))
    np.testing.assert_allclose(values, laws(theta), rtol=1e-5, atol=1e-6)


NETWORKS = {
    "zero": ((2, 0, 2), {}, "positive"),
    "negative": ((2, -1), {}, "positive"),
    "one": ((3,), {}, "at least two"),
    "none": ((), {}, "at least two"),
    "number": (3, {}, "sequence of integers"),
    "text": ("2,2", {}, "sequence of integers"),
    "fraction": ((2, 2.5), {}, "integers"),
    "NaN": ((2, float("nan")), {}, "integers"),
    "kind": ((2, 2), {"kind": "tanh"}, "linear, relu"),
    "large": ((200, 200, 200, 200), {}, "too large"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_refused_networks(case):
    widths, options, message = NETWORKS[case]
    with pytest.raises(ValueError, match=message):
        conservation_laws(widths, **options)


X, Y = sympy.symbols("x y")
MAPS: dict = {
    "exponential": ((lambda t: np.exp(t), 2), "no polynomial"),
    "maximum": ((lambda t: np.maximum(t, 0), 2), "no polynomial"),
    "absolute value": ((lambda t: [abs(t[0])], 2), "no polynomial"),
    "quotient": (([X / Y],), "no polynomial"),
    "root": (([sympy.sqrt(2) * X],), "rational"),
    "power": (([X**0.5],), "no polynomial"),
    "other variable": (([X * Y], (X,)), "all its variables"),
    "NaN": (([sympy.nan], 1), "no polynomial"),
    "infinite": (([X + sympy.oo],), "no polynomial"),
    "nothing": (([],), "at least one entry"),
    "no variable": (([3],), "at least one entry"),
    "none": ((None, 2), "SymPy expressions"),
    "text": (("a b",), "SymPy expressions"),
    "comparison": (([X > Y],), "SymPy expressions"),
    "function alone": ((lambda t: t,), "variables"),
    "no variables": (([X], 0), "positive number"),
    "names": (([X], ("x",)), "symbols"),
    "twice": (([X], (X, X)), "different"),
}


@pytest.mark.parametrize("case", MAPS)
def test_refused_maps(case):
    arguments, message = MAPS[case]
    with pytest.raises(ValueError, match=message):
        conservation_laws_of(*arguments)


def test_what_is_no_law_is_refused():
    with pytest.raises(ValueError, match="not conserved"):
        conservation_laws_of([X * Y], known=[X**2 + Y**2])
    assert conservation_laws_of([X * Y], known=[X**2 - Y**2]).complete


def test_one_symbol_is_a_map():
    assert conservation_laws_of(X).n_laws == 0
    assert monomial_chain(symbols_and_polynomials(X)[1]).n_parameters == 1
