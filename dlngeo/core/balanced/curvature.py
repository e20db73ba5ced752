"""Curvature of the balanced manifold, by the equation of Gauss."""

from collections.abc import Iterator, Sequence

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.balanced.submanifold import (
    checked_layers,
    mean_curvature_in_frames,
    normal_vector,
    second_form_in_frames,
    weingarten_in_frames,
)
from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.base.vectors import Layers, orthonormal_pair
from dlngeo.core.networks.factors import Factors, result_in_kind
from dlngeo.core.networks.frames import balanced_frames


@primitive(static=("rank",))
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
    arrays, rank = checked_layers(factors, tangent_vec_a, tangent_vec_b, tangent_vec_c, rank=rank)
    layers, *vectors, down, first, second, third = at_unit_scale(2 * len(arrays[0]), *arrays)
    balanced = balanced_frames(layers, rank)
    a, b, c = map(balanced.split, vectors)
    along_a = weingarten_in_frames(balanced, vectors[0], a, second_form_in_frames(balanced, b, c))
    along_b = weingarten_in_frames(balanced, vectors[1], b, second_form_in_frames(balanced, a, c))
    exponent = first + second + third - 2 * down
    return result_in_kind(Layers(along_a) - along_b, factors, exponent)


@primitive(static=("rank",))
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
    arrays, rank = checked_layers(factors, tangent_vec_a, tangent_vec_b, rank=rank)
    layers, a, b, down, _, _ = at_unit_scale(2 * len(arrays[0]), *arrays)
    balanced = balanced_frames(layers, rank)
    x, y, is_plane = orthonormal_pair(Layers(a), Layers(b))
    x, y = balanced.split(x), balanced.split(y)
    n_xx, n_xy, n_yy = (
        Layers(normal_vector(layers, second_form_in_frames(balanced, *pair)))
        for pair in ((x, x), (x, y), (y, y))
    )
    curvature = n_xx.inner(n_yy) - n_xy.squared_norm()
    curvature = namespace(curvature).where(is_plane, curvature, 0.0)
    return at_scale(curvature, -2 * down, "the curvature", axes=0)


@primitive(static=("rank",))
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
    arrays, rank = checked_layers(factors, tangent_vec, rank=rank)
    layers, vector, down, exponent = at_unit_scale(2 * len(arrays[0]), *arrays)
    return result_in_kind(_ricci(layers, vector, rank), factors, exponent - 2 * down)


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


def _ricci(layers: Sequence[Array], vector: Sequence[Array], rank: int) -> Layers:
    xp = namespace(*layers, *vector)
    balanced = balanced_frames(layers, rank)
    blocks = balanced.split(vector)
    normal = mean_curvature_in_frames(balanced)
    result = Layers(weingarten_in_frames(balanced, vector, blocks, normal))
    batch_axes = max(array.ndim for array in (*layers, *vector)) - 2
    for basis in _basis_chunks(layers, rank, batch_axes):
        split_basis = balanced.split(basis)
        normal = second_form_in_frames(balanced, blocks, split_basis)
        bent = weingarten_in_frames(balanced, basis, split_basis, normal)
        result = result.map(lambda total, terms: total - xp.sum(terms, axis=0), bent)
    return result


@primitive(static=("rank",))
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
    (layers,), rank = checked_layers(factors, rank=rank)
    layers, down = at_unit_scale(2 * len(layers), layers)
    batch_axes = max(layer.ndim for layer in layers) - 2
    total = 0.0
    for basis in _basis_chunks(layers, rank, batch_axes):
        values = _ricci(layers, basis, rank).inner(basis)
        total = total + namespace(values).sum(values, axis=0)
    return at_scale(total, -2 * down, "the curvature", axes=0)
