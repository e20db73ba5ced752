r"""The observable space ``𝔐_r`` of end-to-end matrices, and the depth metric ``g^N``.

The metric is given by the operator

.. math:: A_{N,X}(P) = \sum_{p=1}^{N} (XX^T)^{(N-p)/N} P (X^TX)^{(p-1)/N},
          \quad g^N_X(Z, Z') = \mathrm{tr}(Z^T A_{N,X}^{-1} Z'),

which multiplies the entry ``(k, l)`` in the singular frames of ``X`` by the kernel
``r_kl``. At infinite depth the metric is scaled by ``N``.
"""

import math

from dlngeo.core.base.arrays import Array, is_traced, namespace, transpose
from dlngeo.core.base.checks import check_range, real_array
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.depth_metric.limit import scale_in_limit
from dlngeo.core.depth_metric.weights import index_degree, weights_of
from dlngeo.core.networks.balancing import inverse_gram, thin_layers
from dlngeo.core.networks.factors import (
    check_depth,
    check_rank,
    checked_matrix,
    is_infinite,
    matrix_shape,
)
from dlngeo.core.networks.frames import exact_frames, frames_of_rank
from dlngeo.core.networks.network import adjoint_differential, differential


def check_observable(matrix: Array, depth: float, rank: int | None = None) -> int:
    """Return the checked rank of a matrix that stands for a network of the given depth.

    Raises
    ------
    ValueError
        If the depth is not a positive integer or infinity, the rank does not fit the
        shape, or the depth is infinite and the matrix not square of full rank.
    """
    rows, columns = matrix_shape(matrix)
    rank = check_rank(rank, min(rows, columns))
    if not is_infinite(depth):
        check_depth(depth)
    elif not rows == columns == rank:
        raise ValueError(
            "the depth metric of infinite depth exists for square matrices of full rank "
            f"only, got shape ({rows}, {columns}) and rank {rank}: use a finite depth."
        )
    return rank


def raise_index(matrix: Array, covector: Array, depth: float, rank: int | None = None) -> Array:
    r"""Raise an index with the depth metric: ``P^♯ = A_{N,X}(P)``.

    The Riemannian gradient of ``E`` is ``A_{N,X}(∇E)``, and the gradient flow of a
    balanced network runs along its negative.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    covector : array-like, shape=[..., m, n]
        Matrix ``P``.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    tangent_vec : array-like, shape=[..., m, n]

    References
    ----------
    [BRTW22]; [ACH18]; [CMV22] for infinite depth; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    covector = checked_matrix(covector, matrix.shape[-2:], matrix)
    if depth == 1:
        return tangent_projection(matrix, covector, rank)
    if depth == math.inf:
        return scale_in_limit(matrix, covector, is_inverse=False)
    if is_traced(matrix):
        layers = thin_layers(matrix, int(depth), rank)
        return differential(layers, adjoint_differential(layers, covector))
    matrix, covector, up, exponent = at_unit_scale(2, matrix, covector)
    frames = frames_of_rank(matrix, rank)
    weights = weights_of(frames.sigma, depth)
    check_range(weights.core, divides=False)
    vector = frames.join(weights.raise_index(frames.split(covector)))
    return at_scale(vector, exponent + index_degree(depth) * up, "the vector")


def lower_index(matrix: Array, tangent_vec: Array, depth: float, rank: int | None = None) -> Array:
    r"""Lower an index with the depth metric: ``Z^♭ = A_{N,X}^{-1}(Z)``.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X`` of the given rank.
    tangent_vec : array-like, shape=[..., m, n]
        Tangent vector ``Z``; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    covector : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the matrix has another rank.

    References
    ----------
    [BRTW22]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    tangent_vec = checked_matrix(tangent_vec, matrix.shape[-2:], matrix)
    if depth == 1:
        return tangent_projection(matrix, tangent_vec, rank)
    if depth == math.inf:
        return scale_in_limit(matrix, tangent_vec, is_inverse=True)
    if is_traced(matrix):
        # Below full rank the null spaces move with X, and what is dropped with them.
        tangent_vec = tangent_projection(matrix, tangent_vec, rank)
        covector = inverse_gram(thin_layers(matrix, int(depth), rank), tangent_vec, rank)
        return tangent_projection(matrix, covector, rank)
    matrix, tangent_vec, down, exponent = at_unit_scale(2, matrix, tangent_vec)
    frames = exact_frames(matrix, rank)
    weights = weights_of(frames.sigma, depth)
    check_range(weights.core, divides=True)
    covector = frames.join(weights.lower_index(frames.split(tangent_vec)))
    return at_scale(covector, exponent - index_degree(depth) * down, "the covector")


def tangent_projection(matrix: Array, vector: Array, rank: int | None = None) -> Array:
    r"""Project a matrix on the tangent space ``T_X 𝔐_r``, orthogonally for every depth.

    .. math:: V - (I - U U^T) V (I - V_0 V_0^T)

    with ``U, V_0`` the singular frames of ``X``. All of the metrics ``g^N`` agree on which
    part is normal: it is the one between the null spaces.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    vector : array-like, shape=[..., m, n]
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    tangent_vec : array-like, shape=[..., m, n]

    References
    ----------
    THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, 1, rank)
    vector = checked_matrix(vector, matrix.shape[-2:], matrix)
    if rank == min(matrix.shape[-2:]):
        # Everything is tangent; the sum broadcasts, and keeps the graph of derivatives.
        return vector + 0 * matrix
    xp = namespace(matrix, vector)
    matrix, _ = at_unit_scale(2, matrix)
    # Projectors from the balanced layers of depth 2, which can be differentiated.
    right, left = thin_layers(matrix, 2, rank)
    left_null = vector - left @ xp.linalg.solve(transpose(left) @ left, transpose(left) @ vector)
    gram = right @ transpose(right)
    right_part = left_null @ transpose(right) @ xp.linalg.solve(gram, right)
    return vector - (left_null - right_part)
