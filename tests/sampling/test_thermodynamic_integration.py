"""Free energies from draws of known laws: values, errors, and what is refused."""

from dataclasses import replace
from typing import Any

import autograd.numpy as anp
import numpy
import pytest

from dlngeo.sampling import (
    Ladder,
    SpectralExpression,
    free_energies,
    langevin,
    thermodynamics_by_depth,
)
from dlngeo.sampling.thermodynamic_integration import log_ratio
from dlngeo.solvers import Factorization
from dlngeo.thermodynamics import Equilibrium, LeastSquaresEquilibrium

BETAS, DEGREES, GROUPS, DRAWS = numpy.array([1.0, 2.0, 3.5, 7.0]), 4, 25, 300
RUN: Any = langevin(
    initial=numpy.ones((GROUPS, 2)) * [1.0, 0.5], energy=lambda s: (s**2).sum(-1) / 2, depth=1,
    beta=Ladder(BETAS.tolist()), step_size=0.05, n_steps=4, save_every=2, rng=0,
)  # fmt: skip


def drawn(seed, kappa=1.0):
    """Return a result with independent draws of ``½‖X‖²`` of 2×2 matrices, of a known law."""
    rng = numpy.random.default_rng(seed)
    temperatures = numpy.repeat(kappa / BETAS, GROUPS)[:, None, None, None]
    matrices = temperatures**0.5 * rng.standard_normal((len(temperatures), DRAWS, 2, 2))
    sigma = numpy.linalg.svd(matrices, compute_uv=False)
    trace = {"energy": (sigma**2).sum(axis=-1) / 2, "singular_values": sigma}
    return replace(RUN, trace=trace, kappa=kappa)


@pytest.mark.parametrize("kappa", [1.0, 0.5])
def test_the_gaussian_law(kappa):
    """``log Z = (D/2) log(2πκ/β)``, ``⟨E⟩ = Dκ/2β``, ``C = D/2 κ``, within honest errors."""
    found_scores = []
    exact: Any = [
        Equilibrium(lambda s: (s**2).sum(-1) / 2, (2, 2), beta=b, kappa=kappa) for b in BETAS
    ]
    logs = DEGREES / 2 * numpy.log(2 * numpy.pi * kappa / BETAS)
    numpy.testing.assert_allclose([law.log_partition for law in exact], logs, rtol=1e-9)
    for seed in range(40):
        found = free_energies(drawn(seed, kappa), (logs[0], 0.0))
        assert found.is_absolute
        assert found.n_groups == GROUPS
        numpy.testing.assert_array_equal(found.curves.beta, BETAS)
        pairs = [
            (
                getattr(found.curves, name),
                getattr(found.errors, name),
                [getattr(law, name) for law in exact],
            )
            for name in ("free_energy", "mean_energy", "entropy", "heat_capacity")
        ]
        found_scores.append([(value - law)[1:] / error[1:] for value, error, law in pairs])
    scores = numpy.array(found_scores)
    # Of Student's t with 24 degrees of freedom; twelve means, twelve variances.
    assert abs(scores.mean(axis=0)).max() < 3.5 * (24 / 22 / 40) ** 0.5
    assert abs(scores.var(axis=0) - 24 / 22).max() < 3.5 * (2.2 / 40) ** 0.5


def test_errors_of_differences():
    """From the covariance, as from the step alone; the start adds what was given for it."""
    result = drawn(0)
    found = free_energies(result)
    assert not found.is_absolute
    assert found.status.startswith("The chains agree")
    assert found.log_partition[0] == found.log_partition_error[0] == 0
    numpy.testing.assert_allclose(numpy.diag(found.covariance) ** 0.5, found.log_partition_error)
    energy = result.trace["energy"].reshape(4, GROUPS, DRAWS)
    alone = log_ratio(3.5 * energy[2], 3.5 * energy[3])
    assert found.log_partition[3] - found.log_partition[2] == pytest.approx(alone.value, rel=1e-12)
    difference = found.covariance[2, 2] + found.covariance[3, 3] - 2 * found.covariance[2, 3]
    assert difference**0.5 == pytest.approx(float(alone.error), rel=1e-9)
    started = free_energies(result, (5.0, 0.3))
    numpy.testing.assert_allclose(started.log_partition, 5.0 + found.log_partition)
    expected = numpy.hypot(0.3, found.log_partition_error)
    numpy.testing.assert_allclose(started.log_partition_error, expected)
    numpy.testing.assert_allclose(started.errors.free_energy, expected / BETAS)


def test_chains_of_one_group_count_as_one():
    """Of draws that are repeated within groups the errors stay; of repeated groups they shrink."""
    result = drawn(0)
    doubled = {name: numpy.repeat(v, 2, axis=1) for name, v in result.trace.items()}
    error = free_energies(result).log_partition_error[1:]
    same = free_energies(replace(result, trace=doubled)).log_partition_error[1:]
    numpy.testing.assert_allclose(same, error, rtol=1e-6)


