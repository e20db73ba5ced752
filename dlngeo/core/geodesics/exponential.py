"""The exponential map of the depth metric, and its derivatives."""

from typing import Any

from dlngeo.core.base.arrays import (
    Array,
    eye,
    namespace,
    real_array,
)
from dlngeo.core.base.primitives import Primitive, refuse
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.geodesics.curves import geodesic
from dlngeo.core.networks.factors import checked_matrix


def exp(
    matrix: Array,
    velocity: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    """Return the exponential of ``g^N``: the geodesic at time one.

    It can be differentiated, once and along tangent vectors: by its velocity the derivative
    is the Jacobi field that starts at zero, and by its point the one that starts with the
    Christoffel symbols, `dlngeo.core.depth_metric.connection.christoffel`, as its derivative.

    Parameters and errors as in `geodesic`.

    Returns
    -------
    point : array-like, shape=[..., m, n]

    References
    ----------
    [Che25]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    check_observable(matrix, depth, rank)
    velocity = checked_matrix(velocity, *matrix.shape[-2:])
    # Sums keep the shape of a broadcast, and what autodiff knows of it.
    matrix, velocity = matrix + 0 * velocity, velocity + 0 * matrix
    return _exp(matrix, velocity, depth=depth, rank=rank, on_boundary=on_boundary)


def _exp_value(
    matrix: Array, velocity: Array, depth: float, rank: int | None, on_boundary: str
) -> Array:
    return geodesic(matrix, velocity, depth, rank, on_boundary=on_boundary).point(1.0)


def _jacobians_value(
    matrix: Array, velocity: Array, depth: float, rank: int | None, on_boundary: str
) -> tuple[Array, Array]:
    """Return the derivatives by point and velocity, with the axes of the result first."""
    from dlngeo.core.depth_metric.connection import christoffel
    from dlngeo.core.geodesics.transport import jacobi_field

    xp = namespace(matrix)
    rows, columns = matrix.shape[-2:]
    size = rows * columns
    batch = (1,) * (matrix.ndim - 2)
    basis = xp.reshape(eye(size, size, matrix), (size, *batch, rows, columns)) + 0 * matrix
    turned = christoffel(matrix, basis, velocity, depth, rank)
    fields, _ = jacobi_field(
        matrix,
        velocity,
        xp.concat([basis, 0 * basis]),
        xp.concat([turned, basis]),
        depth,
        rank,
        on_boundary=on_boundary,
    )
    return fields[:size], fields[size:]


_jacobians = Primitive(_jacobians_value, refuse, refuse)


def _exp_jvp(arrays: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
    xp = namespace(*arrays, *tangents)
    change = 0 * result
    for jacobian, tangent in zip(_jacobians(*arrays, **static), tangents, strict=True):
        directions = xp.moveaxis(xp.reshape(tangent, (*tangent.shape[:-2], -1)), -1, 0)
        change = change + xp.sum(directions[..., None, None] * jacobian, axis=0)
    return change


def _exp_vjp(arrays: tuple, result: Array, cotangent: Array, **static: Any) -> tuple[Array, ...]:
    xp = namespace(*arrays, cotangent)
    return tuple(
        xp.reshape(xp.moveaxis(xp.sum(cotangent * jacobian, axis=(-2, -1)), 0, -1), cotangent.shape)
        for jacobian in _jacobians(*arrays, **static)
    )


_exp = Primitive(_exp_value, _exp_jvp, _exp_vjp)
