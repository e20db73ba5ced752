"""Figures."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatter

from dlngeo.completion import Completion
from dlngeo.core.arrays import Array

DEPTH_COLOURS = ("#8a8a8a", "#E69F00", "#0072B2", "#009E73", "#CC79A7")
"""Of depths 1, 2, ...: the palette of Okabe and Ito, safe for the colour-blind."""

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


TIME = "time $t \\cdot s_1$"
"""Time label; ``s_1`` is the largest singular value of the data."""

FIRST_TIME = 0.2


def depth_colour(depth: int) -> str:
    """Return the colour that stands for a depth in every figure."""
    return DEPTH_COLOURS[(depth - 1) % len(DEPTH_COLOURS)]


def completion_report(
    observed: Array,
    matrices: Sequence[Array],
    completions: Sequence[Completion],
    captions: Sequence[str],
    *,
    truth: Array | None = None,
    channels: int | None = None,
    title: str = "",
) -> Figure:
    """Draw a matrix completed at several depths, and the flows that completed it.

    Parameters
    ----------
    observed : array, shape=[m, n]
        NaN where entries are missing.
    matrices : sequence of array, shape=[m, n]
        Completed matrices, one for each depth.
    completions : sequence of Completion
        The flows, in the same order.
    captions : sequence of str
        What to say of each completed matrix.
    truth : array, shape=[m, n], optional
    channels : int, optional
        If the matrix is a picture, 1 for grey and 3 for colours.
    title : str

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    panels = [("observed", f"{numpy.isfinite(observed).mean():.0%} of the entries", observed)]
    panels += [
        (_name(flow.depth), caption, matrix)
        for flow, caption, matrix in zip(completions, captions, matrices, strict=True)
    ]
    if truth is not None:
        panels.append(("truth", "", truth))
    draw = _painter(observed, channels)
    with matplotlib.rc_context(STYLE):
        width = 15.0
        rows, columns = draw(observed).shape[:2]
        picture_height = min(width / len(panels) * rows / columns, 4.0) + 0.6
        figure = Figure(figsize=(width, picture_height + 6.2), layout="constrained")
        figure.suptitle(title, fontsize=13, fontweight="bold")
        heights = [picture_height, 2.9, 2.9]
        bands: Any = figure.subfigures(3, 1, height_ratios=heights)
        top, middle, bottom = bands
        for axes, (name, caption, matrix) in zip(top.subplots(1, len(panels)), panels, strict=True):
            axes.imshow(draw(matrix), interpolation="none")
            axes.set_title(name, fontweight="bold")
            axes.set_xlabel(caption)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
        _draw_singular_values(middle, completions)
        _draw_histories(bottom, completions)
    return figure


def _name(depth: int) -> str:
    return "depth 1 (linear model)" if depth == 1 else f"depth {depth}"


def _painter(observed: Array, channels: int | None) -> Callable[[Array], Array]:
    """Return the function from matrices to pictures, with missing entries in white."""
    if channels is not None:

        def paint(matrix: Array) -> Array:
            values = numpy.where(numpy.isfinite(matrix), matrix, 255.0)
            values = numpy.clip(values / 255, 0, 1).reshape(len(matrix), -1, channels)
            return numpy.broadcast_to(values, (*values.shape[:2], 3))

        return paint
    low, high = numpy.nanpercentile(observed, [1, 99])
    colours = matplotlib.colormaps["cividis"].with_extremes(bad="white")

    def paint_values(matrix: Array) -> Array:
        scaled = (matrix - low) / (high - low if high > low else 1.0)
        return colours(numpy.ma.masked_invalid(numpy.clip(scaled, 0, 1)))[..., :3]

    return paint_values


def _draw_singular_values(figure: SubFigure, completions: Sequence[Completion]) -> None:
    all_axes = figure.subplots(1, len(completions), sharex=True, sharey=True, squeeze=False)[0]
    for axes, flow in zip(all_axes, completions, strict=True):
        colour = depth_colour(flow.depth)
        axes.plot(flow.times, flow.singular_values, color=colour, lw=0.8, alpha=0.85)
        if flow.stop > 0:
            axes.axvline(flow.times[flow.stop], color="black", lw=0.9, ls=":")
            axes.annotate(
                "stop ",
                (flow.times[flow.stop], 1.0),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="top",
            )
        axes.set_title(f"depth {flow.depth}: singular values of $X$")
        axes.set(xscale="log", yscale="log", xlabel=TIME)
    all_axes[0].set_ylabel(r"$\sigma_k\,/\,s_1$")
    all_axes[0].set_xlim(left=FIRST_TIME)


def _draw_histories(figure: SubFigure, completions: Sequence[Completion]) -> None:
    all_axes = figure.subplots(1, 3, sharex=True)
    for flow in completions:
        colour = depth_colour(flow.depth)
        # A single layer has no orbit, and no entropy to speak of.
        entropy = flow.entropy if flow.depth > 1 else None
        histories = (flow.training_error, flow.held_out_error, entropy)
        for axes, history in zip(all_axes, histories, strict=True):
            if history is not None:
                axes.plot(flow.times, history, color=colour, label=f"depth {flow.depth}")
            if history is not None and flow.stop > 0:
                axes.plot(flow.times[flow.stop], history[flow.stop], "o", ms=6, color=colour)
    titles = (
        ("error on the training entries", "RMSE"),
        ("error on the held-out entries  (dots: where it stops)", "RMSE"),
        ("Boltzmann entropy of the networks over $X$", "$S$ / nats"),
    )
    for axes, (title, label) in zip(all_axes, titles, strict=True):
        axes.set(title=title, ylabel=label, xscale="log", xlabel=TIME)
    for axes in all_axes[:2]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    all_axes[0].set_xlim(left=FIRST_TIME)
    all_axes[0].legend(loc="lower left")
