"""Checkpoints: runs that are killed go on, and give the bits of the uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlngeo.sampling import langevin
from dlngeo.sampling.langevin_dynamics.checkpoint import Checkpoint
from tests.sampling.langevin_dynamics.runs import (
    COMMON,
    SCHEMES,
    STARTS,
    Turning,
    assert_same_bits,
    energy,
    gradient,
    interrupt,
    run,
)

FACES = ("square", "rectangular", "values", "layers", "stacked")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("start", FACES)
@pytest.mark.parametrize("call", [3, 6])
def test_an_interrupted_run_goes_on(scheme, start, call, tmp_path):
    """In memory and from the file; a finished one gives its result again."""
    initial, shape = STARTS[start]
    settings = {
        **COMMON, **shape, "scheme": scheme, "energy": energy, "rng": 0,
        "save_every": 2, "checkpoint": tmp_path / "run.npz",
    }  # fmt: skip
    half = langevin(Turning(call, interrupt), initial, **settings)
    assert half.interrupted
    assert "call again with the same arguments" in half.status
    expected = run(start, scheme=scheme, save_every=2)
    again = langevin(gradient, initial, **settings)
    assert again.success
    assert_same_bits(again, expected)

    calls: list[int] = []

    def counted(x):
        calls.append(0)
        return gradient(x)

    assert_same_bits(langevin(counted, initial, **settings), expected)
    assert len(calls) == 1  # at the start: no step is left to take
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_run_without_a_seed_goes_on_with_its_own(tmp_path):
    path = tmp_path / "run.npz"
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "checkpoint": path, "n_steps": 20}
    first = langevin(Turning(9, interrupt), initial, **settings)
    with np.load(path, allow_pickle=False) as file:
        assert int(file["n_steps"]) == first.n_steps == 7
    one = langevin(gradient, initial, **settings)
    other = langevin(gradient, initial, **settings)
    assert_same_bits(one, other)
    assert one.n_steps == 20


def test_a_run_that_was_lost_can_be_taken_up(tmp_path):
    """After the gradient was corrected."""
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "checkpoint": tmp_path / "run.npz", "rng": 0}
    calls = []

    def lost(x):
        calls.append(0)
        return gradient(x) if len(calls) < 4 else np.nan * x

    settings["n_steps"] = 40
    first = langevin(lost, initial, **settings)
    assert (first.n_steps, first.success) == (22, False)
    second = langevin(gradient, initial, **settings)
    assert (second.n_steps, second.success) == (40, True)
    assert (second.n_rejected == 20).all()


def test_an_interrupt_while_it_is_recorded_leaves_no_hole(tmp_path):
    calls = []

    def record(x):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return {"first": x[:, 0, 0]}

    path = tmp_path / "run.npz"
    assert run(save_every=1, record=record, checkpoint=path).interrupted
    again = run(save_every=1, record=record, checkpoint=path)
    expected = run(save_every=1, record=lambda x: {"first": x[:, 0, 0]})
    assert_same_bits(again, expected)


OTHERS: dict[str, dict[str, Any]] = {
    "beta": {"beta": 3.0},
    "kappa": {"kappa": 0.5},
    "step": {"step_size": 0.01},
    "n_steps": {"n_steps": 7},
    "save_every": {"save_every": 3},
    "scheme": {"scheme": "second-order"},
    "seed": {"rng": 1},
    "generator": {"rng": np.random.Generator(np.random.MT19937(0))},
    "start": {"initial": STARTS["square"][0][::-1].copy()},
    "one bit of the start": {"initial": np.nextafter(STARTS["square"][0], 1)},
    "chains": {"initial": STARTS["square"][0][:3]},
    "widths": {"widths": (2, 3, 2, 2)},
    "depth": {"depth": 2},
    "what is recorded": {"record": lambda x: {"trace": x[:, 0, 0]}},
    "energy": {"energy": None},
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_run_is_refused(name, tmp_path):
    """And stays as it was."""
    path = tmp_path / "run.npz"
    run(save_every=2, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"other settings, start or seed: call with those"):
        run(**{"save_every": 2, "checkpoint": path, **OTHERS[name]})
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_every_generator_can_go_on(kind, tmp_path):
    """Some of them hold arrays."""
    initial, shape = STARTS["square"]

    def settings():
        generator = np.random.Generator(getattr(np.random, kind)(5))
        return {**COMMON, **shape, "rng": generator, "scheme": "metropolis", "energy": energy}

    path = tmp_path / "run.npz"
    half = langevin(Turning(4, interrupt), initial, **settings(), checkpoint=path)
    assert 0 < half.n_steps < 6
    resumed = langevin(gradient, initial, **settings(), checkpoint=path)
    assert_same_bits(resumed, langevin(gradient, initial, **settings()))


def test_equal_numbers_are_equal_settings(tmp_path):
    """Of NumPy's types, or integers."""
    path = tmp_path / "run.npz"
    one = run(checkpoint=path, beta=4.0)
    for beta in (4, np.float64(4.0), np.float32(4.0)):
        other = run(
            checkpoint=str(path), beta=beta, n_steps=np.int64(6), step_size=np.float64(0.02)
        )
        assert_same_bits(one, other)


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", b"PK\x03\x04", None, "truncated", "other arrays", "pickle"]
)
def test_a_corrupt_file_is_refused(content, tmp_path):
    path = tmp_path / "run.npz"
    if content is None:
        path.mkdir()
    elif content == "truncated":
        run(checkpoint=path)
        path.write_bytes(path.read_bytes()[:-200])
    elif content == "other arrays":
        np.savez(path, a=np.ones(3))
    elif content == "pickle":
        np.savez(path, run=np.array([{}], dtype=object), seed=np.array("a"))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint: give another path, or remove it"):
        run(checkpoint=path)


