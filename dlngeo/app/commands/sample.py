"""``dlngeo sample``: sample networks at temperatures."""

import argparse
import csv
import functools
import io
import itertools
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy
from tqdm import tqdm

from dlngeo.app.blame import one_line
from dlngeo.app.checkpoints import CHECKPOINTS, LABEL, STATES, remaining
from dlngeo.app.files.problem_files import read_problem
from dlngeo.app.options import REPORT, SAMPLES, TABLE
from dlngeo.app.pictures import save_picture
from dlngeo.app.printed_tables import heading, line
from dlngeo.app.problems import Problem
from dlngeo.app.sampling_report import draw_sampling_report, summarise
from dlngeo.outcomes import is_interrupt
from dlngeo.runs.outputs import hold_folder, written_file, written_files
from dlngeo.runs.workers import process_pool
from dlngeo.sampling.convergence import CONVERGED
from dlngeo.sampling.diagnostics import load_arviz, to_inference_data
from dlngeo.sampling.energies import WeightDecay
from dlngeo.sampling.ensembles import Ensemble, Run, ensemble
from dlngeo.thermodynamics.equilibrium import Equilibrium
from dlngeo.thermodynamics.least_squares import LeastSquaresEquilibrium

EXAMPLE = files("dlngeo.app") / "sampling.toml"

MOST_VALUES = 3
"""Up to so many singular values the law is integrated, to compare."""

COLUMNS = {
    "beta": ("beta", "g"),
    "depth": ("depth", "g"),
    "energy": ("<E>", "#.5g"),
    "error": ("+-", ".1e"),
    "exact": ("exact", "#.5g"),
    "r_hat": ("R-hat", ".3f"),
    "ess": ("ESS", ".0f"),
    "acceptance": ("acceptance", ".2f"),
    "seconds": ("seconds", ".1f"),
}


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if options.example:
        print(EXAMPLE.read_text(encoding="utf-8"), end="")
        return
    if options.problem is None:
        raise ValueError("there is no problem: give a TOML file, or --example to see one.")
    if options.output is None:
        raise ValueError("there is no folder to write to: give --output DIR.")
    load_arviz()
    problem = read_problem(options.problem)
    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}.")
    equilibria = _equilibria(problem)
    with (
        hold_folder(options.output, (SAMPLES, REPORT, TABLE)) as output,
        _kept(output / CHECKPOINTS, problem) as checkpoints,
    ):
        found = _by_temperature(_sample(problem, checkpoints, options.workers), problem)
        written = _report(found, problem, options.problem, equilibria, output)
    print(f"\nwritten to {options.output}: " + ", ".join(written))


@contextmanager
def _kept(checkpoints: Path, problem: Problem) -> Iterator[Path]:
    """Give the folder of checkpoints, which goes when the block succeeds, and not before."""
    _claim(checkpoints, problem)
    try:
        yield checkpoints
    except (Exception, KeyboardInterrupt) as error:
        how = remaining(checkpoints.parent)
        if not how:
            how = "nothing was written."
            _remove(checkpoints)
        if is_interrupt(error):
            said = str(error).rstrip(".") if isinstance(error, KeyboardInterrupt) else ""
            raise KeyboardInterrupt(f"{said or 'interrupted'}; {how}") from error
        error.add_note(f"({how})")
        raise
    _remove(checkpoints)


def _claim(checkpoints: Path, problem: Problem) -> None:
    """Make the folder of checkpoints, or make sure that those there are of this problem."""
    checkpoints.mkdir(exist_ok=True)
    label = checkpoints / LABEL
    if not any(checkpoints.glob(STATES)):
        with written_file(label) as file:
            file.write_text(problem.digest)
    elif not label.is_file() or label.read_text() != problem.digest:
        raise ValueError(
            f"{checkpoints} holds the checkpoints of another problem: remove it to start anew, or "
            "give another --output."
        )
    else:
        print(f"going on from {checkpoints}", file=sys.stderr)


def _remove(checkpoints: Path) -> None:
    """Remove what is ours in the folder of checkpoints, and the folder if nothing else is there."""
    for pattern in (STATES, ".dlngeo-*"):
        for file in checkpoints.glob(pattern):
            file.unlink()
    with suppress(OSError):
        checkpoints.rmdir()


def _sample(problem: Problem, checkpoints: Path, n_workers: int) -> Ensemble:
    """Run all chains, or say why there are no results."""
    shows = sys.stderr.isatty()
    n_runs = math.prod(map(len, problem.grid.values()))
    with process_pool(min(n_workers, n_runs)) as executor:
        found = ensemble(
            functools.partial(problem.run, progress=shows and executor is None),
            problem.grid,
            seed=problem.seed,
            executor=executor,
            folder=checkpoints,
            progress=shows,
        )
    if found.interrupted:
        raise KeyboardInterrupt
    if any(run.result is None for run in found.runs):
        raise RuntimeError("workers died; take fewer of them if memory is short.")
    if not found.success:
        raise RuntimeError(found.status)
    return found


