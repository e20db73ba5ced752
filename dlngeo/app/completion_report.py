"""The figure of descents that completed a matrix, by depth."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatter

from dlngeo.core.base.arrays import Array
from dlngeo.plotting.style import STYLE, depth_colour
from dlngeo.solvers.completion import Completion

TIME = "time $t \\cdot s_1$"
"""Time label; ``s_1`` is the largest singular value of the data."""

FIRST_TIME = 0.2


def draw_completion_report(
    completions: Sequence[Completion],
    captions: Sequence[str],
    *,
    observed: Array | None = None,
    matrices: Sequence[Array] = (),
    truth: Array | None = None,
    channels: int | None = None,
    title: str = "",
) -> Figure:
    """Draw the descents that completed a matrix at several depths, and the matrix itself.

    Parameters
    ----------
    completions : sequence of Completion
        The descents, one for each depth.
    captions : sequence of str
        What to say of each, in the same order.
    observed : array, shape=[m, n], optional
        NaN where entries are missing. If it is given the matrices are drawn too.
    matrices : sequence of array, shape=[m, n]
        Completed matrices, one for each depth.
    truth : array, shape=[m, n], optional
    channels : int, optional
        If the matrix is a picture, 1 for grey and 3 for colours.
    title : str

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    width, band = 15.0, 2.9
    with matplotlib.rc_context(STYLE):
        if observed is None:
            figure = Figure(figsize=(width, 2 * band + 0.4), layout="constrained")
            bands: Any = figure.subfigures(2, 1)
            middle, bottom = bands
        else:
            draw = _painter(observed, channels)
            panels = [
                ("observed", f"{numpy.isfinite(observed).mean():.0%} of the entries", observed)
            ]
            for found, caption, matrix in zip(completions, captions, matrices, strict=True):
                panels.append((_name(found), caption, matrix))
            if truth is not None:
                panels.append(("truth", "", truth))
            rows, columns = draw(observed).shape[:2]
            height = min(width / len(panels) * rows / columns, 4.0) + 0.6
            figure = Figure(figsize=(width, height + 2 * band + 0.4), layout="constrained")
            bands = figure.subfigures(3, 1, height_ratios=[height, band, band])
            top, middle, bottom = bands
            all_axes = top.subplots(1, len(panels))
            for axes, (name, caption, matrix) in zip(all_axes, panels, strict=True):
                axes.imshow(draw(matrix), interpolation="none")
                axes.set_title(name, fontweight="bold")
                axes.set_xlabel(caption)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
        figure.suptitle(title, fontsize=13, fontweight="bold")
        _draw_singular_values(middle, completions, captions if observed is None else None)
        _draw_histories(bottom, completions)
    return figure


def _name(completion: Completion) -> str:
    is_linear = completion.depth == 1 and completion.solver == "flow"
    return "depth 1 (linear model)" if is_linear else f"depth {completion.depth}"


def _clock(completions: Sequence[Completion]) -> dict[str, Any]:
    """Return label, scale and limits of the axis along descents."""
    last = max(completion.times[-1] for completion in completions)
    solver = completions[0].solver
    if solver == "flow":
        return {"xlabel": TIME, "xscale": "log", "xlim": (FIRST_TIME, 1.3 * last)}
    return {"xlabel": f"iterations of {solver}", "xlim": (0, 1.02 * last)}


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


def _draw_singular_values(
    figure: SubFigure, completions: Sequence[Completion], captions: Sequence[str] | None
) -> None:
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
        axes.set(yscale="log", **_clock(completions))
    for axes, caption in zip(all_axes, captions or (), strict=False):
        axes.set_title(axes.get_title() + "\n" + caption)
    all_axes[0].set_ylabel(r"$\sigma_k\,/\,s_1$")


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
        axes.set(title=title, ylabel=label, **_clock(completions))
    for axes in all_axes[:2]:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    all_axes[0].legend(loc="best")
