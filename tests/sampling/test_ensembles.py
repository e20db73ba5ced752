"""Ensembles: the same bits on every executor, through deaths and interrupts."""

import functools
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dlngeo.sampling import ensembles, langevin
from dlngeo.sampling.ensembles import ensemble

GRID: dict[str, Any] = {"beta": [1.0, 4.0], "depth": [2, 3]}
START = numpy.linspace(0.5, 1.5, 8).reshape(4, 2)


def slope(sigma):
    return sigma - 1


def energy(sigma):
    return ((sigma - 1) ** 2).sum(axis=-1) / 2


CHAINS = functools.partial(
    langevin, slope, START, step_size=0.01, n_steps=60, save_every=20, energy=energy
)


def bits(found):
    runs = [run.result for run in found.runs]
    return [(r.singular_values.tobytes(), r.trace["energy"].tobytes()) for r in runs]


@pytest.fixture(scope="module")
def serial():
    return ensemble(CHAINS, GRID, n_seeds=2, seed=5)


def test_grid_and_rows(serial):
    assert serial.success
    assert not serial.interrupted
    assert serial.status == "8 of 8 runs are finished."
    assert serial.shape == (2, 2, 2)
    assert [run.index for run in serial.runs] == list(numpy.ndindex(2, 2, 2))
    run = serial.runs[5]
    assert run.point == {"beta": 4.0, "depth": 2}
    assert (run.result.beta, len(run.result.widths) - 1) == (4.0, 2)
    assert run.status == run.result.status
    assert run.seconds > 0
    stacked = serial.stack("singular_values")
    assert stacked.shape == (2, 2, 2, 4, 2)
    numpy.testing.assert_array_equal(stacked[1, 0, 1], run.result.singular_values)
    assert serial.stack(lambda result: result.trace["energy"].mean()).shape == (2, 2, 2)
    recorded = serial.stack("energy")
    numpy.testing.assert_array_equal(recorded[1, 0, 1], run.result.trace["energy"])
    recorded = serial.stack("trace.singular_values")
    numpy.testing.assert_array_equal(recorded[1, 0, 1], run.result.trace["singular_values"])
    with pytest.raises(ValueError, match=r"no 'heat': known are .*step_size.*trace\.energy"):
        serial.stack("heat")
    assert len(str(serial).splitlines()) == len(str(run).splitlines()) == 3
    assert len(str(run.result).splitlines()) == 4
    assert len(set(bits(serial))) == 8


def test_runs_are_children_of_one_seed(serial):
    seeds = numpy.random.SeedSequence(5).spawn(2)[1].spawn(2)[0].spawn(2)[1]
    alone = CHAINS(beta=4.0, depth=2, rng=numpy.random.default_rng(seeds))
    assert alone.singular_values.tobytes() == bits(serial)[5][0]
    other = ensemble(CHAINS, GRID, n_seeds=2, seed=6)
    assert not set(bits(other)) & set(bits(serial))


def test_what_is_added_leaves_the_rest(serial):
    larger = ensemble(CHAINS, {"beta": [1.0, 4.0, 9.0], "depth": [2, 3, 4]}, n_seeds=3, seed=5)
    stacked = larger.stack("singular_values")[:2, :2, :2]
    numpy.testing.assert_array_equal(stacked, serial.stack("singular_values"))


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_pools_give_the_same_bits(serial, kind, n_workers):
    with kind(n_workers) as executor:
        found = ensemble(CHAINS, GRID, n_seeds=2, seed=5, executor=executor)
    assert found.success
    assert bits(found) == bits(serial)


def threads(rng, wait=0.0):
    time.sleep(wait)
    return {library["num_threads"] for library in threadpool_info()}


def test_a_task_has_one_thread_and_the_limit_is_lifted():
    with threadpool_limits(2), ThreadPoolExecutor(3) as executor:
        # The first to be done leaves the others their limit.
        found = ensemble(threads, {"wait": [0.0, 0.1, 0.2]}, executor=executor)
        assert [run.result for run in found.runs] == [{1}, {1}, {1}]
        assert 2 in threads(None)
    with ProcessPoolExecutor(1, initializer=threadpool_limits, initargs=(2,)) as executor:
        assert ensemble(threads, {}, executor=executor).runs[0].result == {1}
        assert 2 in executor.submit(threads, None).result()


class Dying:
    """Chains whose worker is killed in the middle of the first run, of the first call alone."""

    def __init__(self, marker, n_steps=60):
        self.marker, self.n_steps = marker, n_steps

    def __call__(self, **arguments):
        # At the second draw: there is a checkpoint to go on from.
        calls = []

        def record(sigma):
            calls.append(1)
            if len(calls) == 3 and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {}

        return CHAINS(record=record, checkpoint_seconds=0.0, **arguments)


