"""Runs of Langevin dynamics that are killed go on, and give the bits of the uninterrupted run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.sampling.langevin_dynamics.runs import COMMON, STARTS, assert_same_bits, run

N_STEPS = 150

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
    """SIGKILL at random moments, twenty in all; the file is whole at each of them."""
    path = tmp_path / "run.npz"
    rng = np.random.default_rng([len(start), len(scheme)])
    initial, shape = STARTS[start]
    np.savez(tmp_path / "start.npz", *(initial if isinstance(initial, tuple) else (initial,)))
    settings = {"n_steps": N_STEPS, "save_every": 7, "scheme": scheme}
    shape = {**COMMON, **shape, "n_steps": N_STEPS}
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
    for _ in range(5):
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
        assert 0 < seen_whole(path) <= N_STEPS
    assert kills
    resumed = run(start, **settings, checkpoint=path)
    assert resumed.success
    assert_same_bits(resumed, run(start, **settings))


COMPILED = """
from tests.sampling.langevin_dynamics.runs import arrays_of, run
result = run("square", n_steps=60, save_every=7, scheme="euler-maruyama")
print(*(array.tobytes().hex() for array in arrays_of(result).values()))
"""


def test_what_is_compiled_now_has_the_bits_of_what_was_kept(tmp_path):
    """A first run compiles its loops, those that go on from it find them."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", COMPILED],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert found[0] == found[1]
