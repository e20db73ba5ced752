"""Networks: what a report says of one, and a loss on the way between two."""

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dlngeo.networks.loss_paths import LossPath
from dlngeo.networks.reports import NetworkReport
from dlngeo.plotting.style import DEPTH_COLOURS, current_axes, current_figure, depth_colour


def plot_report(report: NetworkReport, *, axes: Sequence[Axes] | None = None) -> Any:
    r"""Draw the singular values of a network and of its layers.

    Layers of balanced networks have the singular values ``σ^{1/N}``, which are lines.

    Parameters
    ----------
    report : NetworkReport
        Of `dlngeo.networks.report`.
    axes : sequence of two matplotlib.axes.Axes, optional
        For the end-to-end matrix and for the layers; new ones in the current figure by default.

    Returns
    -------
    axes : array of matplotlib.axes.Axes, shape=[2]
    """
    if axes is None:
        figure = current_figure()
        figure.set_layout_engine("constrained")
        axes = figure.subplots(1, 2)
    panels = numpy.asarray(axes, dtype=object)
    if panels.shape != (2,):
        raise ValueError(f"expected two axes, got an array of shape {panels.shape}.")
    whole, parts = panels
    colour, sigma = depth_colour(report.depth), report.singular_values[: report.rank]
    whole.plot(numpy.arange(1, report.rank + 1), sigma, "o-", color=colour, ms=4)
    whole.set(xlabel="$k$", ylabel=r"$\sigma_k(X)$", yscale="log" if report.rank else "linear")
    whole.xaxis.set_major_locator(MaxNLocator(integer=True))
    widths = " → ".join(map(str, report.widths))
    whole.set_title(f"{widths}\nrank {report.rank}")
    for level in sigma ** (1 / report.depth):
        parts.axhline(level, color=colour, lw=0.8, alpha=0.6)
    for p, values in enumerate(report.layer_singular_values, start=1):
        parts.plot(numpy.full(len(values), p), values, "_", color="black", ms=10)
    parts.set_xticks(range(1, report.depth + 1))
    parts.set(xlabel="layer $p$", ylabel=r"$\sigma_k(W_p)$; lines: $\sigma_k(X)^{1/N}$")
    title = rf"$\|\mu\| = {report.moment_map_norm:.2g}$, $\|W\|^2 = {report.squared_norm:.3g}$"
    if report.largest_step is not None:
        title += f"\nunstable from step {report.largest_step:.3g}"
    parts.set_title(title)
    return panels


def plot_loss_paths(paths: Sequence[LossPath], *, axes: Axes | None = None) -> Axes:
    """Draw a loss on the ways from one network to another, with their barriers.

    Parameters
    ----------
    paths : sequence of LossPath
        Of `dlngeo.networks.loss_path`.
    axes : matplotlib.axes.Axes, optional
        The current ones by default.

    Returns
    -------
    axes : matplotlib.axes.Axes
    """
    axes = current_axes() if axes is None else axes
    for path, colour in zip(paths, (*DEPTH_COLOURS[1:], *DEPTH_COLOURS), strict=False):
        label = f"{path.kind}, barrier {path.barrier:.2g}"
        axes.plot(path.times, path.losses, color=colour, label=label)
    axes.set(xlabel="$t$", ylabel="loss")
    axes.legend()
    return axes
