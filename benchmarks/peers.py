"""Peers of the package's geodesics: what a competent user writes in NumPy and SciPy.

Geodesics of the depth metric as a Hamiltonian system, integrated by `scipy.integrate`, and
the logarithm by shooting. Square full rank and finite depth, the ground that both cover.
"""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import root

MAX_EVALUATIONS = 5000


def _transpose(array: np.ndarray) -> np.ndarray:
    return array.swapaxes(-1, -2)


class HamiltonianIntegrator:
    r"""Hamilton's equations of ``H(X, P) = ½ tr(Pᵀ A_{N,X}(P))``, by DOP853.

    In the singular frames of ``X``, with ``z = Uᵀ P V``, ``s = λ²`` and the kernels
    ``r^n_kl = Σ_{p=1}^{n} s_k^{n-p} s_l^{p-1}``,

    .. math:: \dot X = U (r^N ∘ z) V^T, \quad
              \dot P = -U \Big( \frac{1}{r^N} ∘ \sum_{e=0}^{N-2} r^{N-1-e} ∘
              [Σ z^T s^e z + z s^e z^T Σ] \Big) V^T.

    Parameters
    ----------
    depth : int
    rtol : float
        Relative tolerance; the absolute one is ``rtol`` times the largest entry.
    """

    def __init__(self, depth: int, rtol: float):
        self.depth, self.rtol = depth, rtol

    def _kernels(self, s: np.ndarray) -> list[np.ndarray]:
        """Return ``r^1, ..., r^N`` by ``r^n_kl = s_k r^{n-1}_kl + s_l^{n-1}``."""
        rows, columns = s[..., :, None], s[..., None, :]
        kernels = [np.ones(s.shape + s.shape[-1:])]
        power = np.ones_like(columns)
        for _ in range(self.depth - 1):
            power = power * columns
            kernels.append(rows * kernels[-1] + power)
        return kernels

    def _rates(self, x: np.ndarray, momentum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``Ẋ`` and ``Ṗ``."""
        u, sigma, vt = np.linalg.svd(x)
        s = sigma ** (2 / self.depth)
        kernels = self._kernels(s)
        z = _transpose(u) @ momentum @ _transpose(vt)
        zt, force, weight = _transpose(z), np.zeros_like(z), np.ones_like(s)
        for e in range(self.depth - 1):
            by_rows = sigma[..., :, None] * (zt @ (weight[..., None] * z))
            by_columns = z @ (weight[..., None] * zt) * sigma[..., None, :]
            force += kernels[self.depth - 2 - e] * (by_rows + by_columns)
            weight = weight * s
        return u @ (kernels[-1] * z) @ vt, -u @ (force / kernels[-1]) @ vt

    def exp(self, matrix: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Return the end points at time 1; a stack of them is one system.

        Raises
        ------
        RuntimeError
            If the geodesic comes so close to the boundary that the steps vanish.
        """
        u, sigma, vt = np.linalg.svd(matrix)
        kernel = self._kernels(sigma ** (2 / self.depth))[-1]
        momentum = u @ (_transpose(u) @ velocity @ _transpose(vt) / kernel) @ vt
        start = np.stack([matrix, momentum])
        shape, scale = start.shape, np.abs(start).max()

        budget = iter(range(MAX_EVALUATIONS))

        def rates(time: float, state: np.ndarray) -> np.ndarray:
            if next(budget, None) is None:
                raise RuntimeError(f"steps vanish near time {time:.4f}: the boundary is near.")
            return np.stack(self._rates(*state.reshape(shape))).ravel()

        atol = self.rtol * scale
        flow = solve_ivp(rates, (0, 1), start.ravel(), "DOP853", rtol=self.rtol, atol=atol)
        return flow.y[:, -1].reshape(shape)[0]

    def log(self, matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
        """Return the velocity whose geodesic ends at a point, shot from the chord."""

        def miss(velocity: np.ndarray) -> np.ndarray:
            return (self.exp(matrix, velocity.reshape(matrix.shape)) - point).ravel()

        found = root(miss, (point - matrix).ravel(), method="hybr", tol=10 * self.rtol)
        if not found.success:
            raise RuntimeError(f"shooting has not converged: {found.message}")
        return found.x.reshape(matrix.shape)
