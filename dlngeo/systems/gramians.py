"""Gramians of linear systems, their factors, and Hankel singular values.

References
----------
[HM94]; THEORY 5.
"""

from typing import Any, NamedTuple

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import in_range
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.systems.state_space import StateSpace, System, is_state_space, system_of

ROUND_OFF = 10 * float(numpy.finfo(float).eps)
"""Errors of eigenvalues and, for each state, of Hankel singular values, in their units."""


def controllability_gramian(
    A: Array | StateSpace, B: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the controllability Gramian of a stable system.

    .. math:: W_c = \int_0^∞ e^{At} B B^T e^{A^T t} \, dt \quad \text{or} \quad
              W_c = \sum_{t=0}^∞ A^t B B^T (A^T)^t

    Parameters
    ----------
    A, B, dt : array-like and float, bool or None; or control.StateSpace

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.
    """
    no_outputs = None if is_state_space(A) else numpy.zeros((0, *numpy.shape(A)[-1:]))
    factor = _gramian_factors(system_of(A, B, no_outputs, None, dt)).inputs
    return factor @ factor.T


def observability_gramian(
    A: Array | StateSpace, C: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the observability Gramian of a stable system.

    .. math:: W_o = \int_0^∞ e^{A^T t} C^T C e^{At} \, dt \quad \text{or} \quad
              W_o = \sum_{t=0}^∞ (A^T)^t C^T C A^t

    Parameters
    ----------
    A, C, dt : array-like and float, bool or None; or control.StateSpace

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.
    """
    no_inputs = None if is_state_space(A) else numpy.zeros((*numpy.shape(A)[:1], 0))
    factor = _gramian_factors(system_of(A, no_inputs, C, None, dt)).outputs
    return factor @ factor.T


def hankel_singular_values(
    A: Array | StateSpace,
    B: Array | None = None,
    C: Array | None = None,
    dt: float | bool | None = None,
) -> Array:
    r"""Return the singular values of the Hankel operator of a stable system.

    .. math:: σ_k = σ_k(L_o^T L_c) = \sqrt{λ_k(W_c W_o)}

    Parameters
    ----------
    A, B, C, dt : array-like and float, bool or None; or control.StateSpace

    Returns
    -------
    hankel_singular_values : array, shape=[n]
        In descending order. States that are not controllable or not observable count as
        zeros, to round-off.
    """
    return hankel_of(system_of(A, B, C, None, dt)).frames.sigma


def unstable_eigenvalue(
    triangle: Array, vectors: Array, sizes: Array, dt: float | bool | None
) -> Any:
    """Return the eigenvalue that grows most of those not stable to round-off, or None.

    Round-off of an eigenvalue is that of the entries which its eigenvectors see: a slow pole beside
    a fast one has its own, where they are not coupled.

    Parameters
    ----------
    triangle, vectors : array, shape=[n, n]
        Schur's form of the matrix.
    sizes : array, shape=[n, n]
        Of the entries of the matrix, or of those that cancelled in them.
    """
    if triangle.size == 0:
        return None
    eigenvalues, left, right = scipy.linalg.eig(triangle, left=True)
    if dt:
        excess = numpy.abs(eigenvalues) - 1 + ROUND_OFF
    else:
        seen = numpy.maximum(abs(vectors @ left), abs(vectors @ right))
        excess = eigenvalues.real + ROUND_OFF * (seen * (sizes @ seen)).sum(axis=0)
    unstable = eigenvalues[excess >= 0]
    if not unstable.size:
        return None
    return unstable[numpy.argmax(abs(unstable) if dt else unstable.real)]


class GramianFactors(NamedTuple):
    """Factors of the Gramians, shape=[n, n]: ``inputs`` is ``L_c``, and ``outputs`` ``L_o``."""

    inputs: Array
    outputs: Array


def _gramian_factors(system: System) -> GramianFactors:
    r"""Return the factors ``L_c`` and ``L_o`` of the Gramians.

    In discrete time the Cayley transform ``A ↦ (A + I)^{-1}(A - I)``,
    ``B ↦ √2 (A + I)^{-1} B``, ``C ↦ √2 C (A + I)^{-1}`` gives a system in continuous time with
    the same Gramians.
    """
    # States in units of their own, powers of 2: otherwise the Schur form loses small ones.
    scaled, (units, _) = scipy.linalg.matrix_balance(system.A, permute=False, separate=True)
    triangle, vectors = scipy.linalg.schur(scaled, output="complex")
    unstable = unstable_eigenvalue(triangle, vectors, abs(scaled), system.dt)
    if unstable is not None:
        expected = "modulus below 1" if system.dt else "negative real part"
        raise ValueError(
            f"the system is not stable: A has the eigenvalue {unstable:.4g}, and needs eigenvalues "
            f"of {expected} (dt is {system.dt!r}). Stabilise it, or split off what is not stable."
        )
    inputs = vectors.conj().T @ (system.B / units[:, None])
    outputs = (system.C * units) @ vectors
    if system.dt:
        identity = numpy.eye(len(triangle))
        shifted = triangle + identity
        inputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, inputs)
        outputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, outputs.T, trans="T").T
        triangle = scipy.linalg.solve_triangular(shifted, triangle - identity)
    # The adjoint equation is upper triangular with the states in reverse order.
    adjoint = _lyapunov_factor(triangle.conj().T[::-1, ::-1], outputs.conj().T[::-1])[::-1]
    return GramianFactors(
        units[:, None] * _real_factor(vectors @ _lyapunov_factor(triangle, inputs)),
        _real_factor(vectors @ adjoint) / units[:, None],
    )


