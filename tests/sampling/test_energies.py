"""Energies to sample from: values against definitions, gradients against differences."""

import pickle

import numpy
import pytest

from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import end_to_end
from dlngeo.sampling.energies import DoubleWell, SpectralExpression, SquaredNorm, WithWeightDecay
from dlngeo.solvers.losses import Factorization

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
        *(SquaredNorm(depth) for depth in (1, 2, 3, 10)),
        DoubleWell((0.5, 2.0), 3.0),
        SpectralExpression("N/2 * s**(2/N) + exp(-s) - log(s)", 3),
        WithWeightDecay(DoubleWell((0.0, 2.0), 1.0), 0.3, 3, 3, True),
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
    numpy.testing.assert_allclose(SquaredNorm(depth)(sigma), norm, rtol=1e-12)
    loss = Factorization(numpy.ones((3, 4)))
    decayed = WithWeightDecay(loss, 0.7, depth, 3, False)
    numpy.testing.assert_allclose(decayed(end_to_end(layers)), loss(matrices) + 0.7 * norm)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 3)])
def test_gradients_on_matrices(depth, shape):
    energy = WithWeightDecay(Factorization(numpy.ones(shape)), 0.7, depth, 2, False)
    matrices = numpy.random.default_rng(1).normal(size=(4, *shape))
    matrices[0] = numpy.eye(*shape) + 1e-3  # almost repeated
    found = energy.gradient(matrices)
    numpy.testing.assert_allclose(found, difference(energy, matrices), rtol=1e-6, atol=1e-6)


def test_gradient_at_a_lower_rank_is_that_along_the_rank():
    rng = numpy.random.default_rng(2)
    left, right = rng.normal(size=(3, 1)), rng.normal(size=(4, 1))
    energy = WithWeightDecay(Factorization(numpy.zeros((3, 4))), 1.0, 3, 1, False)
    matrix = (left @ right.T)[None]
    # E = ½ s² + 3/2 s^{2/3} of s = |left| |right|.
    size = numpy.linalg.norm(matrix)
    expected = matrix * (1 + size ** (-4 / 3))
    numpy.testing.assert_allclose(energy.gradient(matrix), expected, rtol=1e-12)
    # Round-off in the values that are zero is no norm: its tenth root is not small.
    energy = WithWeightDecay(Factorization(matrix[0]), 1.0, 10, 1, False)
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
    ],
)
def test_what_a_formula_cannot_hold(formula, message):
    with pytest.raises(ValueError, match=message):
        SpectralExpression(formula, 3)
