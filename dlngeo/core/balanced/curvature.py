"""Curvature of the balanced manifold, by the equation of Gauss."""

from collections.abc import Iterator, Sequence

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.balanced.submanifold import (
    checked_arrays,
    mean_curvature_in_frames,
    normal_vector,
    second_form_in_frames,
    weingarten_in_frames,
)
from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.primitives import Primitive, refuse
from dlngeo.core.base.vectors import Layers, orthonormal_pair
from dlngeo.core.networks.factors import Factors, in_kind, in_parts
from dlngeo.core.networks.frames import balanced_frames


def balanced_curvature(
    factors: Factors,
    tangent_vec_a: Factors,
    tangent_vec_b: Factors,
    tangent_vec_c: Factors,
    rank: int | None = None,
) -> Factors:
    r"""Return the curvature tensor ``R(a, b)c`` of the balanced manifold.

    The equation of Gauss, with the Weingarten maps ``S_n``:

    .. math:: R(a, b)c = S_{II(b, c)}(a) - S_{II(a, c)}(b)

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    tangent_vec_a, tangent_vec_b, tangent_vec_c : the same shapes
        Tangent vectors.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    curvature : like factors

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.

    References
    ----------
    THEORY 2.
    """
    vectors = (tangent_vec_a, tangent_vec_b, tangent_vec_c)
    arrays, rank = checked_arrays(factors, *vectors, rank=rank)
    return in_kind(_balanced_curvature(*arrays, rank=rank), factors)


def _balanced_curvature_value(*arrays: Array, rank: int) -> tuple[Array, ...]:
    layers, *vectors = in_parts(arrays, 4)
    balanced = balanced_frames(layers, rank)
    a, b, c = (balanced.split(vector) for vector in vectors)
    normal_bc, normal_ac = (second_form_in_frames(balanced, v, c) for v in (b, a))
    one = weingarten_in_frames(balanced, vectors[0], a, normal_bc)
    other = weingarten_in_frames(balanced, vectors[1], b, normal_ac)
    return tuple(x - y for x, y in zip(one, other, strict=True))


_balanced_curvature = Primitive(_balanced_curvature_value, refuse, refuse)


def balanced_sectional_curvature(
    factors: Factors, tangent_vec_a: Factors, tangent_vec_b: Factors, rank: int | None = None
) -> Array:
    r"""Return the sectional curvature of the balanced manifold.

    For orthonormal tangent vectors ``K(a, b) = ⟨II(a, a), II(b, b)⟩ - ‖II(a, b)‖²``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    tangent_vec_a, tangent_vec_b : the same shapes
        Tangent vectors that span the plane.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    sectional_curvature : array-like, shape=[...]
        Zero where the vectors are linearly dependent to round-off, the rule of geomstats.

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.

    References
    ----------
    THEORY 2.
    """
    arrays, rank = checked_arrays(factors, tangent_vec_a, tangent_vec_b, rank=rank)
    return _balanced_sectional(*arrays, rank=rank)


def _balanced_sectional_value(*arrays: Array, rank: int) -> Array:
    xp = namespace(*arrays)
    layers, a, b = in_parts(arrays, 3)
    balanced = balanced_frames(layers, rank)
    x, y, is_plane = orthonormal_pair(Layers(a), Layers(b))
    one, other = balanced.split(x), balanced.split(y)
    n_xx, n_xy, n_yy = (
        Layers(normal_vector(layers, second_form_in_frames(balanced, *pair)))
        for pair in ((one, one), (one, other), (other, other))
    )
    return xp.where(is_plane, n_xx.inner(n_yy) - n_xy.squared_norm(), 0.0)


_balanced_sectional = Primitive(_balanced_sectional_value, refuse, refuse)


def balanced_ricci(factors: Factors, tangent_vec: Factors, rank: int | None = None) -> Factors:
    r"""Return the Ricci operator of the balanced manifold.

    Over an orthonormal basis ``e_i`` of the tangent space, with the mean curvature ``H``,

    .. math:: Ric(a) = S_H(a) - \sum_i S_{II(a, e_i)}(e_i).

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    tangent_vec : the same shapes
        Tangent vector.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    ricci : like factors

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.

    References
    ----------
    THEORY 2.
    """
    arrays, rank = checked_arrays(factors, tangent_vec, rank=rank)
    return in_kind(_balanced_ricci(*arrays, rank=rank), factors)


# Vectors of the basis that are held at once: memory does not grow with their number.
_CHUNK = 16


def _basis_chunks(
    layers: Sequence[Array], rank: int, batch_axes: int
) -> Iterator[tuple[Array, ...]]:
    """Yield parts of the orthonormal basis, shape=[chunk, 1..., ..., d_p, d_{p-1}].

    They broadcast with vectors of the given number of batch axes.
    """
    xp = namespace(*layers)
    for vectors in tangent_basis(tuple(layers), rank):
        shapes = [(1,) * (batch_axes - layer.ndim + 2) + tuple(layer.shape) for layer in layers]
        for start in range(0, vectors[0].shape[0], _CHUNK):
            parts = [vector[start : start + _CHUNK] for vector in vectors]
            yield tuple(
                xp.reshape(part, (part.shape[0], *shape))
                for part, shape in zip(parts, shapes, strict=True)
            )


def _balanced_ricci_value(*arrays: Array, rank: int) -> tuple[Array, ...]:
    layers, vector = in_parts(arrays, 2)
    xp = namespace(*arrays)
    balanced = balanced_frames(layers, rank)
    blocks = balanced.split(vector)
    result = weingarten_in_frames(balanced, vector, blocks, mean_curvature_in_frames(balanced))
    batch_axes = max(array.ndim for array in arrays) - 2
    for basis in _basis_chunks(layers, rank, batch_axes):
        split_basis = balanced.split(basis)
        normal = second_form_in_frames(balanced, blocks, split_basis)
        bent = weingarten_in_frames(balanced, basis, split_basis, normal)
        result = [one - xp.sum(other, axis=0) for one, other in zip(result, bent, strict=True)]
    return tuple(result)


_balanced_ricci = Primitive(_balanced_ricci_value, refuse, refuse)


def balanced_scalar_curvature(factors: Factors, rank: int | None = None) -> Array:
    """Return the scalar curvature of the balanced manifold, the trace of the Ricci operator.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    scalar_curvature : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.

    References
    ----------
    THEORY 2.
    """
    arrays, rank = checked_arrays(factors, rank=rank)
    return _balanced_scalar(*arrays, rank=rank)


def _balanced_scalar_value(*layers: Array, rank: int) -> Array:
    xp = namespace(*layers)
    batch_axes = max(layer.ndim for layer in layers) - 2
    total = 0.0
    for basis in _basis_chunks(layers, rank, batch_axes):
        image = _balanced_ricci_value(*layers, *basis, rank=rank)
        total = total + xp.sum(Layers(image).inner(basis), axis=0)
    return total


_balanced_scalar = Primitive(_balanced_scalar_value, refuse, refuse)
