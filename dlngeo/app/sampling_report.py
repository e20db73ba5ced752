"""The figure of what Langevin dynamics found, by temperature and depth."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from dlngeo.plotting.style import STYLE, depth_colour, mark_temperatures
from dlngeo.sampling.convergence import CONVERGED, r_hat
from dlngeo.sampling.diagnostics import load_arviz

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import Dataset, DataTree

MARKERS, LINES = ("o", "s", "^"), ("-", "--", ":")
"""Of the singular values that are shown, in descending order."""

LARGEST_RATIO = 10.0
"""What a larger R-hat is drawn as: of chains that stand apart it is infinite."""


def summarise(data: "InferenceData | DataTree") -> "Dataset":
    """Return means with their errors, and the worst diagnostics, at every point of a grid.

    Parameters
    ----------
    data : arviz.InferenceData or xarray.DataTree
        By `dlngeo.sampling.to_inference_data`, with ``singular_values`` and ``energy``.

    Returns
    -------
    summary : xarray.Dataset
        ``energy`` and ``singular_values``, their Monte Carlo standard errors ``energy_error`` and
        ``singular_values_error``; the largest ``r_hat`` and the least ``ess`` of these, and of the
        ``determinant_sign`` if it was recorded.
    """
    arviz, xarray = load_arviz()
    energy, sigma = data["sample_stats"]["energy"], data["posterior"]["singular_values"]
    chains = xarray.Dataset({"energy": energy, "singular_values": sigma})
    means, errors = chains.mean(("chain", "draw")), arviz.mcse(chains, method="mean")
    summary = means.assign({f"{name}_error": errors[name] for name in errors})
    ratios, sizes = arviz.rhat(chains), arviz.ess(chains)
    summary["r_hat"] = numpy.maximum(ratios["singular_values"].max("k"), ratios["energy"])
    summary["ess"] = numpy.minimum(sizes["singular_values"].min("k"), sizes["energy"])
    if "determinant_sign" in data["posterior"]:
        signs = data["posterior"]["determinant_sign"]
        # ArviZ's R-hat is NaN of chains that stand still, alike or apart.
        apart = xarray.apply_ufunc(
            r_hat, signs, input_core_dims=[["chain", "draw"]], vectorize=True
        )
        summary["r_hat"] = numpy.maximum(summary["r_hat"], apart)
        sizes = arviz.ess(xarray.Dataset({"sign": signs}))
        summary["ess"] = numpy.minimum(summary["ess"], sizes["sign"])
    return summary


def draw_sampling_report(
    data: "InferenceData | DataTree",
    summary: "Dataset",
    equilibria: Mapping[tuple[float, float], Any],
    *,
    title: str = "",
) -> Figure:
    """Draw means against temperature, laws, traces and diagnostics, by depth.

    Parameters
    ----------
    data : arviz.InferenceData or xarray.DataTree
        Of the grid ``beta``, ``depth``.
    summary : xarray.Dataset
        By `summarise`.
    equilibria : dict of (float, float) to Equilibrium
        The exact laws by ``beta`` and ``depth``; none, if they are not known.
    title : str

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15.0, 10.4), layout="constrained")
        figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
        bands: Any = figure.subfigures(3, 1)
        top, middle, bottom = bands
        by_energy, by_values = top.subplots(1, 2)
        _draw_energy(by_energy, summary, equilibria)
        _draw_singular_values(by_values, summary, equilibria)
        betas = _chosen(summary["beta"].values)
        for axes, beta in zip(middle.subplots(1, len(betas), squeeze=False)[0], betas, strict=True):
            _draw_law(axes, data["posterior"]["singular_values"].sel(beta=beta), equilibria)
        left, right = bottom.subfigures(1, 2, width_ratios=[1, 2])
        _draw_traces(left, data, betas[-1])
        ratio, size = right.subplots(1, 2)
        _draw_diagnostics(ratio, size, summary)
    return figure


