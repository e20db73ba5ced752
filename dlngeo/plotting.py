"""Figures."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogFormatter

from dlngeo.core.base.arrays import Array

if TYPE_CHECKING:
    from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices
    from dlngeo.solvers.completion import Completion

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
    completions: Sequence["Completion"],
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


def _name(completion: "Completion") -> str:
    is_linear = completion.depth == 1 and completion.solver == "flow"
    return "depth 1 (linear model)" if is_linear else f"depth {completion.depth}"


def _clock(completions: Sequence["Completion"]) -> dict[str, Any]:
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
    figure: SubFigure, completions: Sequence["Completion"], captions: Sequence[str] | None
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


def _draw_histories(figure: SubFigure, completions: Sequence["Completion"]) -> None:
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

    if axes is None:
        axes = _current_axes()
    for ray in ends(n_rays, lengths.max() * numpy.linspace(0, 1, 201)):
        axes.plot(*ray.T, color=colour, lw=0.6, alpha=0.6)
    for ring in numpy.swapaxes(ends(720, numpy.sort(lengths)), 0, 1):
        axes.plot(*numpy.concatenate([ring, ring[:1]]).T, color=colour, lw=1.4)
    axes.plot(*chart(numpy.asarray(base_point)[None]).T, "o", color="black", ms=3.5)
    axes.set_aspect("equal")
    return axes


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
    if axes is None:
        axes = _current_axes()
    options: Any = {"shading": "gouraud", "rasterized": True} | mesh
    axes.pcolormesh(sigma, sigma, function(matrices), **options)
    axes.set(xscale="log", yscale="log", xlabel=r"$\sigma_1$", ylabel=r"$\sigma_2$")
    axes.set_aspect("equal")
    return axes


def _current_axes() -> Axes:
    # Of the interactive interface, which the command line has no use for.
    import matplotlib.pyplot

    return matplotlib.pyplot.gca()
