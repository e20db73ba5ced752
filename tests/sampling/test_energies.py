"""Energies to sample from: values against definitions, gradients against differences."""

import pickle
from typing import Any

import autograd.numpy as anp
import jax.numpy as jnp
import numpy
import pytest
import torch

from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import end_to_end
from dlngeo.losses import Factorization, LinearRegression, MatrixCompletion
from dlngeo.sampling import DoubleWell, SpectralEnergy, SpectralExpression, WeightDecay, langevin
from dlngeo.sampling.langevin_dynamics import matrix_steps
from tests.core.libraries import ARRAYS
from tests.sampling.langevin_dynamics.runs import EVERY, STARTS, arrays_of

SIGMA = numpy.array([[2.0, 1.0, 1e-3], [1.0, 1.0, 1.0], [1e6, 3.0, 1e-6]])


def difference(energy, point):
    """Return the gradient by fourth-order differences, relative to each entry."""
    gradient = numpy.zeros_like(point)
    for place in numpy.ndindex(point.shape):
        unit = numpy.zeros_like(point)
        unit[place] = step = 1e-3 * abs(point[place])
        one, two = ((energy(point + k * unit) - energy(point - k * unit)).sum() for k in (1, 2))
        gradient[place] = (8 * one - two) / (12 * step)
    return gradient


@pytest.mark.parametrize(
    "energy",
    [
        *(WeightDecay(depth) for depth in (1, 2, 3, 10)),
        DoubleWell((0.5, 2.0), 3.0),
        SpectralExpression("N/2 * s**(2/N) + exp(-s) - log(s)", 3),
        DoubleWell((0.0, 2.0), 1.0) + 0.3 * WeightDecay(3) * 2.0,
    ],
)
def test_gradients_on_singular_values(energy):
    for sigma in SIGMA[:2, None], numpy.array([[[30.0, 3.0, 0.02]]]):
        found = energy.gradient(sigma)
        assert found.shape == sigma.shape
        numpy.testing.assert_allclose(found, difference(energy, sigma), rtol=1e-6, atol=1e-6)
    assert energy(SIGMA).shape == (3,)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_squared_norm_is_that_of_balanced_factors(depth):
    matrices = numpy.random.default_rng(0).normal(size=(5, 3, 4))
    layers = factorize(matrices, depth)
    norm = sum((layer**2).sum(axis=(-2, -1)) for layer in layers) / 2
    sigma = numpy.linalg.svd(matrices, compute_uv=False)
    numpy.testing.assert_allclose(WeightDecay(depth)(sigma), norm, rtol=1e-12)
    loss = Factorization(numpy.ones((3, 4)))
    decayed = loss + 0.7 * WeightDecay(depth)
    numpy.testing.assert_allclose(decayed(end_to_end(layers)), loss(matrices) + 0.7 * norm)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 3)])
def test_gradients_on_matrices(depth, shape):
    energy = WeightDecay(depth) * 0.3 + Factorization(numpy.ones(shape)) + 0.4 * WeightDecay(depth)
    matrices = numpy.random.default_rng(1).normal(size=(4, *shape))
    matrices[0] = numpy.eye(*shape) + 1e-3  # almost repeated
    found = energy.gradient(matrices)
    numpy.testing.assert_allclose(found, difference(energy, matrices), rtol=1e-6, atol=1e-6)


def test_gradient_at_a_lower_rank_is_that_along_the_rank():
    rng = numpy.random.default_rng(2)
    left, right = rng.normal(size=(3, 1)), rng.normal(size=(4, 1))
    energy = Factorization(numpy.zeros((3, 4))) + WeightDecay(3)
    matrix = (left @ right.T)[None]
    # E = ½ s² + 3/2 s^{2/3} of s = |left| |right|.
    size = numpy.linalg.norm(matrix)
    expected = matrix * (1 + size ** (-4 / 3))
    numpy.testing.assert_allclose(energy.gradient(matrix), expected, rtol=1e-12)
    # Round-off in the values that are zero is no norm: its tenth root is not small.
    energy = Factorization(matrix[0]) + WeightDecay(10)
    numpy.testing.assert_allclose(energy(matrix), 5 * size**0.2, rtol=1e-12)