def test_chains_that_disagree_are_told():
    """As their errors are not to be relied on."""
    result = drawn(0)
    energy = result.trace["energy"].copy()
    energy[::2] *= 1.3
    found = free_energies(replace(result, trace=result.trace | {"energy": energy}))
    assert found.status.startswith("The chains disagree")


def test_the_order_of_chains_does_not_matter():
    result = drawn(0)
    places = numpy.random.default_rng(0).permutation(len(result.beta))
    mixed = replace(
        result,
        beta=result.beta[places],
        singular_values=result.singular_values[places],
        trace={name: values[places] for name, values in result.trace.items()},
    )
    numpy.testing.assert_allclose(
        free_energies(mixed).log_partition,
        free_energies(result).log_partition,
        rtol=1e-9,
        atol=1e-9,
    )


def test_refusals():
    result = drawn(0)
    cases = [
        (replace(result, beta=1.0), "at each of some temperatures, got 100 chains at beta = 1"),
        (replace(result, beta=numpy.r_[1.0, result.beta[:-1]]), "as many chains"),
        (replace(result, trace={}), "energy was not recorded"),
        (
            replace(result, trace=result.trace | {"energy": result.trace["energy"] * numpy.inf}),
            "not finite",
        ),
        (
            replace(result, trace=result.trace | {"energy": 1e3 * result.trace["energy"]}),
            "overlap by .* only",
        ),
    ]
    for source, message in cases:
        with pytest.raises(ValueError, match=message):
            free_energies(source)
    with pytest.raises(ValueError, match="log_partition must be a finite number"):
        free_energies(result, numpy.nan)
    with pytest.raises(ValueError, match="must be a LangevinResult, got an object of dict"):
        free_energies({})  # type: ignore[arg-type] # what is refused
    loss = Factorization(TARGET)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"energy_at": loss}, "energy_at must be a function of the depth: give lambda depth"),
        ({"reference_at": loss}, "reference_at must be a function of the depth"),
        (
            {"reference_at": lambda depth: loss},
            "must give an energy of singular values",
        ),
        ({"depths": 2}, "depths must be a list of 1 numbers or more, got 2"),
        ({"rng": "seed"}, "rng must be"),
    ]
    for change, message in changes:
        arguments = BY_DEPTH | {"energy_at": lambda depth: loss, "depths": (1,)} | change
        with pytest.raises(ValueError, match=message):
            thermodynamics_by_depth(**arguments)


TARGET = numpy.diag([1.5, 0.5])
BY_DEPTH: Any = {
    "initial": numpy.random.default_rng(0).normal(size=(20, 2, 2)), "betas": (0.2, 0.6, 2.0),
    "step_size": 0.05, "n_steps": 250, "burn_in": 60, "scheme": "metropolis",
}  # fmt: skip


def half_square(depth):
    return SpectralExpression("s**2 / 2", depth)


def test_one_call_for_all_depths():
    """Is a ladder for each, with random numbers that go on."""
    found = thermodynamics_by_depth(
        lambda depth: Factorization(TARGET), depths=(2, 1), rng=3, **BY_DEPTH
    )
    assert list(found) == [2, 1]
    assert not found[1].is_absolute
    rng = numpy.random.default_rng(3)
    options = {name: value for name, value in BY_DEPTH.items() if name != "betas"}
    for depth, curves in found.items():
        result = langevin(
            energy=Factorization(TARGET), depth=depth, beta=Ladder(BY_DEPTH["betas"]),
            save_every=10, rng=rng, **options,
        )  # fmt: skip
        expected = free_energies(result)
        for name in ("free_energy", "heat_capacity"):
            first, second = (getattr(f.curves, name) for f in (curves, expected))
            numpy.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "energy", [Factorization(TARGET), lambda x: anp.sum((x - TARGET) ** 2, axis=(1, 2)) / 2]
)
def test_absolute_values_from_a_reference(energy):
    depth, betas = 2, BY_DEPTH["betas"]
    found = thermodynamics_by_depth(
        lambda depth: energy, depths=(depth,), reference_at=half_square, rng=1, **BY_DEPTH
    )[depth]
    assert found.is_absolute
    for k, beta in enumerate(betas):
        exact = LeastSquaresEquilibrium(TARGET, (2, 2, 2), beta=beta).log_partition
        error = found.log_partition_error[k]
        assert error < 0.15
        # Student's t of 19 degrees of freedom.
        assert abs(found.log_partition[k] - exact) < 5 * error


def test_a_reference_of_singular_values():
    """Whose own law it is: the step is zero, to the last digits, and has no error."""
    start = numpy.array([[1.0], [2.0], [0.5], [1.5]])
    found = thermodynamics_by_depth(
        half_square, start, depths=(3,), betas=(0.5, 1.0), reference_at=half_square,
        step_size=0.05, n_steps=40, rng=0,
    )[3]  # fmt: skip
    exact = Equilibrium(half_square(3), (1, 1, 1, 1), beta=0.5).log_partition
    assert found.log_partition[0] == pytest.approx(exact, abs=1e-9)
    assert found.log_partition_error[0] < 1e-9
