r"""The weights of the depth metric at a point: divided differences at its singular values.

With ``x = σ^{2/N} = λ^2`` the weights are divided differences of the function ``x^N``, and at
infinite depth, where the metric is scaled by ``N``, those of ``exp`` at ``2 log σ``. All are sums
of positive terms. Null spaces are singular values zero.

====================== ============================ =========================================
symbol                 name                         shape
====================== ============================ =========================================
``r_kl``, ``r_k0``     ``core``, ``null``           [..., r, r], [..., r]
``√r_kl``, ``√r_k0``   ``root``, ``null_root``      [..., r, r], [..., r]
``H_klm``, ``H_kl0``   ``second``, ``null_second``  [..., r, r, r], [..., r, r]
``D^i_kl``, ``d^i_m``  ``terms``                    pairs of [..., r, r] and [..., r]
``v_{p+1}``, ``v_p``   ``after``, ``before``        [..., N-1, r, r]
``T_kl^{-1}``          ``solve``                    [..., N-1, r, r] to the same
====================== ============================ =========================================

The first differences are the metric, ``r_kl = Σ_{a+b=N-1} x_k^a x_l^b``. The second ones are its
Christoffel symbols, ``H_klm = Σ_{a+b+c=N-2} x_k^a x_l^b x_m^c = Σ_i D^i_kl d^i_m``. In orthonormal
coordinates ``e_kl = Z_kl / √r_kl`` the horizontal lift of a vector ``Z`` has the cores ``v_p ∘ e``,
``v_p = λ_k^{N-p} λ_l^{p-1} / √r_kl``, and curvature solves the Jacobi matrices ``T_kl`` of
`dlngeo.core.networks.jacobi`. At infinite depth layers become functions on ``[0, 1]``, ``v(s) =
σ_k^{1-s} σ_l^s / √r_kl``, which are held by their values at nodes.

References
----------
[MY25] Thm 4; [CMV22]; THEORY 2, 3 (own derivation).
"""

import functools
import math
from collections.abc import Iterator

import array_api_compat
import numpy

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.jacobi import (
    depth_kernel,
    depth_kernels,
    jacobi_solve,
    log_log_mean_kernel,
)
from dlngeo.core.networks.power_differences import second_difference

# Functions on [0, 1] for the network of infinite depth: values at Gauss–Legendre nodes, and
# solutions by Galerkin's method, exact to round-off for singular values up to e^30 apart.
_NODES = 64
_MODES = 60
# Nodes of the integral that the terms of the second differences are.
_TERMS = 48


def weights_of(sigma: Array, depth: float) -> "Weights":
    """Return the weights of the metric of a depth.

    Parameters
    ----------
    sigma : array-like, shape=[..., r]
        Singular values of the end-to-end matrix, in any order.
    depth : int or inf
    """
    if depth == math.inf:
        return LimitWeights(sigma)
    return FiniteWeights(sigma ** (1 / depth), int(depth))


def index_degree(depth: float) -> float:
    """Return the degree of ``A_{N,X}`` in ``X``, ``2 (N-1)/N``."""
    return 2.0 if depth == math.inf else 2 * (depth - 1) / depth


def flat_values(sigma: Array, depth: float) -> Array:
    """Return ``√N σ^{1/N}``, or ``log σ``: in these the metric of diagonal matrices is flat.

    For a finite depth values may have signs.
    """
    xp = namespace(sigma)
    if depth == math.inf:
        return xp.log(sigma)
    return depth**0.5 * xp.sign(sigma) * abs(sigma) ** (1 / depth)


def values_of_flat(flat: Array, depth: float) -> Array:
    """Return the singular values of which `flat_values` are given."""
    xp = namespace(flat)
    if depth == math.inf:
        return xp.exp(flat)
    return xp.sign(flat) * (abs(flat) / depth**0.5) ** depth