def test_a_dead_worker_leaves_what_is_finished(serial, tmp_path):
    task = Dying(tmp_path / "marker")
    folder = tmp_path / "checkpoints"
    options: dict[str, Any] = {"n_seeds": 2, "seed": 5, "folder": folder}
    with ProcessPoolExecutor(1) as executor:
        broken = ensemble(task, GRID, executor=executor, **options)
    assert not broken.success
    assert not broken.interrupted
    assert "workers died" in broken.status
    assert "0 of 8 runs" in broken.status
    assert "same folder" in broken.status
    assert "new executor" in broken.status
    assert {run.status for run in broken.runs} == {"lost with its worker."}
    with pytest.raises(ValueError, match="8 of 8 runs are not finished"):
        broken.stack("singular_values")
    with numpy.load(folder / "run-0-0-0.npz") as file:
        assert file["n_steps"] == 39  # of the step that killed it there is none
    with ProcessPoolExecutor(2) as executor:
        found = ensemble(task, GRID, executor=executor, **options)
    assert found.success
    assert bits(found) == bits(serial)


def test_a_broken_pool_is_no_crash(serial):
    with ProcessPoolExecutor(1) as executor:
        executor.submit(os._exit, 1).exception()
        found = ensemble(CHAINS, GRID, executor=executor)
    assert "0 of 4 runs" in found.status
    assert "Give a folder" in found.status


