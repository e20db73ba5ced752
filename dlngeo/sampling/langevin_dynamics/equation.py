"""What the Langevin equation is about: an energy, a network, temperatures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames, tangent_at
from dlngeo.sampling.langevin_dynamics.states import is_finite


@dataclass(frozen=True)
class Equation:
    r"""Riemannian Langevin equation of a deep linear network.

    On end-to-end matrices ``dX = -grad F_β dt + dB^{β/κ}`` with the free energy
    ``F_β = E - S/β`` and the Brownian motion of generator ``(κ/β) Δ_g``; its stationary law is
    ``e^{-(β/κ) F_β} dvol_g``.

    Attributes
    ----------
    gradient : callable
        ``∇E`` of matrices, shape=[chains, d_N, d_0] to the same; of a spectral energy the
        derivatives ``∂E/∂σ``, shape=[chains, r] to the same, of values in descending order.
    widths : tuple of int
        ``(d_0, ..., d_N)``.
    rank : int
    beta : float, or array, shape=[chains]
        Inverse temperature ``β``, of all chains or of each.
    kappa : float
        Ratio ``κ`` of the temperatures of horizontal and of vertical noise.
    is_spectral : bool
        Whether the energy is a function of singular values.
    energy : callable, optional
        ``E``, to shape=[chains].
    """

    gradient: Callable[[numpy.ndarray], Any]
    widths: tuple[int, ...]
    rank: int
    beta: Any
    kappa: float = 1.0
    is_spectral: bool = False
    energy: Callable[[numpy.ndarray], Any] | None = None

    @property
    def depth(self) -> int:
        """Number of factors."""
        return len(self.widths) - 1

    def temperature(self, n_axes: int = 1) -> Any:
        """Return ``1/β``, to multiply arrays of chains that have so many axes."""
        if isinstance(self.beta, numpy.ndarray):
            return 1 / self.beta.reshape(-1, *[1] * (n_axes - 1))
        return 1 / self.beta

    @property
    def is_open(self) -> bool:
        """Whether the matrices of the rank are an open set, square and invertible.

        Only then is the boundary a wall between two components, of either sign of ``det``.
        """
        return self.widths[0] == self.widths[-1] == self.rank

    @property
    def least(self) -> float:
        """Value below which no ``λ`` is let fall: there kernels of the depth metric underflow."""
        return 1e-300 ** (1 / (2 * self.depth))

    def point(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return what the energy is a function of: the matrices, or values in descending order."""
        if self.is_spectral:
            return numpy.take_along_axis(matrix.sigma, _descending(matrix.sigma), -1)
        return matrix.with_values(matrix.sigma)

    def covector(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the Euclidean gradient at matrices in frames.

        shape=[chains, d_N, d_0], or of a spectral energy ``∂E/∂σ``, shape=[chains, r], in the order
        of the frames: as a matrix it would lose the small entries beside the large ones to
        round-off.
        """
        slope = self.slope(self.point(matrix))
        if not self.is_spectral:
            return slope
        place = numpy.argsort(_descending(matrix.sigma), axis=-1)
        return numpy.take_along_axis(slope, place, -1)

    def blocks(self, covector: numpy.ndarray, matrix: SingularFrames) -> Blocks:
        """Return what `covector` gave, split in the frames."""
        if not self.is_spectral:
            return split(covector, matrix.left, matrix.right)
        return tangent_at(
            matrix,
            diagonal_matrix(covector),
            numpy.zeros_like(matrix.left),
            numpy.zeros_like(transpose(matrix.right)),
        )

    def values(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the energy at matrices in frames, shape=[chains]; it may be infinite."""
        assert self.energy is not None
        point = self.point(matrix)
        return _of_shape(self.energy(point), point.shape[:1], "energy")

    def slope(self, point: numpy.ndarray) -> numpy.ndarray:
        """Return the energy's gradient at matrices or singular values, of their shape.

        Where it is not finite is for the kernel to see: a chain does not go there.

        Raises
        ------
        ValueError
            If it is of another shape.
        """
        return _of_shape(self.gradient(point), point.shape, "energy_gradient")

    def initial_covector(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the `covector` at initial matrices.

        Raises
        ------
        ValueError
            If it is not finite somewhere.
        """
        covector = self.covector(matrix)
        lost = numpy.flatnonzero(~is_finite(covector))
        if len(lost):
            raise ValueError(
                f"the energy's gradient is not finite at the initial state of chain {lost[0]}, and "
                f"{len(lost) - 1} others of {len(covector)}: start elsewhere, or correct it."
            )
        return covector


def _descending(values: numpy.ndarray) -> numpy.ndarray:
    return numpy.argsort(-values, axis=-1)


def _of_shape(values: Any, shape: tuple[int, ...], name: str) -> numpy.ndarray:
    # A copy, as it is kept while the caller may write the next one to the same place.
    array = numpy.array(numpy.asarray(values, dtype=float), order="C")
    if array.shape != shape:
        raise ValueError(
            f"{name} takes all chains at once: expected a result of shape {shape}, got "
            f"{array.shape}."
        )
    return array
