r"""The depth metric on factored matrices of low rank, at cost ``O((m + n) r²)``.

A point is a matrix ``X = U diag(σ) Vᵀ`` in its singular frames, a tangent vector its three
blocks there,

.. math:: Z = U M V^T + U_⊥ V^T + U V_⊥^T, \quad U^T U_⊥ = 0, \; V^T V_⊥ = 0;

no ``m × n`` matrix is formed. In blocks the metric is diagonal, with the weights ``r_kl`` of
the core and ``λ_k^{2(N-1)}`` of the null blocks. Double precision, one point at a time.
"""

import math
from typing import Any

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import round_off, transpose
from dlngeo.core.depth_metric.connection import adjoint_in_frames, symbols_in_frames
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.geodesics import exponential, logarithm
from dlngeo.core.geodesics.charts.chart import compress, extend, restrict
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames, singular_frames, tangent_at


def tangent_blocks(frames: SingularFrames, matrix: Any) -> Blocks:
    """Return the blocks of a matrix, of which products with thin matrices are all that is used.

    Parameters
    ----------
    frames : SingularFrames
    matrix : array, sparse array or linear operator, shape=[m, n]
    """
    left, _, right = frames
    columns, rows = matrix @ right, matrix.T @ left
    core = left.T @ columns
    return tangent_at(frames, core, columns - left @ core, (rows - right @ core.T).T)


def project_blocks(frames: SingularFrames, blocks: Blocks, to: SingularFrames) -> Blocks:
    """Project a tangent vector at one point on the tangent space at another."""
    turn = transpose(frames.left) @ to.left, transpose(frames.right) @ to.right
    columns = frames.left @ (blocks.core @ turn[1])
    rows = frames.right @ (blocks.core.T @ turn[0])
    if blocks.right_null is not None:
        columns = columns + frames.left @ (blocks.right_null @ to.right)
        rows = rows + blocks.right_null.T @ turn[0]
    if blocks.left_null is not None:
        columns = columns + blocks.left_null @ turn[1]
        rows = rows + frames.right @ (blocks.left_null.T @ to.left)
    core = to.left.T @ columns
    return tangent_at(to, core, columns - to.left @ core, (rows - to.right @ core.T).T)


def inner_product(frames: SingularFrames, a: Blocks, b: Blocks, depth: float) -> numpy.floating:
    """Return ``g^N_X`` of two tangent vectors."""
    weights = weights_of(frames.sigma, depth)
    product = numpy.sum(a.core * b.core / weights.core)
    if a.left_null is not None and b.left_null is not None:
        product += numpy.sum(numpy.einsum("ik,ik->k", a.left_null, b.left_null) / weights.null)
    if a.right_null is not None and b.right_null is not None:
        product += numpy.sum(numpy.einsum("ki,ki->k", a.right_null, b.right_null) / weights.null)
    return product


def retraction(frames: SingularFrames, blocks: Blocks, depth: float) -> SingularFrames:
    r"""Move along a tangent vector, to second order as the geodesic does.

    The end-to-end matrix of the balanced network that is moved along the horizontal lift ``V``,

    .. math:: X(t) = \prod_{p=N}^{1} (W_p + t V_p), \quad \ddot X(0) = D^2φ(V, V),

    of rank ``r`` by the width of its hidden layers. At depth one it is the nearest matrix of
    rank ``r`` to ``X + Z``; at infinite depth, in the singular frames,
    ``Σ^{1/2} exp(Y_1 + Y_2/2) Σ^{1/2}`` with the same two derivatives.

    References
    ----------
    Own derivation; THEORY 2, 3.
    """
    left, sigma, right = frames
    if depth == 1:
        small, blocks, bases = compress(frames, blocks)
        blocks = blocks._replace(core=numpy.diag(sigma) + blocks.core)
        return _decomposition(bases[0], small.join(blocks), bases[1], sigma)
    weights = weights_of(sigma, depth)
    lift = Blocks(blocks.core / weights.core)
    if depth == math.inf:
        root = numpy.sqrt(sigma)
        scale = root[:, None] * root
        first = blocks.core / scale
        second = -symbols_in_frames(weights, lift, lift).core / scale - first @ first
        middle = scipy.linalg.expm(first + second / 2) * scale
        return _decomposition(left, middle, right, sigma)
    depth = int(depth)
    lam = sigma ** (1 / depth)

    def layer(p: int) -> numpy.ndarray:
        return numpy.diag(lam) + lam[:, None] ** (depth - p) * lift.core * lam ** (p - 1)

    columns, rows = left @ layer(depth), right @ layer(1).T
    if blocks.left_null is not None:
        columns = columns + blocks.left_null / lam ** (depth - 1)
    if blocks.right_null is not None:
        rows = rows + blocks.right_null.T / lam ** (depth - 1)
    left, middle = numpy.linalg.qr(columns)
    right, last = numpy.linalg.qr(rows)
    for p in range(depth - 1, 1, -1):
        middle = middle @ layer(p)
    return _decomposition(left, middle @ last.T, right, sigma)


