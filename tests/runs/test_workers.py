"""Worker processes end with the block that uses them, whatever they do."""

import multiprocessing.resource_tracker
import os
import signal
import threading
import time

import pytest

from dlngeo.runs.interrupts import interruptible_by_signals
from dlngeo.runs.workers import process_pool


def stay(path):
    """Take every exception for its own, as the executor does of a task."""
    path.touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def test_workers_end_inside_their_tasks(tmp_path):
    begun = [tmp_path / name for name in "ab"]

    def interrupt():
        with process_pool(2) as executor:
            assert executor is not None
            for path in begun:
                executor.submit(stay, path)
            while not all(path.exists() for path in begun):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not multiprocessing.active_children()


def test_tasks_that_are_cancelled_say_nothing(tmp_path, monkeypatch):
    """Although Python 3.11 cannot tell them that their workers are gone."""
    said: list = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    kill = multiprocessing.process.BaseProcess.kill

    def kill_slowly(process):
        kill(process)
        time.sleep(0.5)  # in which whoever waits for the worker sees it gone

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "kill", kill_slowly)
    with process_pool(2) as executor:
        assert executor is not None
        futures = [executor.submit(stay, tmp_path / "begun") for _ in range(20)]
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        for future in futures:
            future.cancel()
    assert not said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_meets_a_worker_at_its_birth(monkeypatch, capfd, number):
    """Nobody would know of it, and it would complain of work that never came."""
    spawn, born = multiprocessing.util.spawnv_passfds, []

    def spawn_and_ask(*arguments):
        born.append(spawn(*arguments))
        signal.raise_signal(number)
        return born[-1]

    multiprocessing.resource_tracker.ensure_running()  # a process too
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", spawn_and_ask)

    def run():
        with interruptible_by_signals(), process_pool(2) as executor:
            assert executor is not None
            executor.submit(time.sleep, 60)

    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(ProcessLookupError):
        os.kill(born[-1], 0)
    assert capfd.readouterr().err == ""


def test_one_worker_is_this_process():
    with process_pool(1) as executor:
        assert executor is None