def _lyapunov_factor(triangle: Array, inputs: Array) -> Array:
    r"""Solve ``S L Lᴴ + L Lᴴ Sᴴ + B Bᴴ = 0`` for an upper triangular ``L``.

    With the last rows and columns ``S = [[S', s], [0, λ]]``, ``B = [B'; bᴴ]``,
    ``L = [[L', l], [0, ρ]]``, and ``u = b/‖b‖``, ``α = √(-2 Re λ)``, the blocks are

    .. math:: ρ = ‖b‖/α, \quad (S' + \barλ I) l = -ρ s - α B' u,

    and ``L'`` solves the equation of ``S'`` and ``B' - α l uᴴ``. (Hammarling.)
    """
    n = len(triangle)
    factor = numpy.zeros((n, n), dtype=complex)
    inputs = inputs.copy()
    diagonal = numpy.diag(triangle)
    for k in reversed(range(n)):
        norm = numpy.linalg.norm(inputs[k])
        if norm == 0:
            continue
        direction = inputs[k].conj() / norm
        alpha = (-2 * diagonal[k].real) ** 0.5
        factor[k, k] = norm / alpha
        if k == 0:
            break
        block = numpy.array(triangle[:k, :k], order="F")  # as LAPACK takes it, without a copy
        numpy.fill_diagonal(block, diagonal[:k] + diagonal[k].conj())
        source = factor[k, k] * triangle[:k, k] + alpha * inputs[:k] @ direction
        column = -scipy.linalg.solve_triangular(block, source, check_finite=False)
        factor[:k, k] = column
        inputs[:k] -= alpha * numpy.outer(column, direction.conj())
    return factor


def _real_factor(factor: Array) -> Array:
    """Return a real square factor ``L`` of the real part of ``F Fᴴ``."""
    rows = in_range(numpy.concatenate([factor.real, factor.imag], axis=1), "a Gramian")
    return scipy.linalg.qr(rows.T, mode="economic")[1].T


class Hankel(NamedTuple):
    """The network ``X = W_2 W_1``: its factors, its singular frames, and their round-off."""

    factors: GramianFactors
    frames: SingularFrames
    noise: float

    @property
    def minimal_order(self) -> int:
        """Number of Hankel singular values above round-off."""
        return int(numpy.sum(self.frames.sigma > self.noise))

    @property
    def error_bounds(self) -> Array:
        """Twice the sum of the distinct values from ``r`` on, for ``r = 0, ..., n``."""
        sigma = self.frames.sigma
        # The index of the next value that is smaller by more than round-off.
        following = numpy.searchsorted(-sigma, self.noise - sigma, side="right")
        bounds = numpy.zeros(len(sigma) + 1)
        for r in reversed(range(len(sigma))):
            bounds[r] = 2 * sigma[r] + bounds[following[r]]
        return bounds


def hankel_of(system: System) -> Hankel:
    factors = _gramian_factors(system)
    n = len(system.A)
    frames = singular_frames(factors.outputs.T @ factors.inputs, n)
    # Like X, this sum of norms of rows does not depend on the units of the states.
    norms = [numpy.linalg.norm(factor, axis=1) for factor in factors]
    return Hankel(factors, frames, n * ROUND_OFF * float(norms[0] @ norms[1]))