def test_wells_and_barrier():
    energy = DoubleWell((0.5, 2.0), 3.0)
    assert energy(numpy.array([0.5, 2.0])) == 0
    assert energy(numpy.array([1.25, 2.0])) == pytest.approx(3.0)
    numpy.testing.assert_allclose(energy.gradient(numpy.array([0.5, 2.0, 1.25])), 0, atol=1e-14)


@pytest.mark.parametrize(
    ("formula", "function"),
    [
        ("s", lambda s: s),
        (" -s + +2*s ", lambda s: s),
        ("N/2 * s**(2/N)", lambda s: 2 * s**0.5),
        ("sqrt(s) / (1 + s)**2 - pi", lambda s: numpy.sqrt(s) / (1 + s) ** 2 - numpy.pi),
        ("1.5e0*s**-1 + tanh(s)*cos(2)", lambda s: 1.5 / s + numpy.tanh(s) * numpy.cos(2)),
        ("exp(-(s - 1)**2) + log(s)", lambda s: numpy.exp(-((s - 1) ** 2)) + numpy.log(s)),
        ("sin(s) + tan(s) + atan(s)", lambda s: numpy.sin(s) + numpy.tan(s) + numpy.arctan(s)),
        ("sinh(s) * cosh(s)", lambda s: numpy.sinh(s) * numpy.cosh(s)),
    ],
)
def test_formulas(formula, function):
    energy = pickle.loads(pickle.dumps(SpectralExpression(formula, 4)))
    sigma = SIGMA[:2]
    numpy.testing.assert_allclose(energy(sigma), function(sigma).sum(axis=-1), rtol=1e-12)
    numpy.testing.assert_allclose(
        energy.gradient(sigma), difference(energy, sigma[:, None])[:, 0], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("__import__('os').getcwd()", "__import__"),
        ("s.real", "holds 's.real'"),
        ("(lambda: s)()", "lambda"),
        ("[s for s in s]", "for s"),
        ("s if s else s", "if s else"),
        ("abs(s)", r"holds 'abs\(s\)'"),
        ("exp(s, s)", "exp"),
        ("exp(x=s)", "exp"),
        ("x * s", "holds 'x'"),
        ("s^2", r"\*\*"),
        ("s % 2", "s % 2"),
        ("True * s", "True"),
        ("'s'", "numbers"),
        ("2 + N", "does not depend on s"),
        ("s - s", "does not depend on s"),
        ("1/0 + s", "1/0"),
        ("s / (1 - 1)", "1 - 1"),
        ("log(0) + s", "log"),
        ("sqrt(-1) * s", "sqrt"),
        ("9**9**9**9 + s", r"9\*\*9\*\*9"),
        ("10**400 * s", "10"),
        ("1e999 * s", "1e999"),
        ("exp(exp(exp(9))) * s", "exp"),
        ("", "cannot be read"),
        ("(s", "never closed"),
        ("s; s", "cannot be read"),
        ("\0s", "cannot be read"),
        ("s + " * 400 + "s", "at most 1000 characters"),
        ("-" * 990 + "s", "nested too deeply"),
        ("exp(" * 150 + "s" + ")" * 150, "nested too deeply"),
    ],
)
def test_what_a_formula_cannot_hold(formula, message):
    with pytest.raises(ValueError, match=message):
        SpectralExpression(formula, 3)


def test_wells_of_every_scale():
    """Their squares may leave the floating-point range; the energy is the same in all units."""
    sigma = numpy.array([0.7, 1.3])
    expected, slope = (
        DoubleWell((0.5, 2.0), 3.0)(sigma),
        DoubleWell((0.5, 2.0), 3.0).gradient(sigma),
    )
    for unit in (1e-200, 1e200):
        energy = DoubleWell((0.5 * unit, 2.0 * unit), 3.0)
        numpy.testing.assert_allclose(energy(unit * sigma), expected, rtol=1e-12)
        numpy.testing.assert_allclose(unit * energy.gradient(unit * sigma), slope, rtol=1e-12)