def test_a_flipped_byte_is_noticed(tmp_path):
    """By the checksums of the archive, in the arrays too."""
    path = tmp_path / "run.npz"
    run(checkpoint=path, save_every=1)
    content = path.read_bytes()
    place = content.index(np.load(path)["state.lam"].tobytes())
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(ValueError, match="is no checkpoint"):
        run(checkpoint=path, save_every=1)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    """And no scratch."""
    store = Checkpoint(tmp_path / "run.npz", ("a", 1), None, 0.0)
    store.write({"x": np.ones(3)})
    before = store.path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as context:
            context.setattr(os, name, full)
            with pytest.raises(OSError, match="no space"):
                store.write({"x": np.zeros(3)})
        assert store.path.read_bytes() == before
        assert os.listdir(tmp_path) == ["run.npz"]
    assert store.is_due()
    assert not Checkpoint(tmp_path / "run.npz", (), None, 60.0).is_due()


PROGRAM = """
import sys, time
import numpy as np
from dlngeo.sampling import langevin
start, shape, scheme, path = sys.argv[1:]
with np.load(start) as file:
    initial = tuple(file.values()) if len(file.files) > 1 else file["arr_0"]
print("ready", flush=True)
def slow(x):
    time.sleep(0.004)
    return x - 0.5
langevin(
    slow, initial, **eval(shape), scheme=scheme, rng=0, save_every=7,
    energy=lambda x: np.sum((x - 0.5) ** 2, axis=tuple(range(1, x.ndim))) / 2,
    checkpoint=path, checkpoint_seconds=0.0,
)
"""


def seen_whole(path: Path) -> int:
    """Return the number of steps in the file, which is whole whenever it is there."""
    if not path.exists():
        return 0
    with np.load(path, allow_pickle=False) as file:
        return int({name: file[name] for name in file.files}["n_steps"])


@pytest.mark.parametrize(
    ("start", "scheme"),
    [
        ("square", "euler-maruyama"),
        ("rectangular", "metropolis"),
        ("layers", "euler-maruyama"),
        ("values", "second-order"),
    ],
)
def test_a_killed_run_gives_the_bits_of_the_whole_one(start, scheme, tmp_path):
    """SIGKILL at random moments, again and again; the file is whole at each of them."""
    path = tmp_path / "run.npz"
    rng = np.random.default_rng([len(start), len(scheme)])
    initial, shape = STARTS[start]
    np.savez(tmp_path / "start.npz", *(initial if isinstance(initial, tuple) else (initial,)))
    settings = {"n_steps": 60, "save_every": 7, "scheme": scheme}
    shape = {**COMMON, **shape, "n_steps": 60}
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "start.npz"),
        repr(shape),
        scheme,
        str(path),
    ]
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        before = seen_whole(path)
        while process.poll() is None and seen_whole(path) < before + 3:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kills += process.returncode == -signal.SIGKILL
        assert 0 < seen_whole(path) <= 60
    assert kills
    assert seen_whole(path) < 60
    resumed = run(start, **settings, checkpoint=path)
    assert resumed.success
    assert_same_bits(resumed, run(start, **settings))