def test_dask_with_a_killed_worker_gives_the_same_bits(serial, tmp_path):
    from distributed import Client, LocalCluster

    task = Dying(tmp_path / "marker")
    options: dict[str, Any] = {"n_seeds": 2, "seed": 5, "folder": tmp_path / "checkpoints"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        before = set(client.run(os.getpid).values())
        found = ensemble(task, GRID, executor=client.get_executor(), **options)
        client.wait_for_workers(2)
        assert len(before & set(client.run(os.getpid).values())) == 1
        # And what lambdas it takes.
        scaled = functools.partial(langevin, lambda s: s - 1, START, step_size=0.01, n_steps=5)
        assert ensemble(scaled, GRID, executor=client.get_executor()).success
    assert found.success
    assert bits(found) == bits(serial)


def held(rng, folder, checkpoint):
    with pytest.raises(ValueError, match=f"in use by process {os.getpid()}"):
        ensemble(raising, {"x": [1]}, folder=folder)


def test_a_folder_is_held_by_one_call(tmp_path):
    ensemble(functools.partial(held, folder=tmp_path), {}, folder=tmp_path)
    assert not os.listdir(tmp_path)


class Cluster(ThreadPoolExecutor):
    """An executor as Dask's is, of a cluster whose workers go, or whose scheduler does."""

    def __init__(self, workers):
        super().__init__(1)
        self._client, self.workers = self, workers

    def scheduler_info(self):
        return {"workers": self.workers.pop(0) if self.workers else {}}


def patient(rng, x, path):
    while x == 2 and not path.exists():
        time.sleep(0.01)
    return x


def test_a_cluster_without_workers_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(ensembles, "WORKERLESS_SECONDS", 0.1)
    path = tmp_path / "end"
    with Cluster([{"one": 1}] * 5) as executor:
        found = ensemble(functools.partial(patient, path=path), {"x": [1, 2, 3]}, executor=executor)
        path.touch()
    assert not executor.workers
    assert [run.result for run in found.runs] == [1, None, None]
    assert found.status.startswith("there was no worker for 300 seconds: 1 of 3 runs are finished.")
    assert "call again, with a new executor" in found.status


def test_a_scheduler_that_is_gone_is_told(monkeypatch):
    monkeypatch.setattr(ensembles, "POLL_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as executor:

        def stop(rng, x):
            executor.shutdown(wait=False, cancel_futures=True)
            return x

        found = ensemble(stop, {"x": [1, 2, 3]}, executor=executor)
    assert [run.result for run in found.runs] == [1, None, None]
    assert "lost its scheduler: 1 of 3 runs" in found.status


class Interrupted:
    """Chains that the keyboard interrupts at the first run with the larger beta."""

    def __init__(self):
        self.n_runs, self.is_patient = 0, False

    def __call__(self, **arguments):
        self.n_runs += 1

        def record(sigma):
            if arguments["beta"] == 4.0 and not self.is_patient and calls:
                raise KeyboardInterrupt
            calls.append(1)
            return {}

        calls: list[int] = []
        return CHAINS(record=record, **arguments)


def test_interrupt_and_resume(serial, tmp_path):
    task = Interrupted()
    options: dict[str, Any] = {"n_seeds": 2, "seed": 5, "folder": tmp_path / "checkpoints"}
    found = ensemble(task, GRID, **options)
    assert found.interrupted
    assert not found.success
    assert found.status.startswith("interrupted: 4 of 8 runs are finished.")
    assert "same folder" in found.status
    assert task.n_runs == 5
    assert found.runs[4].result.interrupted
    assert found.runs[5].status == "not finished."
    task.is_patient = True
    again = ensemble(task, GRID, **options)
    assert again.success
    assert bits(again) == bits(serial)


def counted(path, *, rng, checkpoint=None, depth=1):
    with path.open("a") as file:
        file.write("step\n")

    def gradient(sigma):
        with path.open("a") as file:
            file.write("step\n")
        return slope(sigma)

    return langevin(
        gradient,
        START,
        beta=1.0,
        depth=depth,
        step_size=0.01,
        n_steps=50,
        rng=rng,
        checkpoint=checkpoint,
    )


def test_finished_runs_are_not_repeated(tmp_path):
    task = functools.partial(counted, tmp_path / "steps")
    options: dict[str, Any] = {"n_seeds": 2, "folder": tmp_path / "checkpoints"}
    one = ensemble(task, {"depth": [2]}, **options)
    n_steps = len((tmp_path / "steps").read_text().split())
    two = ensemble(task, {"depth": [2, 3]}, **options)
    n_more = len((tmp_path / "steps").read_text().split()) - n_steps
    assert n_more < n_steps + 20
    numpy.testing.assert_array_equal(two.stack("singular_values")[:1], one.stack("singular_values"))


def raising(rng, x):
    if x == 3:
        raise RuntimeError("three")
    return x


@pytest.mark.parametrize("kind", [None, ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_error_says_where(kind):
    executor = kind and kind(2)
    with pytest.raises(RuntimeError, match="three") as caught:
        ensemble(raising, {"x": numpy.arange(5)}, executor=executor)
    assert "in run 0 at x=3" in caught.value.__notes__
    if executor is not None:
        executor.shutdown()


def test_what_cannot_be_sent():
    class Local:
        def __call__(self, sigma):
            return sigma

    with ProcessPoolExecutor(1) as executor:
        cannot_be_sent: tuple[Any, ...] = (lambda s: s, Local(), iter(lambda: 0, 1))
        for held in cannot_be_sent:
            task = functools.partial(langevin, held, START, step_size=0.1, n_steps=1, depth=2)
            with pytest.raises(ValueError, match="at the top of a module"):
                ensemble(task, {"beta": [1.0]}, executor=executor)
        # What the task raises is not mistaken for it.
        with pytest.raises(TypeError, match="unexpected keyword"):
            ensemble(raising, {"y": [1.0]}, executor=executor)
    with (
        ThreadPoolExecutor(1) as threads_of_one,
        pytest.raises(TypeError, match="unexpected keyword"),
    ):
        ensemble(raising, {"x": [lambda: 0], "y": [1]}, executor=threads_of_one)


def test_a_task_of_any_kind():
    found = ensemble(raising, {"x": ["a", "b"]})
    assert found.success
    assert [run.result for run in found.runs] == ["a", "b"]
    assert {run.status for run in found.runs} == {"finished."}
    alone = ensemble(raising, {"x": [7]}, n_seeds=3)
    assert alone.stack(abs).tolist() == [[7, 7, 7]]
    assert ensemble(threads, {}).shape == (1,)


def test_runs_that_diverge_are_told():
    grid: dict[str, Any] = {"beta": [1.0], "step_size": [0.01, 1e3], "depth": [1]}
    task = functools.partial(langevin, lambda s: s**3, START, n_steps=200)
    found = ensemble(task, grid)
    assert not found.success
    assert "2 of 2 runs are finished. 1 of them did not succeed, the first is" in found.status
    assert "step_size=1000.0" in found.status
    assert "smaller step_size" in found.status


def test_results_of_different_shapes():
    found = ensemble(raising, {"x": [[1.0], [1.0, 2.0]]})
    with pytest.raises(ValueError, match="different shapes"):
        found.stack(numpy.asarray)


REFUSED: dict[str, Any] = {
    "reserved": ({"grid": {"rng": [1]}}, "rng is given"),
    "checkpoint": ({"grid": {"checkpoint": [1]}}, "checkpoint is given"),
    "scalar": ({"grid": {"x": 1.0}}, "in a list"),
    "text": ({"grid": {"x": "ab"}}, "in a list"),
    "empty": ({"grid": {"x": []}}, "one value or more"),
    "no seeds": ({"n_seeds": 0}, "from 1"),
    "half a seed": ({"n_seeds": 1.5}, "n_seeds must be an integer"),
    "negative seed": ({"seed": -1}, "from 0"),
    "seed": ({"seed": None}, "seed must be an integer"),
    "large seed": ({"seed": 2**63}, "2\\^63"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        ensemble(raising, **({"grid": {"x": [1]}} | arguments))


def test_refuses_folders(tmp_path):
    (tmp_path / "file").touch()
    for place, message in {"file": "is a file", "none/within": "there is no folder"}.items():
        with pytest.raises(ValueError, match=message):
            ensemble(raising, {"x": [1]}, folder=tmp_path / place)
    ensemble(CHAINS, {"beta": [1.0], "depth": [2]}, folder=tmp_path / "runs")
    with pytest.raises(ValueError, match="other settings, start or seed"):
        ensemble(CHAINS, {"beta": [2.0], "depth": [2]}, folder=tmp_path / "runs")


def test_progress(capsys):
    ensemble(functools.partial(CHAINS, progress=True), GRID, progress=True)
    shown = capsys.readouterr().err
    assert "runs" in shown
    assert "4/4" in shown
