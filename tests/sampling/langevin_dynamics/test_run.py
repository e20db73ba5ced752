"""The driver: what it refuses, what it returns, seeds, traces, interrupts."""

import tracemalloc
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.core.networks.network import moment_map
from dlngeo.sampling import langevin
from dlngeo.sampling.langevin_dynamics.run import SCHEMES
from tests.core.brute import assert_close
from tests.sampling.reference import matrices, product, rotations

DEPTH, N_CHAINS = 3, 6


def energy(x):
    return np.sum((x - 0.5) ** 2, axis=tuple(range(1, x.ndim))) / 2


def gradient(x):
    return x - 0.5


def starts():
    """Return initial states of every sort, with the widths of the network."""
    rng = np.random.default_rng(0)
    lam = np.tile([1.0, 0.7], (N_CHAINS, 1))
    square = matrices(lam, DEPTH, 2, 2, rng)
    frames = [rotations(N_CHAINS, width, 2, rng) for width in (2, 3, 2, 4)]
    layers = tuple(q * lam[:, None, :] @ p.swapaxes(-1, -2) for p, q in pairwise(frames))
    stacked = np.tile(np.eye(2), (N_CHAINS, DEPTH, 1, 1))
    return {
        "square": (square, {"depth": DEPTH}),
        "rectangular": (matrices(lam, DEPTH, 4, 2, rng), {"depth": DEPTH}),
        "wide": (square, {"depth": DEPTH, "widths": (2, 4, 3, 2)}),
        "rank one": (matrices(lam[:, :1], DEPTH, 3, 2, rng), {"depth": DEPTH, "rank": 1}),
        "values": (lam**DEPTH, {"depth": DEPTH}),
        "values of rectangles": (lam**DEPTH, {"depth": DEPTH, "widths": (3, 2, 4, 2)}),
        "layers": (layers, {}),
        "stacked": (stacked, {}),
    }


STARTS = starts()
COMMON = {"beta": 4.0, "step_size": 0.02, "n_steps": 6}
ALL = pytest.mark.parametrize("start", STARTS)
EVERY = pytest.mark.parametrize("scheme", SCHEMES)


def run(start="square", **changes):
    initial, shape = STARTS[start]
    settings = {**COMMON, **shape, "energy": energy, "rng": 0, **changes}
    return langevin(gradient, settings.pop("initial", initial), **settings)


def arrays_of(result):
    """Return the arrays of a result by name."""
    factors = result.factors
    layers = factors if isinstance(factors, tuple) else (() if factors is None else (factors,))
    named = {f"factor {p}": layer for p, layer in enumerate(layers)}
    for name in (
        "observables",
        "singular_values",
        "acceptance_rate",
        "n_reflections",
        "n_rejected",
    ):
        if getattr(result, name) is not None:
            named[name] = getattr(result, name)
    return named | {f"trace {name}": values for name, values in result.trace.items()}


