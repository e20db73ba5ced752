"""Free energy, mean energy, entropy and heat capacity against temperature, by depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes

from dlngeo.plotting.style import current_figure, depth_colour, mark_temperatures
from dlngeo.sampling.thermodynamic_integration import FreeEnergies
from dlngeo.thermodynamics.equilibrium import ThermodynamicCurves

PANELS = {
    "free_energy": r"free energy  $F = -(\kappa/\beta) \log Z$",
    "mean_energy": r"mean energy  $\langle E \rangle$",
    "entropy": r"Gibbs entropy  [nats]",
    "heat_capacity": r"heat capacity  $C = d\langle E \rangle / d(1/\beta)$",
}


def plot_thermodynamics(
    sampled: Mapping[int, FreeEnergies],
    exact: Mapping[int, ThermodynamicCurves] | None = None,
    *,
    axes: Sequence[Axes] | None = None,
) -> Any:
    """Draw thermodynamics against ``β``, in the colours of depths.

    Parameters
    ----------
    sampled : dict of int to FreeEnergies
        By depth, of `dlngeo.sampling.thermodynamics_by_depth`: points, with bars of two standard
        errors.
    exact : dict of int to ThermodynamicCurves, optional
        Lines; without, lines join the points.
    axes : sequence of four matplotlib.axes.Axes, optional
        For free energy, mean energy, entropy and heat capacity; new ones in the current figure by
        default.

    Returns
    -------
    axes : array of matplotlib.axes.Axes, shape=[4]
    """
    exact = {} if exact is None else exact
    if axes is None:
        axes = current_figure().subplots(2, 2, sharex=True).ravel()
    panels = numpy.asarray(axes, dtype=object)
    if panels.shape != (4,):
        raise ValueError(f"expected four axes, got an array of shape {panels.shape}.")
    for panel, (name, label) in zip(panels, PANELS.items(), strict=True):
        for depth, found in sorted(sampled.items()):
            colour, betas = depth_colour(depth), found.curves.beta
            errors = 2 * getattr(found.errors, name)
            values = getattr(found.curves, name)
            panel.errorbar(
                betas,
                values,
                errors,
                fmt="o",
                ms=4,
                color=colour,
                capsize=3,
                label=f"depth {depth}",
            )
            line = exact.get(depth, found.curves)
            panel.plot(line.beta, getattr(line, name), color=colour, lw=1.2)
        panel.set_title(label)
        mark_temperatures(
            panel, [b for found in sampled.values() for b in found.curves.beta.tolist()]
        )
    panels[0].legend()
    return panels