COMMON: dict[str, Any] = {"beta": 4.0, "step_size": 0.02, "n_steps": 4, "rng": 0, "save_every": 1}
TARGET = numpy.array([[1.0, 0.3], [-0.2, 0.5]])
SEEN = {"numpy": numpy.ndarray, "torch": torch.Tensor, "jax": jnp.ndarray}


def library_energies(seen):
    """Return one energy in every library, which checks and notes what it gets."""

    def of_numpy(x):
        return anp.sum(anp.cos(x - TARGET) + x**4 / 4, axis=(-2, -1))

    def of_torch(x):
        seen.append(type(x))
        target = torch.tensor(TARGET)
        return torch.sum(torch.cos(x - target) + x**4 / 4, dim=(-2, -1))

    def of_jax(x):
        return jnp.sum(jnp.cos(x - TARGET) + x**4 / 4, axis=(-2, -1))

    return {"numpy": of_numpy, "torch": of_torch, "jax": of_jax}


def slope(x):
    return -numpy.sin(x - TARGET) + x**3


def assert_close_runs(one, two):
    first, second = arrays_of(one), arrays_of(two)
    assert first.keys() == second.keys()
    for name, values in first.items():
        numpy.testing.assert_allclose(values, second[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("scheme", "start"),
    [("metropolis", "square"), ("euler-maruyama", "wide"), ("second-order", "stacked")],
)
@pytest.mark.parametrize("library", SEEN)
@pytest.mark.parametrize("is_own", [False, True])
def test_gradients_are_found(scheme, start, library, is_own):
    """Of functions of every library, from initial states of NumPy or of their own."""
    initial, shape = STARTS[start]
    seen: list[type] = []
    energies = library_energies(seen)
    settings = {**COMMON, **shape, "scheme": scheme}
    expected = langevin(slope, initial, energy=energies["numpy"], **settings)
    own = ARRAYS[library](initial) if is_own else initial
    found = langevin(energy=energies[library], initial=own, **settings)
    assert_close_runs(found, expected)
    assert set(seen) <= {torch.Tensor, numpy.ndarray}
    if library == "torch":
        assert seen[-1] is torch.Tensor


def test_functions_of_single_precision():
    """As parameters of PyTorch are by default, which stand in products with nothing else."""
    initial, shape = STARTS["square"]
    weight = torch.tensor(TARGET, dtype=torch.float32)
    settings = {**COMMON, **shape, "save_every": None}
    found = langevin(initial=initial, energy=lambda x: ((x @ weight) ** 2).sum((1, 2)), **settings)
    expected = langevin(lambda x: 2 * x @ TARGET @ TARGET.T, initial, **settings)
    assert found.observables is not None
    assert expected.observables is not None
    numpy.testing.assert_allclose(found.observables, expected.observables, atol=1e-6)


def test_functions_of_singular_values_are_differentiated():
    initial, shape = STARTS["values"]
    energy = {"energy": lambda s: anp.sum(s**3 - s, axis=-1), **COMMON, **shape}
    assert_close_runs(
        langevin(initial=initial, **energy),
        langevin(lambda s: 3 * s**2 - 1, initial, **energy),
    )


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "rank one", "wide", "layers"])
def test_spectral_energies_of_matrices(scheme, start):
    """From the frames of the states, as by a decomposition of the matrices."""
    initial, shape = STARTS[start]
    spectral = WeightDecay(3) + DoubleWell((0.2, 1.0), 0.5)
    rank = 1 if start == "rank one" else 2

    def values(x):
        return numpy.linalg.svd(x, full_matrices=False)

    def energy(x):
        return spectral(values(x)[1][..., :rank])

    def gradient(x):
        left, sigma, right = values(x)
        slopes = spectral.gradient(sigma[..., :rank])
        return left[..., :rank] * slopes[..., None, :] @ right[..., :rank, :]

    settings = {**COMMON, **shape, "scheme": scheme}
    expected = langevin(gradient, initial, energy=energy, **settings)
    assert_close_runs(langevin(initial=initial, energy=spectral, **settings), expected)


