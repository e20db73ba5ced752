import matplotlib.pyplot
import numpy
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dlngeo.plotting import depth_colour, plot_thermodynamics
from dlngeo.sampling import FreeEnergies
from dlngeo.thermodynamics import ThermodynamicCurves

BETAS = numpy.array([0.5, 1.0, 4.0])


def curves(shift):
    return ThermodynamicCurves(BETAS, *(shift + k + numpy.arange(3.0) for k in range(4)))


def sampled(shift):
    rest = (numpy.zeros(3), numpy.zeros(3), numpy.eye(3), True, 9, "")
    return FreeEnergies(curves(shift), curves(0.1), *rest)


def test_points_bars_and_lines():
    axes = Figure().subplots(2, 2).ravel()
    drawn = plot_thermodynamics({1: sampled(5.0), 3: sampled(7.0)}, {3: curves(7.5)}, axes=axes)
    assert list(drawn) == list(axes)
    names = ("free_energy", "mean_energy", "entropy", "heat_capacity")
    for panel, name in zip(axes, names, strict=True):
        assert panel.get_xscale() == "log"
        assert len(panel.containers) == 2
        for container, depth, shift in zip(panel.containers, (1, 3), (5.0, 7.0), strict=True):
            points, _, bars = container.lines
            values = getattr(curves(shift), name)
            numpy.testing.assert_allclose(points.get_xydata(), numpy.stack([BETAS, values], -1))
            ends = numpy.array(bars[0].get_segments())[:, :, 1]
            numpy.testing.assert_allclose(numpy.diff(ends)[:, 0], 4 * getattr(curves(0.1), name))
            assert to_hex(points.get_color()).lower() == depth_colour(depth).lower()
        lines = [line for line in panel.lines if line.get_linestyle() == "-"]
        heights = [getattr(curves(5.0), name), getattr(curves(7.5), name)]
        for line, expected in zip(lines, heights, strict=True):
            numpy.testing.assert_allclose(line.get_ydata(), expected)
    assert "heat capacity" in axes[3].get_title()


def test_axes():
    matplotlib.pyplot.switch_backend("agg")
    figure = matplotlib.pyplot.figure()
    try:
        assert list(plot_thermodynamics({2: sampled(0.0)})) == figure.axes
        with pytest.raises(ValueError, match=r"four axes, got an array of shape \(1,\)"):
            plot_thermodynamics({2: sampled(0.0)}, axes=figure.axes[:1])
    finally:
        matplotlib.pyplot.close(figure)
