"""Ensembles of independent runs over a grid, on any executor."""

import contextlib
import functools
import itertools
import operator
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import file_path, flag, instance
from dlngeo.core.base.functions import function
from dlngeo.outcomes import Outcome, Printed, interruptible
from dlngeo.runs.outputs import hold_folder

RESERVED = ("rng", "checkpoint")

POLL_SECONDS, WORKERLESS_SECONDS = 2.0, 300.0
"""How often Dask is asked for its workers, and how long a cluster may have none."""

LOST, CANCELLED = "lost with its worker.", "cancelled by the executor."
ABANDONED = "waited for a worker in vain."
CAUSES = {
    LOST: "workers died, for want of memory or by a crash",
    CANCELLED: "the executor gave runs up: it was shut down, or lost its scheduler",
    ABANDONED: f"there was no worker for {WORKERLESS_SECONDS:g} seconds",
}
"""What became of runs that are not finished, and why."""


@dataclass(frozen=True, eq=False)
class Run(Printed):
    """One run of an ensemble.

    Attributes
    ----------
    point : dict
        Values of the grid's arguments.
    index : tuple of int
        Place in the grid, and number of the run there. It is the spawn key of the run's random
        numbers, ``numpy.random.SeedSequence(seed, spawn_key=index)``.
    result : object, or None
        What the task returned; None if the run is not finished.
    seconds : float
        Time that it took in this call.
    status : str
    """

    point: dict[str, Any]
    index: tuple[int, ...]
    result: Any
    seconds: float
    status: str


