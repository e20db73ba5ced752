"""Checkpoints: runs that were interrupted go on, and give the bits of the uninterrupted run."""

import errno
import os
import zipfile
from typing import Any

import numpy as np
import pytest

from dlngeo.sampling import langevin
from dlngeo.sampling.langevin_dynamics import checkpoint
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
@pytest.mark.parametrize("call", [4, 7])
def test_an_interrupted_run_goes_on(scheme, start, call, tmp_path):
    """In memory and from the file; a finished one gives its result again."""
    initial, shape = STARTS[start]
    settings = {
        **COMMON, **shape, "scheme": scheme, "energy": energy, "rng": 0,
        "save_every": 2, "checkpoint": tmp_path / "run.npz",
    }  # fmt: skip
    half = langevin(Turning(call + 2, interrupt), initial, **settings)
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
    assert len(calls) == 4  # at the start, and to tell an energy: no step is left to take
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_run_without_a_seed_goes_on_with_its_own(tmp_path):
    path = tmp_path / "run.npz"
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "checkpoint": path, "n_steps": 20}
    first = langevin(Turning(11, interrupt), initial, **settings)
    with np.load(path, allow_pickle=False) as file:
        assert int(file["n_steps"]) == first.n_steps == 6
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
        return gradient(x) if len(calls) < 7 else np.nan * x

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
    half = langevin(Turning(7, interrupt), initial, **settings(), checkpoint=path)
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
    "content",
    [
        *(b"", b"no checkpoint", b"PK\x03\x04"),
        *("truncated", "other arrays", "pickle", "array", "compressed", "large", "text"),
    ],
)
def test_a_corrupt_file_is_refused(content, tmp_path):
    path = tmp_path / "run.npz"
    if content == "truncated":
        run(checkpoint=path)
        path.write_bytes(path.read_bytes()[:-200])
    elif content == "other arrays":
        np.savez(path, a=np.ones(3))
    elif content == "pickle":
        np.savez(path, run=np.array([{}], dtype=object), seed=np.array("a"))
    elif content == "array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif content == "compressed":
        run(checkpoint=path)
        with np.load(path) as file:
            arrays = dict(file)
        np.savez_compressed(path, **arrays)
    elif content == "large":
        described = "{'descr': '<f8', 'fortran_order': False, 'shape': (10**15,), }"
        with zipfile.ZipFile(path, "w") as archive:
            head = b"\x93NUMPY\x01\x00v\x00" + described.encode().ljust(117) + b"\n"
            archive.writestr("content.npy", head)
    elif content == "text":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("content", "text")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint: give another path, or remove it"):
        run(checkpoint=path)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        run(checkpoint=tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/full"):
        with pytest.raises(ValueError, match="no regular file"):
            run(checkpoint=place)
    with pytest.raises(ValueError, match="there is no folder"):
        run(checkpoint=tmp_path / "none" / "run.npz")


def crafted(path, **changes):
    """Change arrays of a checkpoint, with the digest that goes with them."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays |= {name: change(arrays[name]) for name, change in changes.items()}
    content = checkpoint._content({n: a for n, a in arrays.items() if n != "content"})
    np.savez(path, **(arrays | {"content": content}))


CRAFTED: dict[str, dict[str, Any]] = {
    "steps to come": {"n_steps": lambda n: n + 1},
    "steps before the start": {"n_steps": lambda n: -n},
    "half a step": {"n_steps": lambda n: n - 0.5},
    "a state that is not finite": {"state.lam": lambda lam: np.nan * lam},
    "a state of other chains": {"state.lam": lambda lam: lam[:2]},
    "a state of integers": {"state.lam": lambda lam: lam.astype(int)},
    "a trace of other chains": {"trace.energy": lambda energy: energy[:2]},
    "a hole in the trace": {"trace.singular_values": lambda sigma: np.nan * sigma},
    "another generator": {"random": lambda text: np.array(str(text).replace("PCG64", "MT19937"))},
    "no generator": {"random": lambda text: np.array("{}")},
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_state_is_refused(name, tmp_path):
    path = tmp_path / "run.npz"
    expected = run(checkpoint=path, save_every=1)
    crafted(path)
    assert_same_bits(run(checkpoint=path, save_every=1), expected)
    crafted(path, **CRAFTED[name])
    with pytest.raises(ValueError, match="is no checkpoint"):
        run(checkpoint=path, save_every=1)


def test_one_step_less_is_not_believed(tmp_path):
    """Whoever changes a number changes the digest of all."""
    path = tmp_path / "run.npz"
    run(checkpoint=path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"n_steps": arrays["n_steps"] - 1}))
    with pytest.raises(ValueError, match="is no checkpoint"):
        run(checkpoint=path)


def test_another_energy_is_refused(tmp_path, monkeypatch):
    """By its values at the start; where only its code differs the status says so."""
    path = tmp_path / "run.npz"
    expected = run(checkpoint=path)
    assert "checkpoint" not in expected.status
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "energy": energy, "rng": 0, "checkpoint": path}

    def other_nearby(x):
        return x - 0.50001

    with pytest.raises(ValueError, match="another energy or gradient"):
        langevin(other_nearby, initial, **settings)
    with pytest.raises(ValueError, match="another energy or gradient"):
        langevin(gradient, initial, **{**settings, "energy": lambda x: 2 * energy(x)})

    def same_at_the_start(x):
        return np.where(abs(x) < 2 * abs(initial).max(), gradient(x), 7.0)

    with pytest.raises(ValueError, match="which differs at the start or at multiples of it"):
        langevin(same_at_the_start, initial, **settings)

    def same_where_chains_go(x):
        return np.where(abs(x) < 1e6, gradient(x), 7.0)

    again = langevin(same_where_chains_go, initial, **settings)
    assert_same_bits(again, expected)
    assert "is written otherwise, with the same values at the start" in again.status
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    with pytest.raises(ValueError, match=r"of dlngeo .*, and this is 9\.9: go on with that"):
        run(checkpoint=path)


def test_a_noisy_gradient_goes_on(tmp_path):
    """Its values at the start differ by themselves."""
    path, random = tmp_path / "run.npz", np.random.default_rng(0)
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "rng": 0, "checkpoint": path}

    def noisy(x):
        return gradient(x) + 0.1 * random.standard_normal(x.shape)

    langevin(noisy, initial, **settings)
    assert langevin(noisy, initial, **settings).success


def test_two_runs_do_not_share_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"

    def second(x):
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on .* since 20"):
            run(checkpoint=path)
        return gradient(x)

    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "rng": 0, "checkpoint": path}
    assert langevin(Turning(6, second), initial, **settings).success
    assert os.listdir(tmp_path) == ["run.npz"]


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
    """And no scratch; the run goes on, and says so at the end."""
    path = tmp_path / "run.npz"
    initial, shape = STARTS["square"]
    settings = {
        **COMMON, **shape, "energy": energy, "rng": 0,
        "checkpoint": path, "checkpoint_seconds": 0.0,
    }  # fmt: skip
    half = langevin(Turning(7, interrupt), initial, **settings)
    assert half.interrupted
    before, expected = path.read_bytes(), run()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as context:
            context.setattr(os, name, full)
            found = langevin(gradient, initial, **settings)
        assert found.success
        assert_same_bits(found, expected)
        assert "The last checkpoint is missing" in found.status
        assert "No space left on device" in found.status
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["run.npz"]
    assert "missing" not in langevin(gradient, initial, **settings).status
    assert path.read_bytes() != before
