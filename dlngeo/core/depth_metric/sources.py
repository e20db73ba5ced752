r"""Sources of curvature, and the solutions of the Jacobi matrices for them.

For tangent vectors ``X, Y`` in orthonormal coordinates the source is, layer by layer,

.. math:: B_p(X, Y) = (v_{p+1} ∘ X)^T (v_{p+1} ∘ Y) - (v_p ∘ Y) (v_p ∘ X)^T,

and the Gram matrices of null blocks in the first and in the last hidden layer. In a deep network it
is told by its coefficients instead: entry ``(l, j)`` is a sum of ``2r + 2`` geometric sequences,

.. math:: λ_lλ_j \, x_k^{N-1-p} (λ_lλ_j)^{p-1} / \sqrt{r_{kl} r_{kj}}, \quad x = λ^2,

the same read backwards, and the unit vectors of the two layers; their forms in ``T_lj^{-1}``, by
doubling, are all that curvature asks for.
"""

import functools
from typing import Protocol

from dlngeo.core.base.arrays import Array, eye, namespace, transpose
from dlngeo.core.depth_metric.weights import FiniteWeights, Weights
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.jacobi import jacobi_form


class Sources(Protocol):
    """What curvature asks of sources.

    Sources and solutions are arrays, shape=[..., s, r, r], and sums of their products are forms in
    ``T^{-1}``; to transpose both is to exchange the two sides.
    """

    def source(self, x: Blocks, y: Blocks) -> Array:
        """Return ``B(X, Y)`` of orthonormal coordinates."""

    def solve(self, source: Array) -> Array:
        """Return ``S = T^{-1} B``."""

    def pull(self, x: Blocks, solution: Array) -> Blocks:
        """Return the adjoint of ``Y ↦ B(X, Y)`` at ``S``, the vector with ``⟨S, B(X, Y)⟩``."""


def sources_of(weights: Weights) -> Sources:
    """Return the sources at a point: by layers, or as geometric sequences where these cost less."""
    if isinstance(weights, FiniteWeights) and weights.depth > 20 + 2 * weights.lam.shape[-1] ** 2:
        return _GeometricSources(weights)
    return _LayerSources(weights)


def hidden_unit(weights: Weights, layer: int) -> Array:
    """Return the unit vector of a hidden layer, shape=[N-1, 1, 1]."""
    size = weights.after.shape[-3]
    return eye(size, size, weights.root)[layer, :, None, None]


class _LayerSources:
    """Sources and solutions layer by layer, shape=[..., N-1, r, r]."""

    def __init__(self, weights: Weights):
        self.weights = weights

    def source(self, x: Blocks, y: Blocks) -> Array:
        after, before = self.weights.after, self.weights.before
        one, other = x.core[..., None, :, :], y.core[..., None, :, :]
        result = transpose(after * one) @ (after * other)
        result = result - (before * other) @ transpose(before * one)
        left, right = _null_products(x, y)
        if left is not None:
            result = result + hidden_unit(self.weights, -1) * left[..., None, :, :]
        if right is not None:
            result = result - hidden_unit(self.weights, 0) * right[..., None, :, :]
        return result

    def solve(self, source: Array) -> Array:
        return self.weights.solve(source)

    def pull(self, x: Blocks, solution: Array) -> Blocks:
        after, before, one = self.weights.after, self.weights.before, x.core[..., None, :, :]
        core = after * ((after * one) @ solution) - before * (solution @ (before * one))
        return _pulled(x, core.sum(axis=-3), solution[..., -1, :, :], solution[..., 0, :, :])