@EVERY
@pytest.mark.parametrize("start", ["square", "wide", "layers"])
def test_sums_of_energies_of_matrices_and_of_values(scheme, start):
    initial, shape = STARTS[start]
    rows, columns = (4, 2) if start == "layers" else (2, 2)
    rng = numpy.random.default_rng(0)
    observed = rng.normal(size=(rows, columns))
    for loss in (
        Factorization(observed),
        MatrixCompletion(observed, observed > 0),
        LinearRegression(rng.normal(size=(7, columns)), rng.normal(size=(7, rows))),
    ):
        energy = loss + 0.3 * WeightDecay(3)
        settings = {**COMMON, **shape, "scheme": scheme}
        found = langevin(initial=initial, energy=energy, **settings)
        expected = langevin(energy.gradient, initial, energy=energy.__call__, **settings)
        assert_close_runs(found, expected)


@pytest.mark.parametrize("loss", [None, Factorization(numpy.zeros((2, 2)))])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_slopes_of_small_values_do_not_drown_the_others(loss, is_compiled, monkeypatch):
    """The slope of ``σ = 1e-15`` is 1e12, and would leave 1e-4 of round-off in a matrix."""
    if not is_compiled:
        monkeypatch.setattr(matrix_steps, "COMPILED_UP_TO", 0)
    energy = WeightDecay(10) if loss is None else loss + WeightDecay(10)
    lam, step = numpy.array([[1.0, 0.032]]), 1e-3
    turn = numpy.array([[0.8, 0.6], [-0.6, 0.8]])
    matrix = turn @ numpy.diag(lam[0] ** 10)
    result = langevin(
        energy=energy, initial=matrix[None], depth=10, beta=1e300, step_size=step, n_steps=1
    )
    expected = (lam - step * (lam if loss is None else lam + lam**19)) ** 10
    numpy.testing.assert_allclose(result.singular_values, expected, rtol=1e-9)


class Scalar(SpectralEnergy):
    """One that does not keep its chains apart."""

    def __call__(self, sigma):
        return sigma.sum()

    def gradient(self, sigma):
        return numpy.ones_like(sigma)


def test_what_is_no_energy_of_the_chains():
    matrices, shape = STARTS["square"]
    values, _ = STARTS["values"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"initial": matrices}, "give the energy"),
        ({"energy": WeightDecay(3)}, "initial states are missing"),
        ({"initial": matrices, "energy": 5}, "energy must be a function"),
        ({"initial": matrices, "energy_gradient": "x"}, "energy_gradient must be a function"),
        ({"initial": values, "energy": Factorization(TARGET) + WeightDecay(3)}, "need a spectral"),
        (
            {"initial": matrices, "energy": WeightDecay(3), "energy_gradient": slope},
            "leave out energy_gradient",
        ),
        ({"initial": matrices, "energy": lambda x: numpy.linalg.norm(x)}, "takes all chains at"),
        (
            {"initial": matrices, "energy": lambda x: numpy.array([float(a.sum()) for a in x])},
            "write it with autograd.numpy",
        ),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            langevin(**arguments, **COMMON, **shape)
    with pytest.raises(ValueError, match="the spectral energy takes all chains at once"):
        langevin(initial=matrices, energy=Scalar(), **COMMON, **shape)
    with pytest.raises(ZeroDivisionError):
        langevin(initial=matrices, energy=lambda x: 1 / 0, **COMMON, **shape)
    with pytest.raises(TypeError, match="unsupported"):
        Factorization(TARGET) + "weight decay"  # type: ignore[operator]
    with pytest.raises(ValueError, match="factor of an energy"):
        numpy.nan * WeightDecay(3)
