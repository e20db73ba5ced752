"""The exponential map of the depth metric, and its derivatives."""

from typing import Any

from dlngeo.core.base.arrays import Array, eye, namespace
from dlngeo.core.base.primitives import primitive
from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.core.geodesics.observable_curves import geodesic
from dlngeo.core.geodesics.transport import jacobi_field


@primitive(static=("depth", "rank", "on_boundary"))
def _jacobians(
    matrix: Array, velocity: Array, depth: float, rank: int | None, on_boundary: str
) -> tuple[Array, Array]:
    """Return the derivatives by point and velocity, with the axes of the result first."""
    xp = namespace(matrix)
    matrix, velocity = matrix + 0 * velocity, velocity + 0 * matrix
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


def _exp_jvp(arguments: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
    xp = namespace(*arguments, *tangents)
    change = 0 * result
    for jacobian, tangent in zip(_jacobians(*arguments, **static), tangents, strict=True):
        directions = xp.moveaxis(xp.reshape(tangent, (*tangent.shape[:-2], -1)), -1, 0)
        change = change + xp.sum(directions[..., None, None] * jacobian, axis=0)
    return change


def _exp_vjp(arguments: tuple, result: Array, cotangent: Array, **static: Any) -> tuple[Array, ...]:
    xp = namespace(*arguments, cotangent)
    shape = cotangent.shape
    return tuple(
        xp.reshape(xp.moveaxis(xp.sum(cotangent * jacobian, axis=(-2, -1)), 0, -1), shape)
        for jacobian in _jacobians(*arguments, **static)
    )


@primitive(static=("depth", "rank", "on_boundary"), jvp=_exp_jvp, vjp=_exp_vjp)
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
    return geodesic(matrix, velocity, depth, rank, on_boundary=on_boundary).point(1.0)