class _GeometricSources:
    """Sources as coefficients of geometric sequences, shape=[..., 2r + 2, r, r].

    In this order: of the sequences of each ``k``, of these read backwards, and of the unit vectors
    of the last and of the first hidden layer. The others are arrays of forms in ``T_lj^{-1}``.
    """

    def __init__(self, weights: FiniteWeights):
        self.weights = weights
        lam, root = weights.lam, weights.root
        self.products = lam[..., :, None] * lam[..., None, :]
        self.norms = self.products[..., None, :, :] / root[..., :, :, None] / root[..., :, None, :]

    @functools.cached_property
    def _forms(self) -> tuple[Array, Array, Array, Array]:
        """Of sequences, shape=[..., r, r, r, r], and of these with the last unit vector."""
        lam = self.weights.lam
        sides = lam[..., None, None, :, None], lam[..., None, None, None, :]
        square, product = lam[..., :, None, None] ** 2, self.products[..., None, None, :, :]
        own, other = square[..., :, None, :, :], square[..., None, :, :, :]
        depth = self.weights.depth
        along, end = jacobi_form(*sides, (own, product), (other, product), depth)
        across, start = jacobi_form(*sides, (product, own), (other, product), depth)
        return along, across, end[..., :, 0, :, :], start[..., :, 0, :, :]

    @functools.cached_property
    def _unit_forms(self) -> tuple[Array, Array]:
        """Of a unit vector with itself and with the other, shape=[..., r, r]."""
        core = self.weights.core
        return self.weights.null_second / core, self.products ** (self.weights.depth - 2) / core

    def source(self, x: Blocks, y: Blocks) -> Array:
        xp = namespace(x.core, y.core)
        along = self.norms * x.core[..., :, :, None] * y.core[..., :, None, :]
        back = self.norms * transpose(y.core)[..., :, :, None] * transpose(x.core)[..., :, None, :]
        left, right = _null_products(x, y)
        none = 0 * along[..., 0, :, :]
        units = xp.stack(
            [none if left is None else left + none, none if right is None else none - right], -3
        )
        return xp.concat([along, -back, units], axis=-3)

    def _parts(self, source: Array) -> tuple[Array, Array, Array, Array]:
        rank = self.weights.lam.shape[-1]
        along, back = source[..., :rank, :, :], source[..., rank : 2 * rank, :, :]
        return along, back, source[..., -2, :, :], source[..., -1, :, :]

    def solve(self, source: Array) -> Array:
        xp = namespace(source)
        along, back, last, first = self._parts(source)
        same, across, end, start = self._forms
        own, other = self._unit_forms

        def sums(form: Array, coefficients: Array) -> Array:
            return (form * coefficients[..., None, :, :, :]).sum(axis=-3)

        right, left = last[..., None, :, :], first[..., None, :, :]
        units = [
            (end * along + start * back).sum(axis=-3) + own * last + other * first,
            (start * along + end * back).sum(axis=-3) + other * last + own * first,
        ]
        return xp.concat(
            [
                sums(same, along) + sums(across, back) + end * right + start * left,
                sums(across, along) + sums(same, back) + start * right + end * left,
                xp.stack(units, -3),
            ],
            axis=-3,
        )

    def pull(self, x: Blocks, solution: Array) -> Blocks:
        along, back, last, first = self._parts(solution)
        core = (along * self.norms * x.core[..., :, :, None]).sum(axis=-2)
        turned = (back * self.norms * transpose(x.core)[..., :, None, :]).sum(axis=-1)
        return _pulled(x, core - transpose(turned), last, first)


def _null_products(x: Blocks, y: Blocks) -> tuple[Array | None, Array | None]:
    """Return the Gram matrices of the null blocks."""
    left = None if x.left_null is None else transpose(x.left_null) @ y.left_null
    right = None if x.right_null is None else y.right_null @ transpose(x.right_null)
    return left, right


def _pulled(x: Blocks, core: Array, last: Array, first: Array) -> Blocks:
    """Return what is pulled back, of which the null blocks see the outer hidden layers alone."""
    left, right = x.left_null, x.right_null
    return Blocks(
        core,
        None if left is None else left @ last,
        None if right is None else -first @ right,
    )
