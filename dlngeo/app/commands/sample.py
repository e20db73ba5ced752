"""``dlngeo sample``: sample networks at temperatures."""

import argparse
import csv
import functools
import math
import shutil
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy

from dlngeo.app.files.problem_files import read_problem
from dlngeo.app.options import REPORT, SAMPLES, TABLE
from dlngeo.app.printed_tables import heading, line
from dlngeo.app.problems import Problem
from dlngeo.app.results import check_folder, results_folder
from dlngeo.app.sampling_report import draw_sampling_report, summarise
from dlngeo.app.workers import process_pool
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
    "depth": ("depth", "d"),
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
    output = options.output
    check_folder(output, (SAMPLES, REPORT, TABLE))
    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {options.workers}.")
    equilibria = _equilibria(problem)
    checkpoints = output.with_name(f"{output.name}.checkpoints")
    n_runs = math.prod(map(len, problem.grid.values()))
    found = _sample(problem, checkpoints, min(options.workers, n_runs))
    found = _by_temperature(found, problem)
    data: Any = to_inference_data(found)
    data.attrs["problem"] = options.problem.read_text(encoding="utf-8-sig")
    summary = summarise(data)
    has_means = all(numpy.isfinite(summary[name]).all() for name in ("energy", "energy_error"))
    if not has_means or numpy.isnan(summary["r_hat"]).any():
        shutil.rmtree(checkpoints)
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
    with results_folder(output) as results:
        data.to_netcdf(str(results / SAMPLES), engine="h5netcdf")
        title = f"Langevin dynamics of {options.problem.name}: {problem.energy}"
        figure = draw_sampling_report(data, summary, equilibria, title=title)
        figure.savefig(results / REPORT, dpi=150)
        with (results / TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    shutil.rmtree(checkpoints)
    print(f"\nwritten to {output}: {SAMPLES}, {REPORT}, {TABLE}")


def _sample(problem: Problem, checkpoints: Path, n_workers: int) -> Ensemble:
    """Run all chains, or say how to go on."""
    _claim(checkpoints, problem)
    shows = sys.stderr.isatty()
    task = functools.partial(problem.run, progress=shows and n_workers == 1)
    try:
        with process_pool(n_workers) as executor:
            found = ensemble(
                task,
                problem.grid,
                seed=problem.seed,
                executor=executor,
                folder=checkpoints,
                progress=shows,
            )
        is_complete = all(run.result is not None for run in found.runs)
        if is_complete and not found.success and not found.interrupted:
            raise RuntimeError(found.status)
    except Exception:
        # What cannot succeed leaves nothing behind.
        shutil.rmtree(checkpoints)
        raise
    how = f"the states are in {checkpoints}: give the same command to go on"
    if found.interrupted:
        raise KeyboardInterrupt(f"interrupted: {how}.")
    if not is_complete:
        raise RuntimeError(f"workers died; {how}, with fewer workers if memory is short.")
    return found


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


def _claim(checkpoints: Path, problem: Problem) -> None:
    """Make the folder of checkpoints, or make sure that the one there is of this problem."""
    label = checkpoints / "problem"
    if not checkpoints.exists():
        checkpoints.mkdir()
        label.write_text(problem.digest)
    elif not label.is_file() or label.read_text() != problem.digest:
        raise ValueError(
            f"{checkpoints} holds the checkpoints of another problem: remove it to start anew, or "
            "give another --output."
        )
    elif any(checkpoints.glob("*.npz")):
        print(f"going on from {checkpoints}", file=sys.stderr)


def _equilibria(problem: Problem) -> dict[tuple[float, int], Equilibrium]:
    """Return the exact laws by β and depth, where there are integrals to compute them by."""
    has_frames = problem.energy == "least squares" and problem.has_small_frames
    is_known = problem.is_spectral or (has_frames and problem.determinant is None)
    if not is_known or problem.rank > MOST_VALUES or problem.kappa == 0:
        return {}
    return {
        (beta, depth): _equilibrium(problem, beta, depth)
        for beta in problem.betas
        for depth in problem.depths
    }


def _equilibrium(problem: Problem, beta: float, depth: int) -> Equilibrium:
    widths, rank, kappa = problem.widths(depth), problem.rank, problem.kappa
    if problem.is_spectral:
        return Equilibrium(problem.energy_at(depth), widths, rank, beta=beta, kappa=kappa)
    decay = problem.weight_decay * WeightDecay(depth)
    target = problem.parameters["target"]
    return LeastSquaresEquilibrium(target, widths, rank, spectral=decay, beta=beta, kappa=kappa)


def _remarks(found: Ensemble, rows: list[dict[str, Any]]) -> list[str]:
    """Return of what law the chains are, and where they do not agree on it."""
    remarks = [f"\nlaw of {found.runs[0].result.space}"]
    apart = [row for row in rows if row["r_hat"] > CONVERGED]
    if apart:
        points = ", ".join(f"{row['beta']:g} at depth {row['depth']}" for row in apart)
        remarks.append(
            f"The chains disagree (R-hat above {CONVERGED}) for beta {points}: take more steps and "
            "a longer burn_in, or chains that start apart less."
        )
    return remarks


def _row(
    found: Ensemble,
    summary: Any,
    equilibria: dict[tuple[float, int], Any],
    beta: float,
    depth: int,
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