def _decomposition(
    left: numpy.ndarray | None,
    middle: numpy.ndarray,
    right: numpy.ndarray | None,
    before: numpy.ndarray,
) -> SingularFrames:
    """Return the singular frames of ``left · middle · rightᵀ`` with orthonormal columns.

    The rank is that of the singular values before the step. None stands for the identity.
    """
    inner = singular_frames(middle, len(before))
    # The manifold ends at zero; a step that reaches it stays within by round-off.
    least = round_off(before) * max(before[0], inner.sigma[0])
    sigma = numpy.maximum(inner.sigma, least)
    return SingularFrames(extend(inner.left, left, None), sigma, extend(inner.right, right, None))


def embedded_hessian(
    frames: SingularFrames, gradient: Any, hessian: Any, tangent: Blocks
) -> Blocks:
    r"""Return the Hessian in the Euclidean metric of matrices of the rank.

    .. math:: P_T(H) + (I - U U^T) G V_⊥ Σ^{-1} V^T + U Σ^{-1} U_⊥^T G (I - V V^T)

    Parameters
    ----------
    frames : SingularFrames
    gradient, hessian : array, sparse array or linear operator, shape=[m, n]
        Euclidean gradient ``G``, and its derivative ``H`` along the tangent vector.
    tangent : Blocks

    References
    ----------
    [Van13]; THEORY 3.
    """
    left, sigma, right = frames
    core, left_null, right_null = tangent_blocks(frames, hessian)[:3]
    if left_null is not None and tangent.right_null is not None:
        bent = gradient @ tangent.right_null.T / sigma
        left_null = left_null + bent - left @ (left.T @ bent)
        bent = gradient.T @ tangent.left_null / sigma
        right_null = right_null + (bent - right @ (right.T @ bent)).T
    return Blocks(core, left_null, right_null)


def riemannian_hessian(
    frames: SingularFrames, gradient: Blocks, second: Blocks, tangent: Blocks, depth: float
) -> Blocks:
    r"""Return the Riemannian Hessian of ``g^N`` from the one of depth one.

    The difference of two connections acts on the tangent part ``P`` of the gradient alone,

    .. math:: \mathrm{Hess}[Z] = A(\mathrm{Hess}_1[Z]) - A(Γ_Z^* P).

    Parameters
    ----------
    frames : SingularFrames
    gradient : Blocks
        Euclidean gradient ``P``.
    second : Blocks
        ``Hess_1[Z]``, the Hessian in the Euclidean metric of matrices of the rank.
    tangent : Blocks
        ``Z``.
    depth : int or inf

    References
    ----------
    THEORY 3.
    """
    weights = weights_of(frames.sigma, depth)
    result = weights.raise_index(second)
    if depth == 1:
        return result
    return result - adjoint_in_frames(weights, weights.lower_index(tangent), gradient)


def exp(frames: SingularFrames, tangent: Blocks, depth: float) -> SingularFrames:
    """Return the exponential of ``g^N``; see `dlngeo.core.geodesics.exponential.exp`.

    The geodesic stays in the ``2r`` dimensions of rows and columns in which it starts.
    """
    small, blocks, bases = compress(frames, tangent)
    start, velocity = small.with_values(small.sigma), small.join(blocks)
    end = exponential.exp(start, velocity, depth, len(small.sigma))
    return _decomposition(bases[0], end, bases[1], small.sigma)


def _joint(frames: SingularFrames, other: SingularFrames) -> tuple[Any, ...]:
    """Return two matrices restrict to their common rows and columns, and the bases."""
    left, left_of_other, left_basis = restrict(frames.left, other.left)
    right, right_of_other, right_basis = restrict(frames.right, other.right)
    small = SingularFrames(left, frames.sigma, right)
    point = SingularFrames(left_of_other, other.sigma, right_of_other).with_values(other.sigma)
    return small, point, left_basis, right_basis


def log(frames: SingularFrames, other: SingularFrames, depth: float) -> Blocks:
    """Return the logarithm of one point at another; see `dlngeo.core.geodesics.logarithm.log`."""
    small, point, left_basis, right_basis = _joint(frames, other)
    rank = len(frames.sigma)
    velocity = logarithm.log(small.with_values(small.sigma), point, depth, rank)
    core, left_null, right_null, _ = small.split(velocity)
    return Blocks(
        core,
        left_null if left_basis is None else left_basis @ left_null,
        right_null if right_basis is None else right_null @ right_basis.T,
    )


def dist(frames: SingularFrames, other: SingularFrames, depth: float) -> float:
    """Return the geodesic distance; see `dlngeo.core.geodesics.logarithm.dist`."""
    small, point, _, _ = _joint(frames, other)
    rank = len(frames.sigma)
    return float(logarithm.dist(small.with_values(small.sigma), point, depth, rank))
