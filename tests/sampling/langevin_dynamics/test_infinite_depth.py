"""Langevin dynamics at infinite depth: one step against the metric, and what there is no law of."""

import math
from typing import Any

import numpy as np
import pytest

from dlngeo.sampling import (
    Ladder,
    SpectralExpression,
    WeightDecay,
    free_energies,
    langevin,
    to_inference_data,
)
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.infinite_depth import LogarithmicEulerMaruyama
from dlngeo.solvers import Factorization
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.runs import Turning, assert_same_bits, gradient, interrupt
from tests.sampling.reference import cubature, replay, rotations

WELL = SpectralExpression("log(s)**2 / 2", depth=math.inf)
TARGET = np.diag([1.5, 0.5])
SETTINGS: dict[str, Any] = {
    "energy": Factorization(TARGET) + WELL,
    "depth": math.inf,
    "beta": 2.0,
    "step_size": 0.01,
    "rng": 0,
}


def log_mean(a, b):
    """Return ``(a² - b²) / (2 log(a/b))``."""
    return a * a if abs(a - b) < 1e-9 * a else (a * a - b * b) / (2 * math.log(a / b))


def weights(matrix):
    left, sigma, right = np.linalg.svd(matrix)
    return left, np.array([[log_mean(a, b) for b in sigma] for a in sigma]), sigma, right


def cometric(matrix):
    """Return ``A_∞`` as a matrix of entries."""
    left, kernel, _, right = weights(matrix)
    vectors = np.einsum("ik,lj,kl->klij", left, right, np.sqrt(kernel))
    vectors = vectors.reshape(-1, matrix.size)
    return vectors.T @ vectors


def logarithms(matrix):
    """Return those of the volume's density, and of that of orbits, up to constants."""
    _, kernel, sigma, _ = weights(matrix)
    pairs = np.log(kernel[np.triu_indices(len(sigma), 1)]).sum()
    return np.array([-np.log(sigma).sum() - pairs, pairs / 2])


@pytest.mark.parametrize("kappa", [1.0, 0.4])
@pytest.mark.parametrize(
    "sigma", [[0.7], [1.4, 0.3], [1.2, 1.2], [1.2, 1.1999], [1.3, 0.9, 0.2]], ids=str
)
def test_moments_of_a_step(sigma, kappa):
    """Covariance ``2hκ/β A_∞``, and Itô's drift by differences of the metric and its volume."""
    rng, beta, step, eps = np.random.default_rng(3), 1.7, 1e-7, 1e-5
    size = len(sigma)
    left, right = (rotations(1, size, size, rng)[0] for _ in range(2))
    left[:, 0] *= np.linalg.det(left) * np.linalg.det(right)
    matrix, covector = left * np.array(sigma) @ right.T, rng.standard_normal((size, size))
    equation = Equation(
        lambda x: np.broadcast_to(covector, x.shape), (size, size), size, beta, kappa,
        determinant="positive", is_infinite=True,
    )  # fmt: skip
    nodes, masses = cubature(size**2)
    kernel = LogarithmicEulerMaruyama(equation, step)
    state = kernel.init((np.repeat(matrix[None], len(nodes), axis=0),))
    (after,) = kernel.factors(kernel.step(state, replay(nodes)))
    moved = (after - matrix).reshape(len(nodes), -1)
    metric, drift = cometric(matrix), np.zeros(size**2)
    for entry in range(size**2):
        shift = eps * np.eye(size**2)[entry].reshape(size, size)
        ahead, behind = matrix + shift, matrix - shift
        volume, entropy = (logarithms(ahead) - logarithms(behind)) / (2 * eps)
        drift += kappa * (cometric(ahead) - cometric(behind))[:, entry] / (2 * eps)
        drift += metric[:, entry] * (kappa * volume + entropy)
    drift = drift / beta - metric @ covector.ravel()
    assert_close(masses @ moved / step, drift, 1e-4, scale=1 + abs(drift).max())
    covariance = np.einsum("n,ni,nj->ij", masses, moved, moved) / step
    assert_close(covariance, 2 * kappa / beta * metric, 1e-4)


def test_chains_jump_between_the_components():
    """Confined ones do not; those that may have the energy's shares at once."""
    start = np.tile(np.diag([1.0, -1.0]), (400, 1, 1))
    free = langevin(initial=start, n_steps=50, save_every=1, **SETTINGS)
    signs = free.trace["determinant_sign"]
    assert free.observables is not None
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert 0.1 < (signs[:, 25:] < 0).mean() < 0.45
    np.testing.assert_array_equal(np.linalg.slogdet(free.observables)[0], signs[:, -1])
    assert free.space.endswith("at infinite depth with either sign of the determinant")
    confined = langevin(initial=start, n_steps=50, determinant="negative", **SETTINGS)
    assert confined.observables is not None
    assert (np.linalg.slogdet(confined.observables)[0] < 0).all()
    assert confined.depth == math.inf


