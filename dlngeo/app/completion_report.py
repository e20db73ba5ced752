"""The figure of descents that completed a matrix, by depth."""

from collections.abc import Sequence
from typing import Any

import matplotlib
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
    pictures: Sequence[Array] = (),
    *,
    observed: str = "",
    title: str = "",
) -> Figure:
    """Draw the descents that completed a matrix at several depths, and the matrix itself.

    Parameters
    ----------
    completions : sequence of Completion
        The descents, one for each depth.
    captions : sequence of str
        What to say of each, in the same order.
    pictures : sequence of array, shape=[m, n, 3]
        Colours of the observed matrix, of the completed ones, and of the true one if it is known;
        none, to leave them out.
    observed : str
        What to say of the observed matrix.
    title : str

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    width, band = 15.0, 2.9
    heights = [band, band]
    if pictures:
        rows, columns = pictures[0].shape[:2]
        heights = [min(width / len(pictures) * rows / columns, 4.0) + 0.6, *heights]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, sum(heights) + 0.4), layout="constrained")
        figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
        bands: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
        if pictures:
            names = ["observed", *map(_name, completions), "truth"]
            panels = zip(names, [observed, *captions, ""], pictures, strict=False)
            _draw_pictures(bands[0], list(panels))
        _draw_singular_values(bands[-2], completions, () if pictures else captions)
        _draw_histories(bands[-1], completions)
    return figure


def _name(completion: Completion) -> str:
    is_linear = completion.depth == 1 and completion.solver == "flow"
    return "depth 1 (linear model)" if is_linear else f"depth {completion.depth}"


def _draw_pictures(figure: SubFigure, panels: Sequence[tuple[str, str, Array]]) -> None:
    for axes, (name, caption, picture) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.imshow(picture, interpolation="none")
        axes.set_title(name, fontweight="bold")
        axes.set(xlabel=caption, xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)


def _clock(completions: Sequence[Completion]) -> dict[str, Any]:
    """Return label, scale and limits of the axis along descents."""
    last = max(completion.times[-1] for completion in completions)
    solver = completions[0].solver
    if solver == "flow":
        return {"xlabel": TIME, "xscale": "log", "xlim": (FIRST_TIME, 1.3 * last)}
    return {"xlabel": f"iterations of {solver}", "xlim": (0, 1.02 * last)}


def _draw_singular_values(
    figure: SubFigure, completions: Sequence[Completion], captions: Sequence[str]
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
    for axes, caption in zip(all_axes, captions, strict=False):
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
