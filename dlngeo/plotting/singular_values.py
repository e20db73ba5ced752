"""Functions of singular values."""

from collections.abc import Callable
from typing import Any

import numpy
from matplotlib.axes import Axes

from dlngeo.core.base.arrays import Array
from dlngeo.plotting.style import current_axes


def plot_over_singular_values(
    function: Callable[[Array], Array],
    singular_values: Array,
    *,
    axes: Axes | None = None,
    **mesh: Any,
) -> Axes:
    """Draw a function of ``2 × 2`` matrices over pairs of singular values, on log scales.

    Parameters
    ----------
    function : callable
        From diagonal matrices, shape=[..., 2, 2], to numbers, shape=[...].
    singular_values : array-like, shape=[k]
        Positive and increasing.
    axes : matplotlib.axes.Axes, optional
        The current ones by default.
    **mesh
        Options of ``Axes.pcolormesh``: ``norm`` and ``cmap``.

    Returns
    -------
    axes : matplotlib.axes.Axes
        Its last collection, ``axes.collections[-1]``, is what a colour bar is made for.

    Raises
    ------
    ValueError
        If the singular values are not positive and increasing.
    """
    sigma = numpy.asarray(singular_values, dtype=float)
    if sigma.ndim != 1 or len(sigma) < 2 or sigma[0] <= 0 or not (numpy.diff(sigma) > 0).all():
        raise ValueError(
            "singular_values must be two or more positive increasing numbers, got an array of "
            f"shape {sigma.shape}: take numpy.geomspace."
        )
    matrices = numpy.zeros((len(sigma), len(sigma), 2, 2))
    matrices[..., 0, 0], matrices[..., 1, 1] = sigma, sigma[:, None]
    axes = current_axes() if axes is None else axes
    options: Any = {"shading": "gouraud", "rasterized": True} | mesh
    axes.pcolormesh(sigma, sigma, function(matrices), **options)
    axes.set(xscale="log", yscale="log", xlabel=r"$\sigma_1$", ylabel=r"$\sigma_2$")
    axes.set_aspect("equal")
    return axes