def test_singular_values_and_spectral_energies():
    """The same chains, as matrices of a spectral energy and as values."""
    start = np.array([[1.5, 0.4], [1.0, 0.9]])
    settings = SETTINGS | {"energy": WELL, "n_steps": 20}
    values = langevin(initial=start, **settings).singular_values
    matrices = langevin(
        initial=start[:, :, None] * np.eye(2), determinant="positive", **settings
    ).singular_values
    np.testing.assert_allclose(values, matrices, rtol=1e-10)


def test_what_there_is_no_law_of():
    """An energy that is bounded where ``det X = 0``: chains run away, or are refused."""
    start, bounded = np.tile(np.eye(2), (4, 1, 1)), SETTINGS | {"energy": Factorization(TARGET)}
    with pytest.raises(ValueError, match=r"there is no law to sample: .*log\(s\)\*\*2 / 2"):
        langevin(initial=start, n_steps=5, **bounded)
    result = langevin(initial=start, n_steps=20, save_every=2, determinant="positive", **bounded)
    assert result.success
    assert result.r_hat is None
    assert "There is no Gibbs law: the energy does not rise towards det X = 0." in result.status
    # Over L = -log σ_d the density must fall faster than 1/L: e^{-βL} does, L^{-β/9} does not.
    for formula, is_enough in (("s - log(s)", True), ("s + log(1 - log(s)/(1 + s))/9", False)):
        energy = SpectralExpression(formula, math.inf)
        found = langevin(
            initial=start, n_steps=3, determinant="positive", **SETTINGS | {"energy": energy}
        )
        assert ("no Gibbs law" not in found.status) == is_enough

    def decomposed(x):
        return np.sum(np.log(np.linalg.svd(x, compute_uv=False)) ** 2, axis=-1) / 2

    # By round-off it is bounded beyond 1e-16.
    found = langevin(
        lambda x: np.linalg.inv(x).swapaxes(1, 2), start, n_steps=3,
        **SETTINGS | {"energy": decomposed},
    )  # fmt: skip
    assert found.is_stationary
    silent = langevin(initial=start, n_steps=3, kappa=0.0, **bounded)
    assert silent.success


def test_refusals():
    square, wide = np.tile(np.eye(2), (2, 1, 1)), np.ones((2, 2, 3))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"initial": wide}, "square matrices of full rank"),
        ({"rank": 1}, "square matrices of full rank"),
        ({"widths": (2, 2)}, "leave out widths"),
        ({"scheme": "metropolis"}, "is of finite depth: at infinite depth take euler-maruyama"),
        ({"energy": None, "energy_gradient": gradient}, r"jumps, which need the energy"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            langevin(**{"initial": square, "n_steps": 2, **SETTINGS, **changes})
    with pytest.raises(ValueError, match="depth of weight decay"):
        WeightDecay(math.inf)  # type: ignore[arg-type] # what is refused
    with pytest.raises(ValueError, match="'N'"):
        SpectralExpression("s**(1/N)", math.inf)


def test_a_checkpoint_gives_the_same_bits(tmp_path):
    start = np.tile(np.eye(2), (3, 1, 1))
    settings = SETTINGS | {"energy": None, "determinant": "positive", "n_steps": 9, "save_every": 1}
    path = tmp_path / "chains.npz"
    stopped = langevin(Turning(7, interrupt), start, checkpoint=path, **settings)
    assert stopped.interrupted
    assert 0 < stopped.n_steps < 9
    resumed = langevin(gradient, start, checkpoint=path, **settings)
    assert_same_bits(resumed, langevin(gradient, start, **settings))


def test_a_chain_that_is_lost_stays_and_others_go_on():
    """Where the step leads beyond what is finite, or the gradient does."""
    start = np.array([1e-3, 1.0])[:, None, None] * np.eye(2)

    def steep(x):
        return np.where(abs(x[:, :1, :1]) < 0.1, 1e300, 1.0) * x

    result = langevin(
        steep, start, depth=math.inf, beta=1.0, step_size=0.1, n_steps=5, determinant="positive",
        rng=0,
    )  # fmt: skip
    assert result.n_rejected.tolist() == [5, 0]
    assert result.observables is not None
    assert_close(result.observables[0], start[0], 1e-14)
    assert np.isfinite(result.observables).all()


def test_ladders_and_what_is_made_of_results():
    """Replicas exchange; free energies need volumes of orbits, which there are none of."""
    start = np.tile(np.eye(2), (4, 1, 1))
    result = langevin(
        initial=start, n_steps=40, save_every=2, **SETTINGS | {"beta": Ladder((1.0, 2.0))}
    )
    assert result.swap_rates is not None
    assert 0 < result.swap_rates[0] <= 1
    with pytest.raises(ValueError, match="take a finite depth"):
        free_energies(result)
    assert to_inference_data(result.at(1.0)).attrs["depth"] == math.inf