class Weights:
    """Weights of the depth metric at a point; each is found when it is first asked for.

    The table above lists what they share; ``sigma`` are the singular values ``σ`` of the
    end-to-end matrix, shape=[..., r].
    """

    sigma: Array
    core: Array
    null: Array
    root: Array
    null_root: Array
    second: Array
    null_second: Array
    after: Array
    before: Array

    n_terms: int

    def terms(self) -> Iterator[tuple[Array, Array]]:
        """Yield ``D^i_kl`` and ``d^i_m`` of ``H_klm = Σ_i D^i_kl d^i_m``, all positive."""
        raise NotImplementedError

    def contract(self, one: Array, other: Array) -> Array:
        """Return ``Σ_m H_kml a_km b_ml``: by terms where these are few beside the rank."""
        xp = namespace(one, other)
        if self.n_terms > 8 + self.sigma.shape[-1]:
            return xp.einsum("...kml,...km,...ml->...kl", self.second, one, other)
        total = 0 * (one + other)
        for difference, power in self.terms():
            total = total + difference * ((one * power[..., None, :]) @ other)
        return total

    def solve(self, source: Array) -> Array:
        """Solve ``T_kl x = b`` for all pairs, in the hidden layers."""
        raise NotImplementedError

    def raise_index(self, covector: Blocks) -> Blocks:
        """Return ``A_{N,X}`` of a covector; a part between the null spaces drops."""
        return covector.scaled(self.core, self.null)

    def lower_index(self, vector: Blocks) -> Blocks:
        """Return ``A_{N,X}^{-1}`` of a vector; a part between the null spaces drops."""
        return vector.scaled(1 / self.core, 1 / self.null)

    def coordinates(self, vector: Blocks) -> Blocks:
        """Return ``A_{N,X}^{-1/2}`` of a vector, its orthonormal coordinates."""
        return vector.scaled(1 / self.root, 1 / self.null_root)

    def vector(self, coordinates: Blocks) -> Blocks:
        """Return the vector that has the orthonormal coordinates."""
        return coordinates.scaled(self.root, self.null_root)


class FiniteWeights(Weights):
    """Weights of the depth metric of a finite depth.

    Parameters
    ----------
    lam : array-like, shape=[..., r]
        ``λ = σ^{1/N}``, the singular values of every balanced factor.
    depth : int
    """

    def __init__(self, lam: Array, depth: int):
        self.lam = lam
        self.depth = depth
        self.n_terms = depth - 1

    @functools.cached_property
    def sigma(self) -> Array:
        return self.lam**self.depth

    @functools.cached_property
    def core(self) -> Array:
        return depth_kernel(self.lam, self.lam, self.depth)

    @functools.cached_property
    def null(self) -> Array:
        return self.lam ** (2 * (self.depth - 1))

    @functools.cached_property
    def root(self) -> Array:
        return self.core**0.5

    @functools.cached_property
    def null_root(self) -> Array:
        return self.lam ** (self.depth - 1)

    @functools.cached_property
    def second(self) -> Array:
        return second_difference(self.lam**2, self.depth)

    @functools.cached_property
    def null_second(self) -> Array:
        return depth_kernel(self.lam, self.lam, self.depth - 1) if self.depth > 1 else 0 * self.core

    def terms(self) -> Iterator[tuple[Array, Array]]:
        square = self.lam**2
        power = namespace(square).ones_like(square)
        for kernel in depth_kernels(self.lam, self.lam, self.depth)[-2::-1]:
            yield kernel, power
            power = power * square

    @functools.cached_property
    def _lifts(self) -> Array:
        lam = self.lam[..., None, :]
        p = _constant(numpy.arange(self.depth)[:, None], lam)
        lifts = (lam ** (self.depth - 1 - p))[..., :, None] * (lam**p)[..., None, :]
        return lifts / self.root[..., None, :, :]

    @functools.cached_property
    def after(self) -> Array:
        return self._lifts[..., 1:, :, :]

    @functools.cached_property
    def before(self) -> Array:
        return self._lifts[..., :-1, :, :]

    def solve(self, source: Array) -> Array:
        return jacobi_solve(self.lam, self.lam, source)