def _report(
    found: Ensemble,
    problem: Problem,
    path: Path,
    equilibria: dict[tuple[float, float], Equilibrium],
    output: Path,
) -> list[str]:
    """Write the results, and return the names of their files."""
    data: Any = to_inference_data(found)
    data.attrs["problem"] = path.read_text(encoding="utf-8-sig")
    summary = summarise(data)
    has_means = all(numpy.isfinite(summary[name]).all() for name in ("energy", "energy_error"))
    if not has_means or numpy.isnan(summary["r_hat"]).any():
        raise RuntimeError(
            "the chains have no means with finite errors: they stand still or run away; take "
            "another step_size."
        )
    rows = [
        _row(found, summary, equilibria, beta, depth)
        for depth in problem.depths
        for beta in problem.betas
    ]
    print(heading(COLUMNS), *(line(COLUMNS, row) for row in rows), sep="\n")
    print(*_remarks(found, rows), sep="\n")
    with written_files(output) as results:
        (results / SAMPLES).write_bytes(_netcdf(data))
        with (results / TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    title = f"Langevin dynamics of {one_line(path.name)}: {problem.energy}"
    draw = functools.partial(draw_sampling_report, data, summary, equilibria, title=title)
    return [SAMPLES, TABLE, *save_picture(output, REPORT, draw)]


def _netcdf(data: Any) -> bytes:
    """Return the bytes of a NetCDF file, as `arviz.InferenceData.to_netcdf` writes it.

    In memory, as the library of the format does not survive a disk that is full.
    """
    _, xarray = load_arviz()
    file, mode = io.BytesIO(), "w"
    groups = {"/": xarray.Dataset(attrs=data.attrs)} | {name: data[name] for name in data.groups()}
    for name, group in groups.items():
        packed = {variable: {"zlib": True} for variable in group.data_vars}
        group.to_netcdf(file, mode, group=name, engine="h5netcdf", encoding=packed)
        mode = "a"
    return file.getvalue()


def _by_temperature(found: Ensemble, problem: Problem) -> Ensemble:
    """Return the runs at each temperature, of replicas too."""
    if problem.swap_every is None:
        return found
    ladders = {run.point["depth"]: run for run in found.runs}
    runs = tuple(
        Run(
            {"beta": beta, "depth": depth},
            (i, j, 0),
            ladders[depth].result.at(beta),
            ladders[depth].seconds / len(problem.betas),
            ladders[depth].status,
        )
        for i, beta in enumerate(problem.betas)
        for j, depth in enumerate(problem.depths)
    )
    return replace(found, grid={"beta": problem.betas, "depth": problem.depths}, runs=runs)


def _equilibria(problem: Problem) -> dict[tuple[float, float], Equilibrium]:
    """Return the exact laws by β and depth, where there are integrals to compute them by."""
    has_frames = problem.energy == "least squares" and problem.has_small_frames
    is_known = problem.is_spectral or (has_frames and problem.determinant is None)
    if not is_known or problem.rank > MOST_VALUES or problem.kappa == 0:
        return {}
    points = itertools.product(problem.betas, (d for d in problem.depths if d < math.inf))
    bar = tqdm(list(points), desc="exact laws", disable=not sys.stderr.isatty(), leave=False)
    return {point: _equilibrium(problem, *point) for point in bar}


def _equilibrium(problem: Problem, beta: float, depth: float) -> Equilibrium:
    widths, rank, kappa = problem.widths(depth), problem.rank, problem.kappa
    if problem.is_spectral:
        return Equilibrium(problem.energy_at(depth), widths, rank, beta=beta, kappa=kappa)
    decay = problem.weight_decay * WeightDecay(int(depth))
    target = problem.parameters["target"]
    return LeastSquaresEquilibrium(target, widths, rank, spectral=decay, beta=beta, kappa=kappa)


def _remarks(found: Ensemble, rows: list[dict[str, Any]]) -> list[str]:
    """Return of what law the chains are, and where they do not agree on it."""
    results = [run.result for run in found.runs]
    remarks = [f"\nlaw of {results[0].space}"]
    # Of infinite depth; without noise (kappa) nobody expects one.
    remarks += [
        f"depth {result.depth:g}: {result.ending}"
        for result in results
        if result.kappa > 0 and not result.is_stationary
    ]
    apart = [row for row in rows if row["r_hat"] > CONVERGED]
    if apart:
        points = ", ".join(f"{row['beta']:g} at depth {row['depth']:g}" for row in apart)
        remarks.append(
            f"The chains disagree (R-hat above {CONVERGED}) for beta {points}: take more steps and "
            "a longer burn_in, or chains that start apart less."
        )
    return remarks


def _row(
    found: Ensemble,
    summary: Any,
    equilibria: dict[tuple[float, float], Any],
    beta: float,
    depth: float,
) -> dict[str, Any]:
    """Return what is reported of one temperature and depth."""
    here, law = summary.sel(beta=beta, depth=depth), equilibria.get((beta, depth))
    run = next(run for run in found.runs if run.point == {"beta": beta, "depth": depth})
    rate = run.result.acceptance_rate
    return {
        "beta": beta,
        "depth": depth,
        "energy": float(here["energy"]),
        "error": float(here["energy_error"]),
        "exact": None if law is None else law.mean_energy,
        "r_hat": float(here["r_hat"]),
        "ess": float(here["ess"]),
        "acceptance": None if rate is None else float(rate.mean()),
        "seconds": round(run.seconds, 2),
    }
