"""What energies are asked: values in order, matrices of all chains, arrays of any library."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.sampling import langevin
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.runs import (
    COMMON,
    DEPTH,
    EVERY,
    SCHEMES,
    STARTS,
    energy,
    gradient,
)
from tests.sampling.reference import matrices


def test_gradients_of_other_libraries_serve():
    initial, shape = STARTS["square"]
    results = [
        langevin(g, initial, **COMMON, **shape, rng=0)
        for g in (gradient, lambda x: jnp.asarray(x) - 0.5, lambda x: torch.tensor(x) - 0.5)
    ]
    for result in results[1:]:
        assert_close(result.observables, results[0].observables, 1e-5)


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
    shapes: tuple[dict[str, Any], ...] = ({}, {"widths": (2, 4, 3, 2)})
    for shape in shapes:
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


@EVERY
@pytest.mark.parametrize(
    "wrong", [lambda x: x[0], lambda x: x.sum(), lambda x: x[:, :1], lambda x: x[:-1]]
)
def test_gradients_of_another_shape_are_refused(wrong, scheme):
    initial, shape = STARTS["square"]
    with pytest.raises(ValueError, match=r"energy_gradient takes all chains at once.*\(6, 2, 2\)"):
        langevin(wrong, initial, **COMMON, **shape, scheme=scheme, energy=energy)


def test_gradient_is_finite_at_the_start():
    equation = Equation(lambda x: x * np.nan, (2, 2, 2), 2, 1.0, energy=lambda x: x[:, 0, 0])
    with pytest.raises(ValueError, match="gradient is not finite"):
        Metropolis(equation, 0.1).init((np.eye(2)[None],))