@dataclass(frozen=True, eq=False)
class Ensemble(Outcome):
    """Independent runs over a grid.

    Attributes
    ----------
    grid : dict of str to tuple
        Values of the arguments, whose product the grid is.
    n_seeds : int
        Runs at each point of the grid.
    seed : int
    runs : tuple of Run
        In the order of the grid, the last argument running faster, and the runs at a point fastest.
    """

    grid: dict[str, tuple[Any, ...]]
    n_seeds: int
    seed: int
    runs: tuple[Run, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of values of the arguments, and of the runs at each point."""
        return (*map(len, self.grid.values()), self.n_seeds)

    def stack(self, quantity: str | Callable[[Any], Any]) -> Array:
        """Return a quantity of all results in one array.

        Parameters
        ----------
        quantity : str or callable
            Name of a field of the results, of what was recorded (``"energy"``, or
            ``"trace.singular_values"`` where a field has the name too), or a function of results,
            to numbers or arrays of one shape.

        Returns
        -------
        values : array, shape=[*ensemble.shape, ...]

        Raises
        ------
        ValueError
            If a run is not finished, there is no such name, or the shapes differ.
        """
        n_missing = sum(run.result is None for run in self.runs)
        if n_missing:
            raise ValueError(
                f"{n_missing} of {len(self.runs)} runs are not finished: finish the ensemble, or "
                "take those that are there from its runs."
            )
        read = functools.partial(_named, name=quantity) if isinstance(quantity, str) else quantity
        values = [numpy.asarray(read(run.result)) for run in self.runs]
        shapes = {array.shape for array in values}
        if len(shapes) > 1:
            raise ValueError(
                f"the results have different shapes, {sorted(shapes)}: did a run stop early? Take "
                "them one by one from the runs."
            )
        return numpy.stack(values).reshape(*self.shape, *values[0].shape)


def ensemble(
    task: Callable[..., Any],
    grid: Mapping[str, Any],
    *,
    n_seeds: int = 1,
    seed: int = 0,
    executor: Executor | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Ensemble:
    """Run a task at every point of a grid, several times with independent random numbers.

    Results depend on the task, the place in the grid and the seed alone: bit for bit they are the
    same on every executor, with any number of workers. Values and runs that are added at the end
    leave those before them as they were. One thread computes a task.

    Parameters
    ----------
    task : callable
        Called as ``task(rng=..., **point)``, and with ``checkpoint=`` if there is a folder: a
        `functools.partial` of `langevin`, for example. For worker processes it and what it holds
        must be known by name, in a module.
    grid : dict of str to sequence
        Keyword arguments, and the values that each is to take; all combinations are run.
    n_seeds : int
        Runs at each point.
    seed : int
        The runs' random numbers are children of its `numpy.random.SeedSequence`.
    executor : concurrent.futures.Executor, optional
        One run after the other by default. `ProcessPoolExecutor`,
        ``dask.distributed.Client(...).get_executor()`` and ``mpi4py.futures.MPIPoolExecutor()`` all
        serve. It is not shut down. Processes that are forked while threads of this one compute may
        stand still for ever, as locks of the threads are copied with them: give a process pool
        ``mp_context=multiprocessing.get_context("spawn")`` where JAX, PyTorch or threads of your
        own have been at work before.
    folder : path, optional
        Folder for a checkpoint of each run, made if need be. The same call with it goes on where
        runs stopped, and does not repeat those that are finished. Workers must share it, and one
        call at a time holds it.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    ensemble : Ensemble
        If the keyboard interrupts, workers die, or a cluster of Dask loses its scheduler or
        has no worker for five minutes, the runs that are finished, with a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, or the task cannot be sent to worker processes.
    Exception
        What the task raises; the other runs are then given up.
    """
    task, progress = function(task, "task"), flag(progress, "progress")
    axes = _axes(instance(grid, Mapping, "grid"))
    if executor is not None:
        instance(executor, Executor, "executor")
    n_seeds, seed = _whole(n_seeds, "n_seeds", 1), _whole(seed, "seed", 0)
    with contextlib.ExitStack() as held:
        if folder is not None:
            folder = held.enter_context(hold_folder(file_path(folder, "folder"), ()))
        jobs = _jobs(task, axes, n_seeds, seed, folder)
        runs, interrupted = _do(jobs, executor, progress)
    rows = tuple(runs.get(job.index, job.unfinished("not finished.")) for job in jobs)
    success, status = _summary(rows, interrupted, folder is not None)
    return Ensemble(
        axes, n_seeds, seed, rows, success=success, interrupted=interrupted, status=status
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """A run to do: the call of the task."""

    task: Callable[..., Any]
    point: dict[str, Any]
    arguments: dict[str, Any]
    index: tuple[int, ...]
    seed: int

    def __call__(self) -> Run:
        """Do it."""
        seeds = numpy.random.SeedSequence(self.seed, spawn_key=self.index)
        began = time.perf_counter()
        with _one_thread():
            result = self.task(rng=numpy.random.default_rng(seeds), **self.arguments)
        seconds = time.perf_counter() - began
        return Run(self.point, self.index, result, seconds, getattr(result, "status", "finished."))

    def unfinished(self, status: str) -> Run:
        """Return the run as one without a result."""
        return Run(self.point, self.index, None, 0.0, status)


def _jobs(
    task: Callable[..., Any],
    axes: Mapping[str, tuple[Any, ...]],
    n_seeds: int,
    seed: int,
    folder: Path | None,
) -> list[_Job]:
    jobs = []
    for index in itertools.product(*map(range, (*map(len, axes.values()), n_seeds))):
        point = {name: axes[name][i] for name, i in zip(axes, index, strict=False)}
        arguments: dict[str, Any] = dict(point)
        if folder is not None:
            arguments["checkpoint"] = folder / f"run-{'-'.join(map(str, index))}.npz"
        jobs.append(_Job(task, point, arguments, index, seed))
    return jobs


def _do(
    jobs: Sequence[_Job], executor: Executor | None, progress: bool
) -> tuple[dict[tuple[int, ...], Run], bool]:
    """Return runs by their index, and whether the keyboard interrupted."""
    runs: dict[tuple[int, ...], Run] = {}
    finished: Any = _run_here(jobs) if executor is None else _run_on(executor, jobs)
    bar = tqdm(desc="runs", total=len(jobs), disable=not progress)
    # One thread here too: of the threads of a process the first to set the limit is heeded.
    with interruptible() as interruption, bar, contextlib.closing(finished), _one_thread():
        for run in finished:
            runs[run.index] = run
            if _is_interrupted(run):
                raise KeyboardInterrupt
            bar.update()
    return runs, interruption.happened


_threads = threading.Lock()
_limits: list[Any] = []
if hasattr(os, "register_at_fork"):  # a worker has no tasks yet
    os.register_at_fork(after_in_child=_limits.clear)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let linear algebra have one thread, until the last task of this process is done.

    The limit is the whole process's: of tasks in threads the first to come sets it, the last to
    leave lifts it.
    """
    with _threads:
        _limits.append(_limits[0] if _limits else threadpool_limits(1))
    try:
        yield
    finally:
        with _threads:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


def _run_here(jobs: Sequence[_Job]) -> Iterator[Run]:
    for job in jobs:
        with _note_place(job):
            run = job()
        yield run


def _run_on(executor: Executor, jobs: Sequence[_Job]) -> Iterator[Run]:
    """Run jobs on an executor; those whose worker dies come without a result."""
    futures: dict[Future[Run], _Job] = {}
    try:
        with contextlib.suppress(BrokenExecutor):
            for job in jobs:
                futures[executor.submit(job)] = job
        n_submitted = len(futures)
        for future in _as_completed(executor, futures):
            job = futures.pop(future)
            try:
                with _note_place(job):
                    run = future.result()
            except Exception as error:
                _explain(error, job)
                loss = _loss_of(error)
                if loss is None:
                    raise
                run = job.unfinished(loss)
            yield run
        for job in futures.values():
            yield job.unfinished(ABANDONED)
        for job in jobs[n_submitted:]:
            yield job.unfinished(LOST)
    finally:
        for future in futures:
            future.cancel()


@contextlib.contextmanager
def _note_place(job: _Job) -> Iterator[None]:
    """Say in an error which run it is of."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {_place(job)}")
        raise


def _place(run: _Job | Run) -> str:
    point = ", ".join(f"{name}={value}" for name, value in run.point.items())
    return f"run {run.index[-1]} at {point}" if point else f"run {run.index[-1]}"


def _as_completed(executor: Executor, futures: Iterable[Future[Run]]) -> Iterator[Future[Run]]:
    """Yield futures as they are done, until a cluster of Dask has had no worker for too long."""
    client = getattr(executor, "_client", None)  # which its executor does not tell
    pending, seen = set(futures), time.monotonic()
    while pending:
        done, pending = wait(pending, POLL_SECONDS, return_when=FIRST_COMPLETED)
        # Nobody is told of futures that a shutdown cancels.
        done |= {future for future in pending if future.cancelled()}
        pending -= done
        yield from done
        if done or client is None or client.scheduler_info()["workers"]:
            seen = time.monotonic()
        elif time.monotonic() - seen > WORKERLESS_SECONDS:
            return


def _loss_of(error: Exception) -> str | None:
    """Return what was lost where it was not the task that failed."""
    if isinstance(error, CancelledError):
        return CANCELLED
    # Dask's error, without Dask.
    is_killed = type(error).__name__ == "KilledWorker"
    return LOST if is_killed or isinstance(error, BrokenExecutor) else None


def _explain(error: Exception, job: _Job) -> None:
    """Say what to do about a task that cannot be sent."""
    try:
        pickle.dumps(job)
    except Exception as own:
        if type(own) is type(error):
            raise ValueError(
                f"the task cannot be sent to worker processes ({own}): define energies and "
                "gradients by def at the top of a module, or as methods of a class there, not as "
                "lambdas or inside functions; or leave out the executor."
            ) from error


def _summary(runs: Sequence[Run], interrupted: bool, is_kept: bool) -> tuple[bool, str]:
    """Return whether an ensemble succeeded, and its status."""
    is_done = [run.result is not None and not _is_interrupted(run) for run in runs]
    failed = [
        run
        for run, done in zip(runs, is_done, strict=True)
        if done and not getattr(run.result, "success", True)
    ]
    status = f"{sum(is_done)} of {len(runs)} runs are finished."
    if failed:
        status += (
            f" {len(failed)} of them did not succeed, the first is {_place(failed[0])}: "
            f"{failed[0].status}"
        )
    if all(is_done):
        return not failed, status
    if interrupted:
        status = f"interrupted: {status}"
    else:
        losses = {run.status for run in runs if run.result is None}
        causes = [cause for loss, cause in CAUSES.items() if loss in losses]
        status = f"{', and '.join(causes)}: {status}"
    if is_kept:
        status += " Call again with the same folder to go on"
    else:
        status += " Give a folder, for checkpoints, and call again"
    return False, status + ("." if interrupted else ", with a new executor.")


def _named(result: Any, name: str) -> Any:
    """Return a field of a result, or what was recorded under a name."""
    trace = getattr(result, "trace", {})
    place, _, recorded = name.partition(".")
    if place == "trace" and recorded in trace:
        return trace[recorded]
    if hasattr(result, name):
        return getattr(result, name)
    if name in trace:
        return trace[name]
    known = [*getattr(result, "__dataclass_fields__", {}), *(f"trace.{name}" for name in trace)]
    raise ValueError(f"the results have no {name!r}: known are {', '.join(known)}.")


def _is_interrupted(run: Run) -> bool:
    return getattr(run.result, "interrupted", False)


def _axes(grid: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    axes = {}
    for name, values in grid.items():
        if name in RESERVED:
            raise ValueError(f"{name} is given to every run by the ensemble: leave it out.")
        if isinstance(values, str) or not hasattr(values, "__len__") or len(values) == 0:
            raise ValueError(f"{name} needs one value or more, in a list, got {values!r}.")
        # Numbers are Python's in results, messages and files.
        is_array = isinstance(values, numpy.ndarray) and values.ndim == 1
        axes[name] = tuple(values.tolist() if is_array else values)
    return axes


def _whole(number: int, name: str, least: int) -> int:
    try:
        whole = least - 1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        whole = least - 1
    if not least <= whole < 2**63:
        raise ValueError(f"{name} must be an integer from {least} to 2^63 - 1, got {number!r}.")
    return whole
