r"""Linear neural ordinary differential equations, the residual networks of infinite depth.

The residual network ``Z_k = (I + A_k/L) Z_{k-1}``, ``Z_0 = I``, tends for ``L → ∞`` to

.. math:: \frac{dZ}{ds} = A(s) Z, \quad Z(0) = I, \quad X = Z(1).

Training conserves ``S' - [A, A^T]`` at each ``s``, where ``S = A + A^T``. If that is ``c(s) I``,
then ``X X^T = \exp(S(1) - \int_0^1 s\,c\,ds)``, and ``X`` moves as in the depth metric of infinite
depth, whatever ``c`` is:

.. math:: \dot X = -\int_0^1 (XX^T)^{1-s} ∇E(X) (X^TX)^s ds,

the flow ``learning_flow(loss, X, depth=math.inf, t_final=t)``. Training of the residual network
is that of its factors, ``learning_flow(loss, residual_factors(A), t_final=t / L)``: with the norm
``(1/L) Σ ‖A_k‖²`` of the coefficients, time runs ``L`` times as fast as with ``Σ ‖W_k‖²``.

The error of a finite ``L`` falls like ``1/L`` ([MPG25]; THEORY 6).

References
----------
[MPG25]; THEORY 6.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array, eye, namespace, symmetric_part, transpose
from dlngeo.core.base.checks import finite, host_array, in_range, integer, real_array
from dlngeo.core.base.functions import ReturningLike, function
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.depth_metric.weights import unit_quadrature
from dlngeo.core.networks.factors import Factors, matrices_of
from dlngeo.core.networks.frames import check_positive

Offset = float | Callable[[Array], Array]
"""The number ``c``, or a smooth function ``c(s)`` of an array of ``s``."""


@dataclass(frozen=True, eq=False)
class LinearODE:
    r"""Relaxed balanced coefficients of a linear neural ODE, in closed form.

    .. math:: A(s) = Q \left( \tfrac12 (S_0 + C(s) I) + K \right) Q^T, \quad
              Z(s) = Q \exp\left( \tfrac12 \left( s S_0 + \int_0^s C \, I \right) \right), \quad
              Q = e^{sK}, \; C(s) = \int_0^s c

    with a skew ``K`` and a symmetric ``S_0``. Made by `linear_ode`.

    Attributes
    ----------
    rotation : array, shape=[d, d]
        ``K``.
    stretch : array, shape=[d, d]
        ``S_0``.
    offset : float or callable
        ``c``.

    References
    ----------
    [MPG25]; own derivation; THEORY 6.
    """

    rotation: Array
    stretch: Array
    offset: Offset

    def coefficients(self, s: Array) -> Array:
        """Return ``A(s)``, shape=[...] to [..., d, d]."""
        s = host_array(s, "s")
        turn = self._turn(s)
        shift = self._integral(s, 0)[..., None, None] * numpy.eye(len(self.stretch))
        coefficients = turn @ ((self.stretch + shift) / 2 + self.rotation) @ transpose(turn)
        return in_range(coefficients, "a coefficient")

    def flow(self, s: Array) -> Array:
        """Return ``Z(s)``, shape=[...] to [..., d, d]."""
        s = host_array(s, "s")
        values, frame = numpy.linalg.eigh(self.stretch)
        exponents = (s[..., None] * values + self._integral(s, 1)[..., None]) / 2
        with numpy.errstate(over="ignore", invalid="ignore"):
            ends = self._turn(s) @ (frame * numpy.exp(exponents)[..., None, :]) @ transpose(frame)
        return in_range(ends, "the flow")

    def layers(self, n_layers: int) -> Array:
        """Return the coefficients ``A_k = A((k - ½)/L)`` of a residual network.

        Parameters
        ----------
        n_layers : int
            ``L``.

        Returns
        -------
        coefficients : array, shape=[L, d, d]

        Raises
        ------
        ValueError
            If the number is no positive integer.
        """
        n_layers = integer(n_layers, "n_layers")
        return self.coefficients((numpy.arange(n_layers) + 0.5) / n_layers)

    def _turn(self, s: Array) -> Array:
        """Return ``e^{sK}``."""
        angles, frame = numpy.linalg.eigh(1j * self.rotation)
        phases = numpy.exp(-1j * s[..., None] * angles)
        return ((frame * phases[..., None, :]) @ frame.conj().T).real

    def _integral(self, s: Array, power: int) -> Array:
        """Return ``∫_0^s (s - u)^power c(u) du``."""
        if not callable(self.offset):
            return self.offset * s ** (power + 1) / (power + 1)
        terms = [w * (1 - t) ** power * self.offset(s * t) for t, w in unit_quadrature()]
        return s ** (power + 1) * sum(terms)


def linear_ode(matrix: Array, offset: Offset = 0.0) -> LinearODE:
    r"""Return a relaxed balanced linear neural ODE with a given end matrix.

    With the polar decomposition ``X = e^K (X^TX)^{1/2}`` it is the one with

    .. math:: S_0 = \log(X^TX) - \int_0^1 (1 - s)\,c\,ds\,I

    that turns evenly. All others differ by rotations ``R(s)``, ``R(0) = R(1) = I``, of the
    layers, and by full turns of ``K``.

    Parameters
    ----------
    matrix : array-like, shape=[d, d]
        ``X``, of positive determinant.
    offset : float or callable
        ``c``, a number or a smooth function of ``s`` in ``[0, 1]``, of arrays to arrays.

    Returns
    -------
    ode : LinearODE

    Raises
    ------
    ValueError
        If the matrix is not square or its determinant not positive, which no ``Z(1)`` has; or if
        the offset is neither a number nor a callable, or not finite.

    References
    ----------
    [MPG25]; own derivation; THEORY 6.
    """
    matrix = host_array(matrix, "the matrix")
    if matrix.ndim != 2:
        raise ValueError(f"give one matrix, got shape {matrix.shape}.")
    rank = check_observable(matrix, math.inf)
    left, sigma, right = numpy.linalg.svd(matrix)
    check_positive(sigma, rank)
    if numpy.linalg.det(left @ right) < 0:
        raise ValueError(
            "a linear neural ODE joins the identity to matrices of positive determinant only, but "
            "det X < 0: change the sign of one row, or take a network of finite depth."
        )
    if not callable(offset):
        offset = finite(offset, "the offset")
    else:
        offset = ReturningLike(function(offset, "the offset"), "the offset")
        if not numpy.isfinite(offset(numpy.linspace(0, 1, 101))).all():
            raise ValueError("the offset must be finite for all s from 0 to 1.")
    stretch = (transpose(right) * 2 * numpy.log(sigma)) @ right
    bare = LinearODE(_rotation_logarithm(left @ right), stretch, offset)
    shift = bare._integral(numpy.ones(()), 1)
    return LinearODE(bare.rotation, stretch - shift * numpy.eye(rank), offset)


def _rotation_logarithm(rotation: Array) -> Array:
    """Return a skew logarithm of least norm; eigenvalues -1 turn in pairs."""
    blocks, frame = scipy.linalg.schur(rotation, output="real")
    angles = numpy.zeros_like(rotation)
    half_turns, i = [], 0
    while i < len(rotation):
        is_pair = i + 1 < len(rotation) and blocks[i + 1, i] != 0
        if is_pair:
            angles[i + 1, i] = math.atan2(blocks[i + 1, i], blocks[i, i])
        elif blocks[i, i] < 0:
            half_turns.append(i)
        i += 2 if is_pair else 1
    angles[half_turns[1::2], half_turns[::2]] = math.pi
    return frame @ (angles - angles.T) @ frame.T


def residual_factors(coefficients: Factors) -> Array:
    """Return the factors ``W_k = I + A_k/L`` of a residual network.

    Parameters
    ----------
    coefficients : array-like, shape=[..., L, d, d], or sequence of shape=[..., d, d]
        ``A_1, ..., A_L``; of trained factors they are ``L (W_k - I)``.

    Returns
    -------
    factors : array-like, shape=[..., L, d, d]

    Raises
    ------
    ValueError
        If the coefficients are not square matrices, one a layer.
    """
    coefficients = _check_coefficients(coefficients)
    n_layers, d = coefficients.shape[-3], coefficients.shape[-1]
    return eye(d, d, coefficients) + coefficients / n_layers


def residual_law(coefficients: Factors) -> Array:
    r"""Return what training of a residual network conserves, ``L² μ_k`` of its factors.

    .. math:: L (S_{k+1} - S_k) + A_{k+1}^T A_{k+1} - A_k A_k^T, \quad S_k = A_k + A_k^T,

    which tends to ``S' - [A, A^T]`` for ``L → ∞``, and to ``c(s) I`` from a relaxed balanced
    start.

    Parameters
    ----------
    coefficients : array-like, shape=[..., L, d, d], or sequence of shape=[..., d, d]
        ``A_1, ..., A_L``.

    Returns
    -------
    law : array-like, shape=[..., L-1, d, d]
        At ``s = k/L``, ``k = 1, ..., L-1``.

    Raises
    ------
    ValueError
        If the coefficients are not square matrices, one a layer.
    """
    coefficients = _check_coefficients(coefficients)
    before, after = coefficients[..., :-1, :, :], coefficients[..., 1:, :, :]
    slope = 2 * coefficients.shape[-3] * symmetric_part(after - before)
    return in_range(slope + transpose(after) @ after - before @ transpose(before), "the law")


def _check_coefficients(coefficients: Factors) -> Array:
    if isinstance(coefficients, (list, tuple)):
        layers = matrices_of(coefficients, "coefficient")
        shapes = [tuple(layer.shape) for layer in layers]
        if len(set(shapes)) != 1:
            raise ValueError(f"expected one or more coefficients of one shape, got {shapes}.")
        coefficients = namespace(*layers).stack(list(layers), -3)
    coefficients = real_array(coefficients, "the array of coefficients")
    shape = tuple(coefficients.shape)
    if len(shape) < 3 or shape[-1] != shape[-2] or shape[-3] < 1:
        raise ValueError(f"the coefficients must have shape [..., L, d, d], got {shape}.")
    return coefficients
