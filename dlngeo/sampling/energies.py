r"""Energies to sample from: of singular values, of matrices, and sums of both.

A spectral energy is a function ``E(σ)`` of singular values, shape=[..., r]: ``energy(σ)`` is the
value, shape=[...], and ``energy.gradient(σ)`` its derivatives, shape=[..., r]. Samplers hold the
singular frames of their states, and so need no decomposition for it; small values keep their
digits, and their slopes do not drown the others. The losses of `dlngeo.losses` are energies
of end-to-end matrices.

>>> import numpy
>>> from dlngeo.sampling import WeightDecay
>>> from dlngeo.solvers import Factorization
>>> energy = Factorization(numpy.eye(2)) + 0.1 * WeightDecay(depth=3)
>>> float(round(energy(numpy.eye(2)), 12))
0.3
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, round_off
from dlngeo.core.base.checks import finite, float_array, integer, real_array, several, shown
from dlngeo.core.base.functions import optional_function
from dlngeo.core.networks.factors import is_infinite, matrix_shape
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.numerics.derivatives import Differentiated
from dlngeo.sampling.formulas import parse


class SpectralEnergy(abc.ABC):
    """An energy of singular values, in descending order; such are added, and multiplied by numbers.

    A sum with an energy of matrices, which has a method ``gradient``, is an `EnergySum`.
    """

    @abc.abstractmethod
    def __call__(self, sigma: Array) -> Array:
        """Return ``E``, shape=[...], of singular values, shape=[..., r]."""

    @abc.abstractmethod
    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``, shape=[..., r]."""

    def __add__(self, other: Any) -> Any:
        if isinstance(other, SpectralEnergy):
            return _Combination(((1.0, self), (1.0, other)))
        return EnergySum(other, self) if hasattr(other, "gradient") else NotImplemented

    __radd__ = __add__

    def __mul__(self, factor: float) -> "SpectralEnergy":
        return _Combination(((finite(factor, "the factor of an energy"), self),))

    __rmul__ = __mul__


@dataclass(frozen=True)
class _Combination(SpectralEnergy):
    """A linear combination of spectral energies, given by factors and energies."""

    terms: tuple[tuple[float, SpectralEnergy], ...]

    def __call__(self, sigma: Array) -> Array:
        return sum(factor * energy(sigma) for factor, energy in self.terms)

    def gradient(self, sigma: Array) -> Array:
        return sum(factor * energy.gradient(sigma) for factor, energy in self.terms)


def _values(sigma: Array) -> Array:
    """Return an array of singular values; chains that have left may hold NaN."""
    array = float_array(sigma, "the array of singular values")
    if array.ndim:
        return array
    raise ValueError("expected singular values, shape [..., r], got a number: give an array.")


@dataclass(frozen=True)
class WeightDecay(SpectralEnergy):
    r"""Weight decay: the squared norm of the parameters, as balanced factors have it.

    .. math:: E = \tfrac12 \|W\|^2 = \tfrac{N}{2} \sum_k σ_k^{2/N} = \tfrac{N}{2} \sum_k λ_k^2

    Smooth in ``λ = σ^{1/N}``, up to matrices of lower rank.

    Parameters
    ----------
    depth : int
        ``N``.

    References
    ----------
    [MY25]; THEORY 4.
    """

    depth: int

    def __post_init__(self) -> None:
        integer(self.depth, "the depth of weight decay")

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self.depth / 2 * (_values(sigma) ** (2 / self.depth)).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        return _values(sigma) ** (2 / self.depth - 1)


@dataclass(frozen=True)
class DoubleWell(SpectralEnergy):
    r"""Two wells for every singular value.

    .. math:: E = b \sum_k \Big(\frac{4 (σ_k - w_1)(σ_k - w_2)}{(w_2 - w_1)^2}\Big)^2

    Parameters
    ----------
    wells : tuple of float
        ``w_1`` and ``w_2``, the minima, where ``E`` is zero.
    barrier : float
        ``b``, the energy of one value halfway.
    """

    wells: tuple[float, float]
    barrier: float

    def __post_init__(self) -> None:
        wells = several(self.wells, "wells", finite, least=2)
        finite(self.barrier, "barrier")
        if len(wells) > 2 or wells[0] == wells[1]:
            raise ValueError(f"expected two wells at different places, got {self.wells}.")

    def _bend(self, sigma: Array) -> Array:
        first, second = self.wells
        half, sigma = (second - first) / 2, _values(sigma)
        return (sigma - first) / half * ((sigma - second) / half)

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self.barrier * (self._bend(sigma) ** 2).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        (first, second), sigma = self.wells, _values(sigma)
        half = (second - first) / 2
        slope = ((sigma - first) / half + (sigma - second) / half) / half
        return 2 * self.barrier * self._bend(sigma) * slope


