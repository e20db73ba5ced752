r"""Geometry of a graph ``x ↦ (x, h(x))`` over parameter space, from first and second derivatives.

With the differential ``J = dh``, shape=[..., n, D], the induced metric and what follows from it
are

.. math:: g = I + J^T J, \quad Γ(u, v) = g^{-1} J^T w(u, v) = J^T K^{-1} w(u, v), \quad
          K = I + J J^T, \quad w(u, v) = (u^T ∇^2 h_s \, v)_s,

and the curvature is that of the second fundamental form, by the equation of Gauss,

.. math:: \langle R(a, b) c, d \rangle = w(b, c)^T K^{-1} w(a, d) - w(a, c)^T K^{-1} w(b, d).

Solves are made where they are smaller, in ``n`` or in ``D`` dimensions (Woodbury); where both
are large, by conjugate gradients with products alone, at a cost linear in ``n D``.
Own derivation; THEORY 7.
"""

from collections.abc import Callable
from typing import NamedTuple

from dlngeo.core.base.arrays import Array, eye, namespace, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.base.vectors import Layers
from dlngeo.core.numerics.conjugate_gradients import conjugate_gradient

DIRECT = 64
"""Largest dimension ``min(n, D)`` in which equations are solved by elimination."""


class Products(NamedTuple):
    """A differential that is known by its products with vectors.

    Attributes
    ----------
    push : callable
        ``J v``, shape=[..., D] to [..., n].
    pull : callable
        ``Jᵀ w``, shape=[..., n] to [..., D].
    """

    push: Callable[[Array], Array]
    pull: Callable[[Array], Array]


Differential = Array | Products
"""The matrix ``J``, shape=[..., n, D], or its products."""


def push(differential: Differential, v: Array) -> Array:
    """Return ``J v``, shape=[..., n]."""
    if isinstance(differential, Products):
        return differential.push(v)
    return (differential @ v[..., None])[..., 0]


def pull(differential: Differential, w: Array) -> Array:
    """Return ``Jᵀ w``, shape=[..., D]."""
    if isinstance(differential, Products):
        return differential.pull(w)
    return (transpose(differential) @ w[..., None])[..., 0]


def lower_index(differential: Differential, v: Array) -> Array:
    """Return the covector ``g v``, shape=[..., D]."""
    return v + pull(differential, push(differential, v))


def inner_product(differential: Differential, u: Array, v: Array) -> Array:
    """Return ``⟨u, v⟩ = uᵀ v + (J u)ᵀ J v``, shape=[...]."""
    image = push(differential, u)
    second_image = image if v is u else push(differential, v)
    return _dot(u, v) + _dot(image, second_image)


def raise_index(differential: Differential, p: Array) -> Array:
    """Return the vector ``g^{-1} p``, shape=[..., D].

    Raises
    ------
    RuntimeError
        If conjugate gradients do not converge.
    """
    if _is_tall(differential):
        return _solve(_gram(transpose(differential)), p)
    return p - pull(differential, normal_solve(differential, push(differential, p)))


def pull_and_raise(differential: Differential, w: Array) -> Array:
    """Return ``g^{-1} Jᵀ w``, shape=[..., D]; of ``w(u, v)`` they are Christoffel symbols.

    Raises
    ------
    RuntimeError
        If conjugate gradients do not converge.
    """
    if _is_tall(differential):
        return _solve(_gram(transpose(differential)), pull(differential, w))
    return pull(differential, normal_solve(differential, w))


def normal_solve(differential: Differential, w: Array) -> Array:
    """Return ``K^{-1} w``, shape=[..., n]: the metric of the normal space, inverted.

    Raises
    ------
    RuntimeError
        If conjugate gradients do not converge.
    """
    if isinstance(differential, Products):
        return _solve_by_products(differential, w)
    if _is_tall(differential):
        return w - push(differential, pull_and_raise(differential, w))
    return _solve(_gram(differential), w)


def gauss(differential: Differential, w: Array, other: Array) -> Array:
    """Return ``wᵀ K^{-1} w'``, shape=[...]: the product of two second fundamental forms."""
    return _dot(w, normal_solve(differential, other))


