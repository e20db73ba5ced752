"""Factors of Gramians, and the network ``X = L_oᵀ L_c`` that stands for the Hankel operator."""

from typing import NamedTuple

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import in_range
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.systems.stability import ROUND_OFF, Modes


class GramianFactors(NamedTuple):
    """Factors of the Gramians, shape=[n, n]: ``inputs`` is ``L_c``, and ``outputs`` ``L_o``."""

    inputs: Array
    outputs: Array


def gramian_factors(modes: Modes) -> GramianFactors:
    r"""Return the factors ``L_c`` and ``L_o`` of the Gramians of the stable system.

    In discrete time the Cayley transform ``A ↦ (A + I)^{-1}(A - I)``,
    ``B ↦ √2 (A + I)^{-1} B``, ``C ↦ √2 C (A + I)^{-1}`` gives a system in continuous time with
    the same Gramians.
    """
    system = modes.stable
    triangle, vectors = modes.schur
    inputs = vectors.conj().T @ system.B
    outputs = system.C @ vectors
    if system.dt:
        identity = numpy.eye(len(triangle))
        shifted = triangle + identity
        inputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, inputs)
        outputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, outputs.T, trans="T").T
        triangle = scipy.linalg.solve_triangular(shifted, triangle - identity)
    # The adjoint equation is upper triangular with the states in reverse order.
    adjoint = _lyapunov_factor(triangle.conj().T[::-1, ::-1], outputs.conj().T[::-1])[::-1]
    return GramianFactors(
        _real_factor(vectors @ _lyapunov_factor(triangle, inputs)),
        _real_factor(vectors @ adjoint),
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

    def projections(self, order: int) -> tuple[Array, Array]:
        r"""Return ``T`` and ``T^{-1}`` of the balanced states of the largest values, by rows."""
        n = len(self.frames.left)
        left, sigma, right = self.frames
        frames = SingularFrames(left[:, :order], sigma[:order], right[:, :order])
        first, last = factors_over(frames, (n, order, n))
        to = last.T @ self.factors.outputs.T / frames.sigma[:, None]
        return to, self.factors.inputs @ first.T / frames.sigma


def hankel_of(modes: Modes) -> Hankel:
    """Return the network of the stable system."""
    factors = gramian_factors(modes)
    n = modes.stable.order
    frames = singular_frames(factors.outputs.T @ factors.inputs, n)
    # Like X, this sum of norms of rows does not depend on the units of the states.
    norms = [numpy.linalg.norm(factor, axis=1) for factor in factors]
    return Hankel(factors, frames, n * ROUND_OFF * float(norms[0] @ norms[1]))