@dataclass(frozen=True)
class SpectralExpression(SpectralEnergy):
    r"""A formula for one singular value ``s``, in which ``N`` is the depth, if that is finite.

    .. math:: E = \sum_k f(σ_k)

    It is read by the grammar of Python's expressions, of which numbers, ``pi``, ``+ - * / **``,
    brackets and the functions of `dlngeo.sampling.formulas.FUNCTIONS` serve; nothing is executed.
    SymPy differentiates it.

    Parameters
    ----------
    formula : str
        ``f``, for example ``"N/2 * s**(2/N) + (s - 1)**2"``.
    depth : int or inf

    Raises
    ------
    ValueError
        If it holds anything else, or does not depend on ``s``.
    """

    formula: str
    depth: float

    def __post_init__(self) -> None:
        if not is_infinite(self.depth):
            integer(self.depth, "the depth")
        self._functions  # noqa: B018  # that it can be read

    def __getstate__(self) -> dict[str, Any]:
        # Compiled functions cannot be sent to other processes; they are made anew.
        return {"formula": self.formula, "depth": self.depth}

    @cached_property
    def _functions(self) -> tuple[Callable, Callable]:
        import sympy

        s = sympy.Symbol("s", positive=True)
        names = {"s": s, "pi": sympy.pi}
        if self.depth != math.inf:
            names["N"] = sympy.Integer(self.depth)
        try:
            expression = parse(self.formula, names)
            slope = sympy.diff(expression, s)
            functions = sympy.lambdify(s, expression, "numpy"), sympy.lambdify(s, slope, "numpy")
        except RecursionError as error:
            raise ValueError(
                f"the formula {shown(self.formula)} is nested too deeply: write it with fewer "
                "brackets and signs in one another."
            ) from error
        if s not in expression.free_symbols:
            raise ValueError(
                f"the formula {shown(self.formula)} does not depend on s: nothing acts."
            )
        return functions

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self._functions[0](_values(sigma)).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        sigma = _values(sigma)
        return numpy.broadcast_to(self._functions[1](sigma), sigma.shape)


@dataclass(frozen=True, eq=False)
class EnergySum:
    """An energy of end-to-end matrices, and one of their singular values.

    Parameters
    ----------
    energy : object
        ``energy(X)``, shape=[..., m, n] to [...], and ``energy.gradient(X)``.
    spectral : SpectralEnergy
    """

    energy: Any
    spectral: SpectralEnergy

    def __call__(self, matrix: Array) -> Array:
        """Return the value at matrices; singular values below round-off are zero."""
        return self.energy(matrix) + self.spectral(_known_frames(matrix)[0].sigma)

    def gradient(self, matrix: Array) -> Array:
        """Return the gradient at matrices, along their rank if that is lower to round-off."""
        frames, is_known = _known_frames(matrix)
        slope = self.spectral.gradient(numpy.where(is_known, frames.sigma, 1.0))
        return self.energy.gradient(matrix) + frames.with_values(numpy.where(is_known, slope, 0.0))

    def __add__(self, other: Any) -> "EnergySum":
        if isinstance(other, SpectralEnergy):
            return EnergySum(self.energy, self.spectral + other)
        return NotImplemented

    __radd__ = __add__


def _known_frames(matrix: Array) -> tuple[SingularFrames, Array]:
    """Return singular frames, with zeros for values that are round-off, and which are not."""
    matrix = real_array(matrix, "the matrix")
    matrix_shape(matrix)
    frames = singular_frames(matrix, min(matrix.shape[-2:]))
    bound = max(matrix.shape[-2:]) * round_off(matrix) * frames.sigma[..., :1]
    is_known = frames.sigma > bound
    return frames._replace(sigma=numpy.where(is_known, frames.sigma, 0.0)), is_known


class Terms(NamedTuple):
    """An energy as samplers take it.

    Attributes
    ----------
    value : callable, or None
        Of what chains consist of, matrices or singular values: shape=[chains, ...] to [chains].
    gradient : callable, or None
        Its gradient, of the shape of its argument.
    spectral : SpectralEnergy, or None
        A further energy, of the singular values of matrices.
    """

    value: Callable[[Array], Any] | None
    gradient: Callable[[Array], Any] | None
    spectral: SpectralEnergy | None

    def values(self, points: Array) -> Array:
        """Return the energies of matrices or singular values, shape=[chains]."""
        total = numpy.zeros(len(points))
        if self.value is not None:
            total += self.value(points)
        if self.spectral is not None:
            total += self.spectral(_known_frames(points)[0].sigma)
        return total


_UNTRACED = (
    "autograd could not differentiate the energy: write it with autograd.numpy in place of numpy, "
    "with PyTorch or JAX, or give its gradient."
)


def terms_of(energy: Any, gradient: Any, points: numpy.ndarray, like: Array) -> Terms:
    """Return the terms of an energy, whose gradient may have to be found.

    Parameters
    ----------
    energy : callable, or None
        A `SpectralEnergy`, an `EnergySum`, an object with a method ``gradient``, or any function,
        which is differentiated.
    gradient : callable, or None
        As it was given.
    points : array, shape=[chains, m, n], or shape=[chains, r]
        Initial matrices or singular values.
    like : array
        In whose library the user gave them.

    Raises
    ------
    ValueError
        If there is neither, or the energy is not one of such points.
    """
    if energy is None and gradient is None:
        raise ValueError("give the energy (energy=), or its gradient (energy_gradient).")
    optional_function(energy, "energy")
    optional_function(gradient, "energy_gradient")
    is_of_values = points.ndim == 2
    if isinstance(energy, EnergySum) and is_of_values:
        raise ValueError("chains of singular values need a spectral energy, got one of matrices.")
    if gradient is not None:
        if isinstance(energy, SpectralEnergy | EnergySum) and not is_of_values:
            raise ValueError(
                f"{type(energy).__name__} has its own derivatives: leave out energy_gradient."
            )
        return Terms(energy, gradient, None)
    if isinstance(energy, EnergySum):
        return Terms(energy.energy, energy.energy.gradient, energy.spectral)
    if isinstance(energy, SpectralEnergy) and not is_of_values:
        return Terms(None, None, energy)
    if not hasattr(energy, "gradient"):
        energy = Differentiated(energy, _UNTRACED, like)
    return Terms(energy, energy.gradient, None)