class LimitWeights(Weights):
    """Weights of the depth metric of infinite depth, scaled by ``N``.

    The matrices are square of full rank: there are no null blocks, and their weights are one.

    Parameters
    ----------
    sigma : array-like, shape=[..., r]
        Positive singular values of the end-to-end matrix.
    """

    n_terms = _TERMS

    def __init__(self, sigma: Array):
        self.sigma = sigma

    @functools.cached_property
    def _log(self) -> Array:
        return namespace(self.sigma).log(self.sigma)

    @functools.cached_property
    def _log_core(self) -> Array:
        return log_log_mean_kernel(self.sigma, self.sigma)

    @functools.cached_property
    def core(self) -> Array:
        return namespace(self.sigma).exp(self._log_core)

    @functools.cached_property
    def root(self) -> Array:
        return namespace(self.sigma).exp(self._log_core / 2)

    @functools.cached_property
    def null(self) -> Array:
        return namespace(self.sigma).ones_like(self.sigma)

    @functools.cached_property
    def null_root(self) -> Array:
        return self.null

    @functools.cached_property
    def second(self) -> Array:
        return _exponential_differences(2 * self._log)

    @functools.cached_property
    def null_second(self) -> Array:
        return 0 * self.core

    def terms(self) -> Iterator[tuple[Array, Array]]:
        r"""``H_klm = \int_0^1 \frac{x_k^{1-t} - x_l^{1-t}}{\log x_k - \log x_l} x_m^t dt``."""
        xp = namespace(self.sigma)
        row, column = self._log[..., :, None], self._log[..., None, :]
        gap = 2 * xp.abs(row - column)
        larger = row + column + gap / 2
        # Where two values are equal, the quotient has its limit 1 - t to round-off.
        gap = xp.where(gap == 0, 1e-30 + gap, gap)
        for node, weight in unit_quadrature():
            rest = 1 - node
            difference = -xp.expm1(-rest * gap) / gap
            yield weight * difference * xp.exp(rest * larger), self.sigma ** (2 * node)

    @functools.cached_property
    def after(self) -> Array:
        xp, log = namespace(self.sigma), self._log
        s = _constant(_limit_modes()[0], log)[:, None, None]
        along = (1 - s) * log[..., None, :, None] + s * log[..., None, None, :]
        return xp.exp(along - self._log_core[..., None, :, :] / 2)

    @functools.cached_property
    def before(self) -> Array:
        return self.after

    @functools.cached_property
    def _modes(self) -> tuple[Array, Array]:
        """Modes ``ψ_m``, and their energies ``1 + x² mass_m`` under ``-d²/ds² + x²``."""
        log = self._log
        _, modes, masses = (_constant(array, log) for array in _limit_modes())
        squares = (log[..., :, None] - log[..., None, :]) ** 2
        return modes, 1 + squares[..., None, :, :] * masses[:, None, None]

    def solve(self, source: Array) -> Array:
        """Solve ``-u'' + log(σ_k/σ_l)² u = b`` with ``u(0) = u(1) = 0``.

        The solution is that at the nodes, times their weights: sums of its products with
        functions are integrals.
        """
        xp, size = namespace(source), source.shape[-1]
        modes, energies = self._modes
        pairs = xp.reshape(source, (*source.shape[:-2], size * size))
        amplitudes = xp.reshape(transpose(modes) @ pairs, (*source.shape[:-3], _MODES, size, size))
        pairs = xp.reshape(amplitudes / energies, (*source.shape[:-3], _MODES, size * size))
        return xp.reshape(modes @ pairs, source.shape)


def _constant(array: numpy.ndarray, like: Array) -> Array:
    xp = namespace(like)
    return xp.asarray(array, dtype=like.dtype, device=array_api_compat.device(like))


@functools.cache
def unit_quadrature() -> list[tuple[float, float]]:
    """Return nodes and weights of integrals over ``[0, 1]``."""
    nodes, weights = numpy.polynomial.legendre.leggauss(_TERMS)
    return [(float(t + 1) / 2, float(w) / 2) for t, w in zip(nodes, weights, strict=True)]


@functools.cache
def _limit_modes() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    r"""Return nodes, weighted modes and their masses, for `LimitWeights.solve`.

    The functions ``φ_n(s) = √(2n+1) ∫_0^s P_n(2t-1) dt = (P_{n+1} - P_{n-1}) / (2√(2n+1))``
    vanish at both ends and have orthonormal derivatives; the modes diagonalise their masses.
    """
    legendre = numpy.polynomial.legendre
    points, weights = legendre.leggauss(_NODES)
    values = legendre.legvander(points, _MODES + 1)
    norms = 2 * numpy.sqrt(2 * numpy.arange(1, _MODES + 1) + 1)
    functions = (values[:, 2:] - values[:, :-2]) / norms
    weighted = weights[:, None] / 2 * functions
    masses, vectors = numpy.linalg.eigh(functions.T @ weighted)
    return (points + 1) / 2, weighted @ vectors, masses


def _exponential_differences(a: Array) -> Array:
    """Return the second divided differences of ``exp`` at ``a_k, a_l, a_m``."""
    xp = namespace(a)
    triples = xp.broadcast_arrays(
        a[..., :, None, None], a[..., None, :, None], a[..., None, None, :]
    )
    ordered = xp.sort(xp.stack(triples, -1), axis=-1)
    low, middle, high = (ordered[..., i] for i in range(3))
    center, gap = (low + high) / 2, high - low
    is_close = gap < 1
    # Σ_n h_n / (n + 2)! with the complete homogeneous polynomials h_n of what is left.
    half, between = xp.clip(gap, 0.0, 1.0) / 2, xp.clip(middle - center, -0.5, 0.5)
    by_one = by_two = by_three = xp.ones_like(center)
    near, factor = 0.0, 0.5
    for n in range(16):
        near = near + factor * by_three
        by_one = by_one * half
        by_two = by_two * between + by_one
        by_three = -by_three * half + by_two
        factor = factor / (n + 3)
    far = _exponential_slope(middle, high) - _exponential_slope(low, middle)
    return xp.where(is_close, xp.exp(center) * near, far / xp.where(is_close, 1.0, gap))


def _exponential_slope(a: Array, b: Array) -> Array:
    """Return the divided differences ``(e^b - e^a) / (b - a)``."""
    xp = namespace(a)
    gap = b - a
    safe = xp.where(gap == 0, 1.0, gap)
    return xp.exp(a) * xp.where(gap == 0, 1.0, xp.expm1(safe) / safe)