def _chosen(values: Any) -> list[Any]:
    """Return three of many values: both ends and the middle."""
    ordered = sorted(values.tolist())
    return sorted({ordered[0], ordered[len(ordered) // 2], ordered[-1]})


def _along_beta(axes: Axes, summary: "Dataset") -> None:
    mark_temperatures(axes, summary["beta"].values.tolist())


def _depths(summary: Any) -> list[float]:
    return sorted(summary["depth"].values.tolist())


def _draw_mean(
    axes: Axes,
    summary: "Dataset",
    name: str,
    depth: float,
    exact: Mapping[float, float],
    marker: str = "o",
    line: str = "-",
) -> None:
    """Draw a mean with error bars against β; the line is exact if that is known."""
    here = summary.sel(depth=depth).sortby("beta")
    betas, means, colour = here["beta"].values, here[name].values, depth_colour(depth)
    curve = [exact[beta] for beta in betas.tolist()] if exact else means
    axes.plot(betas, curve, line, color=colour, lw=1.2)
    errors = 2 * here[f"{name}_error"].values
    axes.errorbar(betas, means, errors, fmt=marker, ms=5, color=colour, capsize=3, lw=1.2)


def _draw_energy(axes: Axes, summary: "Dataset", equilibria: Mapping) -> None:
    for depth in _depths(summary):
        exact = {beta: law.mean_energy for (beta, own), law in equilibria.items() if own == depth}
        _draw_mean(axes, summary, "energy", depth, exact)
    axes.set(title=f"mean energy{_caption(equilibria)}", ylabel=r"$\langle E \rangle$")
    _set_log_if_wide(axes, summary["energy"].values)
    _along_beta(axes, summary)
    _add_depth_legend(axes, _depths(summary))


def _caption(equilibria: Mapping) -> str:
    lines = "lines: exact" if equilibria else "lines: guides"
    return f"  (bars: two standard errors; {lines})"


def _draw_singular_values(axes: Axes, summary: "Dataset", equilibria: Mapping) -> None:
    n_values = summary.sizes["k"]
    shown = range(n_values) if n_values <= 3 else (0, n_values // 2, n_values - 1)
    for index, marker, line in zip(shown, MARKERS, LINES, strict=False):
        part = summary.isel(k=index)
        for depth in _depths(summary):
            exact = {
                beta: float(law.mean(lambda sigma, index=index: sigma[:, index]))
                for (beta, own), law in equilibria.items()
                if own == depth
            }
            _draw_mean(axes, part, "singular_values", depth, exact, marker, line)
    axes.set(
        title=f"mean singular values{_caption(equilibria)}",
        ylabel=r"$\langle \sigma_k \rangle$  [unit of $X$]",
    )
    _set_log_if_wide(axes, summary["singular_values"].isel(k=list(shown)).values)
    _along_beta(axes, summary)
    kinds = [
        Line2D([], [], color="black", marker=marker, ls=line, ms=5, label=rf"$\sigma_{{{k + 1}}}$")
        for k, marker, line in zip(shown, MARKERS, LINES, strict=False)
    ]
    axes.legend(handles=kinds, loc="best", ncols=len(kinds), handlelength=3)


def _set_log_if_wide(axes: Axes, values: Any) -> None:
    if values.min() > 0 and values.max() > 5 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _add_depth_legend(axes: Axes, depths: list[float]) -> None:
    handles = [
        Line2D([], [], color=depth_colour(n), marker="o", label=f"depth {n:g}") for n in depths
    ]
    axes.legend(handles=handles, loc="best")


def _draw_law(axes: Axes, sigma: Any, equilibria: Mapping) -> None:
    """Draw the law of all values ``λ = σ^{1/N}`` at a temperature; at infinite depth of ``σ``."""
    beta, depths = float(sigma["beta"]), _depths(sigma)
    powers = {n: 1.0 if n == math.inf else 1 / n for n in depths}
    roots = {n: sigma.sel(depth=n).values.ravel() ** powers[n] for n in depths}
    # All but the last of the tails, so that a few values far out do not press the rest together.
    last = 1.15 * max(float(numpy.quantile(lam, 0.999)) for lam in roots.values())
    bins = numpy.linspace(0, last, 61)
    for depth, lam in roots.items():
        colour, law = depth_colour(depth), equilibria.get((beta, depth))
        counts, _ = numpy.histogram(lam, bins)
        density = counts / (lam.size * (bins[1] - bins[0]))
        axes.stairs(density, bins, color=colour, lw=0.9 if law else 1.4)
        if law is not None:
            grid = numpy.linspace(0, last, 400)[1:]
            axes.plot(grid, _density(law, grid, depth), color=colour, lw=1.8)
    compared = ", and the exact law" if equilibria else ""
    compared += r"; at infinite depth of $\sigma$" if math.inf in depths else ""
    axes.set(title=rf"histogram of $\lambda_k = \sigma_k^{{1/N}}$ at $\beta$ = {beta:g}{compared}")
    axes.set(xlabel=r"$\lambda$  [unit of $W$]", ylabel=r"density", xlim=(0, last))
    axes.set_ylim(bottom=0)


def _density(law: Any, lam: Any, depth: float) -> Any:
    """Return the density of a singular value that is chosen at random, over ``λ``."""
    change = depth * lam ** (depth - 1)
    laws = [law.marginal(index) for index in range(law.rank)]
    return change * sum(marginal.pdf(lam**depth) for marginal in laws) / law.rank


def _draw_traces(figure: SubFigure, data: Any, beta: float) -> None:
    """Draw the energy of one chain at each of three depths."""
    energy, attrs = data["sample_stats"]["energy"].sel(beta=beta), data.attrs
    steps = attrs["burn_in"] + (energy["draw"].values + 1) * attrs["save_every"]
    times = steps * attrs["step_size"]
    depths = _chosen(energy["depth"].values)
    all_axes = figure.subplots(len(depths), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, depth in zip(all_axes, depths, strict=True):
        chain = energy.sel(depth=depth).isel(chain=0).values
        axes.plot(times, chain, color=depth_colour(depth), lw=0.7)
        axes.set(ylabel="$E$", xlim=(times[0], times[-1]))
    all_axes[0].set_title(rf"a chain of each depth, at $\beta$ = {beta:g}")
    all_axes[-1].set_xlabel(r"time $t$ = steps $\times$ step size")


def _largest(values: Any, least: float) -> float:
    """Return the largest finite value; of chains that stand still there may be none."""
    return float(values[numpy.isfinite(values)].max(initial=least))


def _draw_diagnostics(ratio: Axes, size: Axes, summary: "Dataset") -> None:
    summary = summary.assign(r_hat=summary["r_hat"].clip(max=LARGEST_RATIO))
    for depth in _depths(summary):
        here, colour = summary.sel(depth=depth).sortby("beta"), depth_colour(depth)
        for axes, name in ((ratio, "r_hat"), (size, "ess")):
            axes.plot(here["beta"], here[name], "o-", ms=5, lw=1.2, color=colour)
    ratio.axhline(CONVERGED, color="black", lw=0.9, ls=":")
    ratio.set(
        title=rf"$\hat R$, the largest of $E$, $\sigma_k$, det  (dotted: {CONVERGED:g})",
        ylabel=r"$\hat R$",
    )
    highest = float(summary["r_hat"].max())
    ratio.set_ylim(0.999, max(1.3 * highest - 0.3, 1.012))
    size.set(title="effective sample size, the least of them", ylabel="draws")
    size.set_ylim(0, 1.1 * float(summary["ess"].max()))
    for axes in (ratio, size):
        _along_beta(axes, summary)
