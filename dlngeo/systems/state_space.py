"""Linear systems in state space, and what is done with their matrices."""

from typing import NamedTuple, Self

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array


class System(NamedTuple):
    """``ẋ = A x + B u`` or ``x_{t+1} = A x_t + B u_t``, and ``y = C x + D u``."""

    A: Array
    B: Array
    C: Array
    D: Array
    dt: float | bool | None

    @property
    def order(self) -> int:
        """Number of states."""
        return len(self.A)

    def projected(self, left: Array, right: Array) -> Self:
        """Return the system of the states ``left x``, in which ``x`` is ``right (left x)``."""
        return self._replace(A=left @ self.A @ right, B=left @ self.B, C=self.C @ right)

    def residualized(self, left: Array, right: Array) -> Self:
        r"""Return the projection that keeps the response at zero frequency.

        The resolvent ``F = (s_0 - A)^{-1}``, at ``s_0 = 0`` or in discrete time at one, is
        projected in place of ``A``,

        .. math:: (s_0 - A_r)^{-1} = T F T^{-1}, \quad B_r = (s_0 - A_r) T F B, \quad
                  C_r = C F T^{-1} (s_0 - A_r), \quad G_r(s_0) = D + C F B.
        """
        start = float(bool(self.dt))
        shifted = start * numpy.eye(self.order) - self.A
        solved = scipy.linalg.solve(shifted, numpy.concatenate([self.B, right], axis=1))
        driven, moved = numpy.split(solved, [self.B.shape[1]], axis=1)
        outputs = self.C @ moved
        back = scipy.linalg.solve(
            left @ moved, numpy.concatenate([left @ driven, numpy.eye(len(left))], axis=1)
        )
        B, inverse = numpy.split(back, [self.B.shape[1]], axis=1)
        return self._replace(
            A=start * numpy.eye(len(left)) - inverse,
            B=B,
            C=outputs @ inverse,
            D=self.D + self.C @ driven - outputs @ B,
        )

    def zero(self) -> Self:
        """Return the system without states and gain, which `parallel` adds nothing by."""
        n = self.order
        empty = self.projected(numpy.zeros((0, n)), numpy.zeros((n, 0)))
        return empty._replace(D=0 * self.D)

    def parallel(self, other: Self) -> Self:
        """Return both systems side by side, with the sum of their responses."""
        return self._replace(
            A=scipy.linalg.block_diag(self.A, other.A),
            B=numpy.concatenate([self.B, other.B]),
            C=numpy.concatenate([self.C, other.C], axis=1),
            D=self.D + other.D,
        )

    def series(self, other: Self) -> Self:
        """Return the system whose outputs are those of the other one, driven by this one's.

        The states of the other one come first, so that ``A`` stays upper triangular.
        """
        n, m = self.order, other.order
        return self._replace(
            A=numpy.block([[other.A, other.B @ self.C], [numpy.zeros((n, m)), self.A]]),
            B=numpy.concatenate([other.B @ self.D, self.B]),
            C=numpy.concatenate([other.C, other.D @ self.C], axis=1),
            D=other.D @ self.D,
        )
