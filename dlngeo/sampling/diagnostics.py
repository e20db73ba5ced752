"""Chains for ArviZ, which has the diagnostics: ESS, R-hat, traces, energies."""

import logging
from typing import TYPE_CHECKING, Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import instance
from dlngeo.sampling.ensembles import Ensemble, Run
from dlngeo.sampling.langevin_dynamics.run import LangevinResult
from dlngeo.version import __version__

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import DataTree

SETTINGS = ("beta", "kappa", "step_size", "scheme", "save_every", "burn_in")
PER_CHAIN = ("acceptance_rate", "n_reflections", "n_rejected")


def load_arviz() -> tuple[Any, Any]:
    """Return the modules ArviZ and xarray, or say in an ImportError how to install them."""
    # They report what of them is installed, which nothing here needs.
    for name in ("arviz", "arviz.preview", "arviz_base", "arviz_stats", "arviz_plots"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        import arviz
        import h5netcdf  # noqa: F401  # which writes their files, by h5py
        import h5py  # noqa: F401
        import xarray
    except ImportError as error:
        raise ImportError(
            "the diagnostics are ArviZ's, which is not installed: pip install 'dlngeo[sampling]'."
        ) from error
    return arviz, xarray


def to_inference_data(source: LangevinResult | Ensemble) -> "InferenceData | DataTree":
    """Return chains as ArviZ's InferenceData, which is xarray's DataTree from ArviZ 1 on.

    ``arviz.summary(data)``, ``arviz.plot_trace(data)``, ``arviz.ess(data.sample_stats["energy"])``
    then serve, and ``data.to_netcdf(path, engine="h5netcdf")``. The arguments of an ensemble's grid
    are dimensions, and the runs at a point are chains: ``data.sel(beta=2.0)`` is what it was there.

    Parameters
    ----------
    source : LangevinResult or Ensemble
        Of runs with ``save_every``.

    Returns
    -------
    data : arviz.InferenceData or xarray.DataTree
        Group ``posterior`` with what was recorded: ``singular_values`` of dimensions ``chain``,
        ``draw``, those of the grid, and ``k``. Group ``sample_stats`` with ``energy``, if it was
        recorded, and of each chain ``acceptance_rate``, ``n_reflections`` and ``n_rejected``. As
        attributes the settings that are the same for all.

    Raises
    ------
    ImportError
        Without ArviZ.
    ValueError
        If nothing was recorded, or the ensemble did not succeed. Of a single run that stopped early
        there are the draws up to there.
    """
    arviz, xarray = load_arviz()
    attributes: dict[str, Any] = {"dlngeo": __version__}
    if isinstance(source, LangevinResult):
        run = Run({}, (0,), source, 0.0, source.status)
        source = Ensemble({}, 1, 0, (run,), success=True, interrupted=False, status=source.status)
    elif not instance(source, Ensemble, "the source, unless a LangevinResult,").success:
        raise ValueError(f"the ensemble did not succeed: {source.status}")
    else:
        attributes |= {"seed": source.seed, "n_seeds": source.n_seeds}
    results = [run.result for run in source.runs]
    if not all(isinstance(result, LangevinResult) and result.trace for result in results):
        raise ValueError("there are no chains: run langevin, with save_every to record them.")
    settings = [_settings(result) for result in results]
    for name in settings[0]:
        first = settings[0][name]
        if name not in source.grid and all(numpy.array_equal(own[name], first) for own in settings):
            attributes[name] = first
    coordinates = {name: _labels(values) for name, values in source.grid.items()}
    coordinates["k"] = numpy.arange(1, results[0].singular_values.shape[-1] + 1)
    groups: dict[str, dict[str, Any]] = {"posterior": {}, "sample_stats": {}}
    for name in results[0].trace:
        group = groups["sample_stats" if name == "energy" else "posterior"]
        group[name] = _variable(name, source, lambda result, name=name: result.trace[name])
    for name in PER_CHAIN:
        if getattr(results[0], name) is not None:
            groups["sample_stats"][name] = _variable(name, source, name)
    n_chains, n_draws = groups["posterior"]["singular_values"][-1].shape[:2]
    coordinates |= {"chain": numpy.arange(n_chains), "draw": numpy.arange(n_draws)}
    datasets = {
        group: xarray.Dataset(variables, coordinates, attributes)
        for group, variables in groups.items()
    }
    if "InferenceData" in vars(arviz):  # ArviZ 1 warns where it is asked for the name
        return arviz.InferenceData(attrs=attributes, **datasets)
    return xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=attributes), **datasets})


def _settings(result: LangevinResult) -> dict[str, Any]:
    """Return the settings of a run as a file takes them."""
    named = {name: getattr(result, name) for name in SETTINGS}
    rank = result.singular_values.shape[-1]
    return {"depth": result.depth, "rank": rank, **named, "widths": list(result.widths)}


def _labels(values: tuple[Any, ...]) -> Array:
    """Return values of an argument as the labels of a dimension, or numbers for them."""
    if all(isinstance(value, int | float | str) for value in values):
        return numpy.asarray(values)
    return numpy.arange(len(values))


def _variable(name: str, source: Ensemble, quantity: Any) -> tuple[tuple[str, ...], Array]:
    """Return names of dimensions and values of a quantity of chains, shape=[chains, ...]."""
    values = source.stack(quantity)
    n_axes = len(source.grid)
    own = ["chain"] if name in PER_CHAIN else ["chain", "draw"]
    leading = range(n_axes, n_axes + 1 + len(own))
    values = numpy.moveaxis(values, leading, range(len(leading)))
    # The runs at a point and their chains are one axis.
    values = values.reshape(-1, *values.shape[2:])
    inner = [f"{name}_dim_{axis}" for axis in range(values.ndim - len(own) - n_axes)]
    if name == "singular_values":
        inner = ["k"]
    return (*own, *source.grid, *inner), values
