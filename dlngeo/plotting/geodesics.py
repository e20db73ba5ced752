"""Geodesics and balls of the depth metric."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy
from matplotlib.axes import Axes

from dlngeo.core.base.arrays import Array
from dlngeo.plotting.style import current_axes

if TYPE_CHECKING:
    from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices


def plot_geodesic_circles(
    space: "FixedRankMatrices",
    base_point: Array,
    plane: Array,
    radii: Sequence[float],
    chart: Callable[[Array], Array],
    *,
    n_rays: int = 24,
    colour: str = "#0072B2",
    axes: Axes | None = None,
) -> Axes:
    """Draw geodesics that leave a point within a plane, and the circles of their ends.

    Geodesics end where they leave the space, and circles have gaps there. What is drawn lies
    in a surface if that is totally geodesic, as the diagonal matrices are, or if the chart
    projects to it. A circle consists of points at its radius from the base point as long as
    the geodesics are the shortest.

    Parameters
    ----------
    space : FixedRankMatrices
        Equipped with a `DepthMetric`.
    base_point : array-like, shape=[m, n]
    plane : array-like, shape=[2, m, n]
        Tangent vectors that span the plane.
    radii : sequence of float
        The geodesics are as long as the largest.
    chart : callable
        From matrices, shape=[..., m, n], to the coordinates to draw, shape=[..., 2], or
        shape=[..., 3] for axes in three dimensions. Where geodesics left, it is given NaN.
    n_rays : int
        Number of geodesics, in equal angles.
    colour : str
    axes : matplotlib.axes.Axes, optional
        The current ones by default.

    Returns
    -------
    axes : matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the tangent vectors are not two independent ones, or a radius is not positive.
    """
    lengths = numpy.asarray(radii, dtype=float)
    is_positive = numpy.isfinite(lengths) & (lengths > 0)
    if lengths.ndim != 1 or len(lengths) == 0 or not is_positive.all():
        raise ValueError(f"radii must be one or more positive numbers, got {radii}.")
    shape = (2, *space.shape)
    plane = numpy.asarray(plane, dtype=float)
    if plane.shape != shape:
        raise ValueError(f"plane must be two tangent vectors, shape {shape}, got {plane.shape}.")
    gram = space.metric.inner_product(plane[:, None], plane[None, :], base_point)
    if not numpy.linalg.det(gram) > 1e-12 * gram[0, 0] * gram[1, 1]:
        raise ValueError("the tangent vectors of the plane are linearly dependent.")
    # The inverse of the Cholesky factor is the orthonormalisation of Gram and Schmidt.
    basis = numpy.einsum("ij,jmn->imn", numpy.linalg.inv(numpy.linalg.cholesky(gram)), plane)

    def ends(n_angles: int, distances: Array) -> Array:
        angles = numpy.linspace(0, 2 * numpy.pi, n_angles, endpoint=False)
        circle = numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=-1)
        path = space.metric.geodesic(
            numpy.broadcast_to(base_point, (n_angles, *space.shape)),
            initial_tangent_vec=numpy.einsum("ai,imn->amn", circle, basis),
            on_boundary="nan",
        )
        return chart(path(distances))

    axes = current_axes() if axes is None else axes
    for ray in ends(n_rays, lengths.max() * numpy.linspace(0, 1, 201)):
        axes.plot(*ray.T, color=colour, lw=0.6, alpha=0.6)
    for ring in numpy.swapaxes(ends(720, numpy.sort(lengths)), 0, 1):
        axes.plot(*numpy.concatenate([ring, ring[:1]]).T, color=colour, lw=1.4)
    axes.plot(*chart(numpy.asarray(base_point)[None]).T, "o", color="black", ms=3.5)
    axes.set_aspect("equal")
    return axes