def assert_same_bits(one, other):
    one, other = arrays_of(one), arrays_of(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# --- what comes back ------------------------------------------------------------------


@ALL
@EVERY
def test_results_fit_together(start, scheme):
    """States, values and traces are of one chain; shapes are those of the start."""
    result = run(start, scheme=scheme, save_every=2, record=lambda x: {"twice": 2 * x})
    initial = STARTS[start][0]
    assert result.success
    assert not result.interrupted
    assert result.status.startswith("took 6 steps.")
    assert (result.n_steps, result.step_size) == (6, 0.02)
    sigma = result.singular_values
    assert (np.diff(sigma, axis=-1) <= 0).all()
    assert (sigma > 0).all()
    if start.startswith("values"):
        assert result.observables is None
        assert result.factors is None
        point = sigma
    else:
        point = result.observables
        values = np.linalg.svd(point, compute_uv=False)
        assert_close(values[:, : sigma.shape[1]], sigma, 1e-12)
        assert (values[:, sigma.shape[1] :] < 1e-12).all()
    if start in ("layers", "stacked"):
        layers = result.factors
        if start == "stacked":
            assert layers.shape == initial.shape
            layers = tuple(layers[:, p] for p in range(DEPTH))
        else:
            assert [w.shape for w in layers] == [w.shape for w in initial]
        assert_close(product(layers), result.observables, 1e-12)
        for moment in moment_map(layers):
            assert_close(moment, 0 * moment, 1e-9, scale=1.0)
    else:
        assert result.factors is None
    assert (result.acceptance_rate is None) == (scheme != "metropolis")
    if scheme == "metropolis":
        assert result.acceptance_rate.shape == (N_CHAINS,)
        assert (result.acceptance_rate <= 1).all()
    assert set(result.trace) == {"singular_values", "energy", "twice"}
    assert result.trace["singular_values"].shape == (N_CHAINS, 3, sigma.shape[1])
    assert_close(result.trace["singular_values"][:, -1], sigma, 1e-13)
    assert_close(result.trace["energy"][:, -1], energy(point), 1e-12)
    assert_close(result.trace["twice"][:, -1], 2 * point, 1e-12)


@EVERY
def test_traces_are_of_the_steps_that_they_say(scheme):
    """The same states whatever is recorded, and after fewer steps."""
    whole = run(scheme=scheme, save_every=1)
    for every in (2, 3, 4):
        thinned = run(scheme=scheme, save_every=every)
        for name, values in thinned.trace.items():
            np.testing.assert_array_equal(values, whole.trace[name][:, every - 1 :: every])
    for n_steps in (1, 4):
        short = run(scheme=scheme, n_steps=n_steps)
        assert short.trace == {}
        expected = whole.trace["singular_values"][:, n_steps - 1]
        np.testing.assert_array_equal(short.singular_values, expected)
    assert whole.trace["singular_values"].shape[1] == 6
    assert run(scheme=scheme, save_every=7).trace == {}


@ALL
@EVERY
def test_seeds_reproduce(start, scheme):
    one = run(start, scheme=scheme)
    assert_same_bits(one, run(start, scheme=scheme))
    assert_same_bits(one, run(start, scheme=scheme, rng=np.random.default_rng(0)))
    other = run(start, scheme=scheme, rng=1)
    assert (one.singular_values != other.singular_values).all()


def test_a_generator_goes_on():
    """Its state after a run is that of the draws of the run."""
    rng = np.random.default_rng(0)
    first = run(rng=rng, n_steps=3)
    second = run(rng=rng, n_steps=3, initial=first.observables)
    assert_close(second.singular_values, run(n_steps=6).singular_values, 1e-12)


def test_chains_without_a_seed_differ():
    assert (run(rng=None).singular_values != run(rng=None).singular_values).any()


@pytest.mark.parametrize("make", [torch.tensor, jnp.asarray, np.float32, np.asfortranarray])
@pytest.mark.parametrize("start", ["square", "values", "layers", "stacked"])
@EVERY
def test_starts_of_other_libraries(make, start, scheme):
    """Torch and JAX arrays and single precision; what comes back is NumPy's, in double."""
    initial = STARTS[start][0]
    made = tuple(map(make, initial)) if isinstance(initial, tuple) else make(initial)
    result = run(start, initial=made, scheme=scheme)
    for name, array in arrays_of(result).items():
        assert isinstance(array, np.ndarray), name
        assert array.dtype in (np.float64, np.int64), name
    assert_close(result.singular_values, run(start, scheme=scheme).singular_values, 1e-4)


def test_integers_are_numbers():
    assert run(initial=np.tile(np.eye(2, dtype=int), (3, 1, 1))).success


def test_gradients_of_other_libraries_serve():
    initial, shape = STARTS["square"]
    results = [
        langevin(g, initial, **COMMON, **shape, rng=0)
        for g in (gradient, lambda x: jnp.asarray(x) - 0.5, lambda x: torch.tensor(x) - 0.5)
    ]
    for result in results[1:]:
        assert_close(result.observables, results[0].observables, 1e-5)


def test_a_start_is_not_changed():
    for start in STARTS:
        initial = STARTS[start][0]
        copies = [np.copy(a) for a in (initial if isinstance(initial, tuple) else (initial,))]
        for scheme in SCHEMES:
            run(start, scheme=scheme)
        for a, b in zip(initial if isinstance(initial, tuple) else (initial,), copies, strict=True):
            np.testing.assert_array_equal(a, b)


def test_spectral_energies_see_values_in_descending_order():
    """An energy that tells the largest value from the least one: on every path."""
    seen = []

    def slope(sigma):
        seen.append(sigma)
        return np.tile([1.0, -0.5], (len(sigma), 1))

    def seen_energy(sigma):
        seen.append(sigma)
        return sigma @ [1.0, -0.5]

    # Where the second value outgrows the first one chains swap their places.
    for shape in ({}, {"widths": (2, 4, 3, 2)}):
        for scheme in SCHEMES:
            langevin(
                slope,
                np.tile([0.3, 0.29], (50, 1)),
                depth=DEPTH,
                beta=3.0,
                step_size=0.1,
                n_steps=10,
                scheme=scheme,
                energy=seen_energy,
                rng=0,
                **shape,
            )
    assert all((np.diff(sigma, axis=-1) <= 0).all() for sigma in seen)


def test_spectral_and_ambient_energies_agree():
    """``E(σ)`` on values is the same process as ``E`` on matrices, with the same noise."""
    lam = np.tile([1.0, 0.8], (4, 1))
    matrix = matrices(lam, DEPTH, 2, 2, np.random.default_rng(0))

    def on_matrices(x):
        left, sigma, right = np.linalg.svd(x)
        return left * (sigma**2 - 0.3)[:, None, :] @ right

    def of_values(sigma):
        return np.sum(sigma**3 / 3 - 0.3 * sigma, -1)

    for scheme in SCHEMES:
        both = [
            langevin(g, x, depth=DEPTH, **COMMON, scheme=scheme, rng=0, energy=e)
            for g, x, e in (
                (on_matrices, matrix, lambda x: of_values(np.linalg.svd(x)[1])),
                (lambda s: s**2 - 0.3, lam**DEPTH, of_values),
            )
        ]  # fmt: skip
        # Normals are drawn in the frames, which differ, but for the factors of this scheme.
        if scheme != "second-order":
            assert_close(both[0].singular_values, both[1].singular_values, 1e-9)


def test_memory_is_constant():
    """In the number of steps, without a trace."""
    peaks = []
    for n_steps in (20, 400):
        tracemalloc.start()
        run(n_steps=n_steps)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 20_000


def test_progress_is_shown(capsys):
    run(progress=True)
    assert "6/6" in capsys.readouterr().err
    run()
    assert capsys.readouterr().err == ""


# --- temperatures ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES[:2])
def test_no_noise_is_deterministic(scheme):
    """On end-to-end matrices and values; factors still move along their fibres."""
    for start in ("square", "rectangular", "values"):
        one, other = (run(start, scheme=scheme, kappa=0.0, rng=seed) for seed in (0, 1))
        assert_same_bits(one, other)
    one, other = (run("stacked", scheme=scheme, kappa=0.0, rng=seed) for seed in (0, 1))
    assert abs(one.factors - other.factors).max() > 0.01


def test_values_that_vanish_without_noise():
    """A step that lands on the boundary to the last bit does not make NaN of it."""
    for depth in (1, 2, 3):
        for widths in (None, (2, *[1] * depth)):
            result = langevin(
                lambda s: np.ones_like(s),
                np.ones((2, 1)),
                depth=depth,
                beta=1.0,
                step_size=1.0,
                n_steps=5,
                kappa=0.0,
                widths=widths,
            )
            assert np.isfinite(result.singular_values).all()


# --- what is refused ------------------------------------------------------------------

EYE = np.tile(np.eye(2), (3, 1, 1))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one vector": ({"initial": np.ones(3)}, "one chain is \\[1"),
    "no chains": ({"initial": np.ones((0, 2, 2))}, "initial must be"),
    "a scalar": ({"initial": np.array(1.0)}, "initial must be"),
    "a single matrix": ({"initial": -np.eye(2)}, "must be positive"),
    "five axes": ({"initial": np.ones((1, 1, 1, 2, 2))}, "initial must be"),
    "single factors": ({"initial": (np.eye(2), np.eye(2)), "depth": None}, "one chain as \\[1"),
    "no factors": ({"initial": (), "depth": None}, "factors of chains"),
    "nested lists": ({"initial": [[1.0, 2.0], [2.0, 1.0]]}, "array"),
    "numbers of chains": ({"initial": (EYE, EYE[:2]), "depth": None}, "give one number"),
    "widths that do not chain": ({"initial": (EYE, np.ones((3, 2, 3))), "depth": None}, "widths"),
    "nan": ({"initial": np.nan * EYE}, "NaN"),
    "inf": ({"initial": np.full((3, 2, 2), np.inf)}, "NaN or infinite"),
    "nan in factors": ({"initial": (EYE, np.nan * EYE), "depth": None}, "NaN"),
    "complex": ({"initial": 1j * EYE}, "complex"),
    "a singular matrix": ({"initial": np.ones((3, 2, 2))}, "rank"),
    "a higher rank": ({"rank": 1}, "rank"),
    "rank zero": ({"rank": 0}, "rank"),
    "rank three": ({"rank": 3}, "rank"),
    "singular factors": ({"initial": (0 * EYE, EYE), "depth": None}, "rank"),
    "no depth": ({"depth": None}, "depth"),
    "depth zero": ({"depth": 0}, "depth"),
    "half a depth": ({"depth": 2.5}, "depth"),
    "infinite depth": ({"depth": np.inf}, "depth"),
    "another depth": ({"initial": (EYE, EYE)}, "2 factors"),
    "a depth of stacked factors": ({"initial": np.tile(EYE, (2, 1, 1, 1)), "depth": 2}, "factors"),
    "widths of another depth": ({"widths": (2, 2, 2)}, "widths"),
    "widths of another shape": ({"widths": (3, 2, 2, 2)}, "widths"),
    "narrow widths": ({"widths": (2, 1, 2, 2), "rank": 2}, "rank"),
    "widths of factors": (
        {"initial": (EYE, EYE), "depth": None, "widths": (2, 3, 2)},
        "leave out widths",
    ),
    "negative values": ({"initial": np.array([[1.0, -1.0]])}, "positive"),
    "zero values": ({"initial": np.array([[1.0, 0.0]])}, "positive"),
    "rank of values": ({"initial": np.ones((2, 2)), "rank": 1}, "leave out rank"),
    "widths of values": ({"initial": np.ones((2, 3)), "widths": (2, 3, 3, 3)}, "rank"),
    "beta zero": ({"beta": 0}, "beta"),
    "beta negative": ({"beta": -1.0}, "beta"),
    "beta nan": ({"beta": np.nan}, "beta"),
    "beta infinite": ({"beta": np.inf}, "beta"),
    "step zero": ({"step_size": 0}, "step_size"),
    "step negative": ({"step_size": -0.1}, "step_size"),
    "step nan": ({"step_size": np.nan}, "step_size"),
    "kappa negative": ({"kappa": -1}, "kappa"),
    "kappa nan": ({"kappa": np.nan}, "kappa"),
    "kappa infinite": ({"kappa": np.inf}, "kappa"),
    "no steps": ({"n_steps": 0}, "n_steps"),
    "half a step": ({"n_steps": 2.5}, "n_steps"),
    "save never": ({"save_every": 0}, "save_every"),
    "scheme": ({"scheme": "heun"}, "scheme must be one of euler-maruyama"),
    "no energy": ({"scheme": "metropolis", "energy": None}, "energy="),
    "metropolis without noise": ({"scheme": "metropolis", "kappa": 0}, "kappa"),
    "folder": ({"checkpoint": "/nowhere/at/all.npz"}, "no folder"),
    "energy of a chain": ({"energy": lambda x: 1.0}, "energy takes all chains"),
    "record of a chain": ({"record": lambda x: {"a": 1.0}}, "record must give"),
    "infinite energy": (
        {"scheme": "metropolis", "energy": lambda x: np.full(len(x), np.inf)},
        "not finite at every",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        run(**{"depth": DEPTH, **changes})


@EVERY
@pytest.mark.parametrize(
    "wrong", [lambda x: x[0], lambda x: x.sum(), lambda x: x[:, :1], lambda x: x[:-1]]
)
def test_gradients_of_another_shape_are_refused(wrong, scheme):
    initial, shape = STARTS["square"]
    with pytest.raises(ValueError, match=r"energy_gradient takes all chains at once.*\(6, 2, 2\)"):
        langevin(wrong, initial, **COMMON, **shape, scheme=scheme, energy=energy)


# --- what goes wrong on the way ---------------------------------------------------------


class Turning:
    """A gradient that does something else from a certain call on."""

    def __init__(self, call, action):
        self.calls, self.call, self.action = 0, call, action

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.call:
            return self.action(x)
        return gradient(x)


def lost(x):
    result = gradient(x)
    result[1] = np.nan
    return result


def interrupt(x):
    raise KeyboardInterrupt


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
def test_a_gradient_that_is_lost_ends_the_run(scheme, start):
    """With the last states that were good, and a status."""
    initial, shape = STARTS[start]
    turning = Turning(4, lost)
    result = langevin(
        turning, initial, **{**COMMON, "n_steps": 50}, **shape,
        scheme=scheme, energy=energy, rng=0, save_every=1,
    )  # fmt: skip
    assert not result.success
    assert not result.interrupted
    assert f"stopped after {result.n_steps} of 50 steps" in result.status
    assert "not finite at 1 of 6 chains" in result.status
    assert 0 <= result.n_steps < 4
    assert_as_far(result, run(start, scheme=scheme, save_every=1))


def assert_as_far(result, whole):
    """Assert that a run that ended early is the beginning of another one."""
    if result.n_steps:
        for name, values in result.trace.items():
            assert values.shape[1] == result.n_steps
            np.testing.assert_array_equal(values, whole.trace[name][:, : result.n_steps])
        expected = whole.trace["singular_values"][:, result.n_steps - 1]
        np.testing.assert_array_equal(result.singular_values, expected)
    for array in arrays_of(result).values():
        assert np.isfinite(array).all()


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
@pytest.mark.parametrize("call", [1, 2, 5, 6])
def test_the_keyboard_ends_the_run(scheme, start, call):
    initial, shape = STARTS[start]
    if scheme == "metropolis" and call == 1:
        call = 3  # the first one is before the run
    result = langevin(
        Turning(call, interrupt), initial, **COMMON, **shape,
        scheme=scheme, energy=energy, rng=0, save_every=1,
    )  # fmt: skip
    assert result.interrupted
    assert not result.success
    assert f"interrupted after {result.n_steps} of 6 steps" in result.status
    assert "start again from the last states" in result.status
    assert_as_far(result, run(start, scheme=scheme, save_every=1))


@EVERY
def test_an_interrupt_takes_back_what_was_drawn(scheme):
    """The generator that was given is that of the last states."""
    initial, shape = STARTS["square"]
    generators = np.random.default_rng(0), np.random.default_rng(0)
    settings = {**COMMON, **shape, "scheme": scheme, "energy": energy}
    half = langevin(Turning(5, interrupt), initial, **settings, rng=generators[0])
    assert 0 < half.n_steps < 6
    langevin(gradient, initial, **{**settings, "n_steps": half.n_steps}, rng=generators[1])
    states = [generator.bit_generator.state for generator in generators]
    assert states[0] == states[1]


@pytest.mark.parametrize("callback", ["record", "energy"])
def test_the_keyboard_ends_the_run_while_it_is_recorded(callback):
    """The step that was not recorded counts as not taken."""
    calls = []

    def record(x):
        calls.append(0)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return {"trace": np.trace(x, axis1=1, axis2=2)} if callback == "record" else energy(x)

    result = run(save_every=1, **{callback: record})
    assert result.interrupted
    assert result.n_steps == 3
    whole = run(save_every=1)
    for values in result.trace.values():
        assert np.isfinite(values).all()
        assert values.shape[1] == 3
    expected = whole.trace["singular_values"][:, :3]
    np.testing.assert_array_equal(result.trace["singular_values"], expected)


@pytest.mark.parametrize("scheme", SCHEMES[::2])
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (9, 9), (3, 2)])
def test_overflow_within_a_step_is_divergence(scheme, rows, columns):
    """Although the gradient is finite, and every state."""
    result = langevin(
        lambda x: np.full(x.shape, 1e307),
        1000 * np.ones((3, 1, 1)) * np.eye(rows, columns),
        depth=DEPTH,
        beta=1.0,
        step_size=1.0,
        n_steps=3,
        scheme=scheme,
        energy=lambda x: np.zeros(len(x)),
        rng=0,
    )
    assert "smaller step_size" in result.status
    assert (result.n_steps, result.success) == (0, False)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (9, 9), (3, 2)])
@pytest.mark.parametrize("size", [1e2, 1e9, 1e60, 1e200])
def test_chains_that_diverge_say_so(scheme, rows, columns, size):
    """At every rate of divergence, with finite last states; Metropolis chains stay."""
    result = langevin(
        lambda x: -size * x**3,
        np.ones((3, 1, 1)) * np.eye(rows, columns),
        depth=DEPTH,
        beta=1.0,
        step_size=1.0,
        n_steps=40,
        scheme=scheme,
        energy=lambda x: -size * np.sum(x**4, axis=(1, 2)) / 4,
        rng=0,
    )
    assert np.isfinite(result.singular_values).all()
    assert np.isfinite(result.observables).all()
    assert result.success or "smaller step_size" in result.status
    if scheme == "euler-maruyama":
        assert not result.success
