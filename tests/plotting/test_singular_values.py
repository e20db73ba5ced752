import math
from typing import Any

import matplotlib.pyplot
import numpy
import pytest
from matplotlib.figure import Figure

from dlngeo.plotting import plot_over_singular_values


def test_function_is_drawn_over_pairs_of_singular_values():
    sigma = numpy.geomspace(0.1, 2, 5)
    axes = Figure().subplots()
    drawn = plot_over_singular_values(
        lambda x: x[..., 0, 0] + 10 * x[..., 1, 1] + x[..., 0, 1], sigma, axes=axes, cmap="magma"
    )
    assert drawn is axes
    mesh: Any = axes.collections[-1]
    x, y = numpy.moveaxis(mesh.get_coordinates(), -1, 0)
    assert numpy.allclose(mesh.get_array(), x + 10 * y)
    assert numpy.allclose(x[0], sigma)
    assert mesh.get_cmap().name == "magma"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"$\sigma_1$", r"$\sigma_2$")


def test_axes_default_to_the_current_ones():
    matplotlib.pyplot.switch_backend("agg")
    figure, axes = matplotlib.pyplot.subplots()
    try:
        assert plot_over_singular_values(numpy.linalg.det, numpy.geomspace(1, 2, 3)) is axes
    finally:
        matplotlib.pyplot.close(figure)


@pytest.mark.parametrize("sigma", [[1.0], [0.0, 1.0], [2.0, 1.0], [[1.0, 2.0]], [1.0, math.nan]])
def test_map_refuses_singular_values(sigma):
    with pytest.raises(ValueError, match="positive increasing"):
        plot_over_singular_values(numpy.linalg.det, sigma)
