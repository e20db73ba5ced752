"""How figures look: colours of depths, fonts and lines."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DEPTH_COLOURS = ("#8a8a8a", "#E69F00", "#0072B2", "#009E73", "#CC79A7")
"""Of depths 1, 2, ...: the palette of Okabe and Ito, safe for the colour-blind."""

INVERSE_TEMPERATURE = r"inverse temperature $\beta$  [1 / unit of $E$]"

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


def depth_colour(depth: float) -> str:
    """Return the colour that stands for a depth in every figure; infinite depth is black."""
    if depth == math.inf:
        return "#000000"
    return DEPTH_COLOURS[int(depth - 1) % len(DEPTH_COLOURS)]


def mark_temperatures(axes: Axes, betas: Sequence[float]) -> None:
    """Make inverse temperatures the horizontal axis, which names them if they are few."""
    axes.set_xlabel(INVERSE_TEMPERATURE)
    betas = sorted(set(betas))
    if len(betas) > 1:
        axes.set_xscale("log")
    if len(betas) <= 8:
        axes.set_xticks(betas, [f"{beta:g}" for beta in betas])
        axes.set_xticks([], minor=True)


def current_axes() -> Axes:
    """Return the axes that pyplot draws into."""
    return current_figure().gca()


def current_figure() -> Figure:
    """Return the figure that pyplot draws into."""
    # Of the interactive interface, which the command line has no use for.
    import matplotlib.pyplot

    return matplotlib.pyplot.gcf()
