"""Figures of networks."""

import numpy
import pytest
from matplotlib.figure import Figure

from dlngeo.losses import Factorization
from dlngeo.networks import LossPath, report
from dlngeo.plotting import plot_loss_paths, plot_report


def test_the_report_shows_singular_values_of_matrix_and_layers():
    found = report([numpy.diag([2.0, 1.0]), numpy.diag([3.0, 1.0])], Factorization(numpy.eye(2)))
    whole, parts = plot_report(found, axes=Figure().subplots(1, 2))
    numpy.testing.assert_allclose(whole.lines[0].get_ydata(), [6, 1])
    heights = numpy.array([line.get_ydata() for line in parts.lines], float)
    numpy.testing.assert_allclose(heights, [[6**0.5, 6**0.5], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    assert f"{found.largest_step:.3g}" in parts.get_title()
    plot_report(report([numpy.zeros((2, 2))]), axes=Figure().subplots(1, 2))
    with pytest.raises(ValueError, match="expected two axes"):
        plot_report(found, axes=Figure().subplots(1, 3))


def test_loss_paths_are_lines_with_their_barriers():
    times = numpy.linspace(0, 1, 3)
    paths = [
        LossPath("linear", times, numpy.array([1.0, 4.0, 2.0])),
        LossPath("geodesic", times, times),
    ]
    axes = plot_loss_paths(paths, axes=Figure().subplots())
    for line, path in zip(axes.lines, paths, strict=True):
        numpy.testing.assert_array_equal(line.get_xydata(), numpy.stack([times, path.losses], -1))
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["linear, barrier 2.5", "geodesic, barrier 0"]