def log_volume_density(matrix: Array) -> Array:
    """Return ``½ log det g`` of a differential that is a matrix, shape=[...]."""
    smaller = transpose(matrix) if _is_tall(matrix) else matrix
    return namespace(matrix).linalg.slogdet(_gram(smaller))[1] / 2


# Tensors in coordinates, for few parameters.


def metric_matrix(matrix: Array) -> Array:
    """Return ``g``, shape=[..., D, D]."""
    return _gram(transpose(matrix))


def christoffels(matrix: Array, hessians: Array) -> Array:
    """Return the Christoffel symbols ``Γ^k_{ij}``, shape=[..., D, D, D], ``k`` first.

    Parameters
    ----------
    matrix : array-like, shape=[..., n, D]
        Differential ``J``.
    hessians : array-like, shape=[..., n, D, D]
        ``∇²h_s``.
    """
    xp = namespace(matrix, hessians)
    n, size = matrix.shape[-2:]
    flattened = xp.reshape(hessians, (*hessians.shape[:-3], n, size**2))
    symbols = xp.linalg.solve(metric_matrix(matrix), transpose(matrix) @ flattened)
    return xp.reshape(symbols, (*symbols.shape[:-2], size, size, size))


def metric_derivative(matrix: Array, hessians: Array) -> Array:
    """Return ``∂_k g_ij``, shape=[..., D, D, D], ``k`` last; parameters as `christoffels`."""
    half = namespace(matrix, hessians).einsum("...sik,...sj->...ijk", hessians, matrix)
    return half + namespace(half).swapaxes(half, -3, -2)


def riemann_tensor(matrix: Array, hessians: Array) -> Array:
    """Return ``R_{ijk}^l = dx^l(R(e_j, e_k) e_i)``, shape=[..., D, D, D, D]: ``i, j, k, l``.

    Parameters as `christoffels`.
    """
    xp = namespace(matrix, hessians)
    n, size = matrix.shape[-2:]
    check_numbers(
        (*hessians.shape[:-3], *[size] * 4),
        "the Riemann tensor",
        "take curvature on vectors instead, which is matrix-free",
    )
    flattened = xp.reshape(hessians, (*hessians.shape[:-3], n, size**2))
    if n > size:
        inner = xp.linalg.solve(metric_matrix(matrix), transpose(matrix) @ flattened)
        solved = flattened - matrix @ inner
    else:
        solved = xp.linalg.solve(_gram(matrix), flattened)
    solved = xp.reshape(solved, hessians.shape)
    # ⟨II(k, i), II(j, l)⟩ - ⟨II(j, i), II(k, l)⟩
    forms = xp.einsum("...ski,...sjl->...ijkl", hessians, solved)
    lowered = forms - xp.swapaxes(forms, -3, -2)
    return xp.einsum("...ijkm,...ml->...ijkl", lowered, xp.linalg.inv(metric_matrix(matrix)))


def _dot(a: Array, b: Array) -> Array:
    return namespace(a, b).sum(a * b, axis=-1)


def _is_tall(differential: Differential) -> bool:
    """Tell whether ``D`` is the smaller of the dimensions of a matrix."""
    return (
        not isinstance(differential, Products) and differential.shape[-2] > differential.shape[-1]
    )


def _gram(matrix: Array) -> Array:
    return eye(matrix.shape[-2], matrix.shape[-2], matrix) + matrix @ transpose(matrix)


def _solve(matrix: Array, vector: Array) -> Array:
    return namespace(matrix, vector).linalg.solve(matrix, vector[..., None])[..., 0]


def _solve_by_products(differential: Products, w: Array) -> Array:
    """Return ``K^{-1} w``: the eigenvalues of ``K`` are at least one."""

    def operator(column: Layers) -> Layers:
        return column.map(lambda y: y + differential.push(differential.pull(y[..., 0]))[..., None])

    (solution,), is_solved = conjugate_gradient(operator, [w[..., None]])
    if not bool(namespace(w).all(is_solved)):
        raise RuntimeError(
            "conjugate gradients have not solved the equations of the diffusion metric"
            f"{in_batch(~is_solved)}: its largest eigenvalue is too far above one. Lower the scale."
        )
    return solution[..., 0]
