"""The law of the whole space: both components, from wrong starts, against exact values.

Minutes long: ``make statistics``.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import ive

from dlngeo.sampling import langevin
from tests.sampling.reference import SpectralLaw, layers, matrices, rotations

BETA, N_CHAINS = 4.0, 1200
TARGET = np.diag([2.0, 0.5])


def distance(x):
    return np.sum((x - TARGET) ** 2, axis=(-2, -1)) / 2


def grid(depth, rank, reach, count):
    """Return signed ``λ``, the last one of either sign, and weights ``ρ(λ) dλ``."""
    x, w = np.polynomial.legendre.leggauss(count)
    nodes = [reach * (1 + x) / 2, *[(1 + x) / 2] * (rank - 2), x][:rank]
    weights = [reach * w / 2, *[w / 2] * (rank - 2), w][:rank]
    lam = np.cumprod(np.stack(np.meshgrid(*nodes, indexing="ij"), -1), axis=-1)
    weight = np.prod(np.stack(np.meshgrid(*weights, indexing="ij"), -1), axis=-1)
    weight = weight * np.prod(abs(lam[..., :-1]), axis=-1)
    for k, l in itertools.combinations(range(rank), 2):
        a, b = lam[..., k] ** 2, lam[..., l] ** 2
        weight = weight * (a - b) * np.sqrt(sum(a**p * b ** (depth - 1 - p) for p in range(depth)))
    return lam.reshape(-1, rank), weight.ravel()


def moments(energy, sign, sigma):
    """Return what chains and the exact law are compared by."""
    return np.stack([energy, sign < 0, *sigma.T, *(sigma**2).T], axis=-1)


def exact_near_the_target(depth, rank):
    """Return exact means for ``½ ‖X - Y‖²``: the frames give two Bessel functions."""
    lam, weight = grid(depth, rank, 6.0 if depth == 1 else 2.6, 300)
    sigma = np.sign(lam) * abs(lam) ** depth
    last = sigma[:, 1] if rank == 2 else 0 * sigma[:, 0]
    if rank == 1:
        # All layers are wider than the rank by one.
        weight = weight * lam[:, 0] ** (depth + 1)
    a, b = BETA * 1.25 * (sigma[:, 0] + last), BETA * 0.75 * (sigma[:, 0] - last)
    square = np.sum(sigma**2, axis=-1) + np.sum(TARGET**2)
    log = -BETA * square / 2 + abs(a) + abs(b)
    weight = weight * np.exp(log - log.max()) * ive(0, a) * ive(0, b)
    overlap = (a * ive(1, a) / ive(0, a) + b * ive(1, b) / ive(0, b)) / BETA
    energy = square / 2 - overlap
    means = moments(energy, last, abs(sigma))
    return weight @ means / weight.sum()


def deviations(draws, expected):
    """Return by how many standard errors independent draws, shape=[n, s], are off."""
    return (draws.mean(0) - expected) / np.sqrt(draws.var(0) / len(draws))


def start_of(face, depth, rank, rng, sign=-1):
    """Return a start wholly in one component, which most of the law is not in.

    A third of the chains each start amid the law, next to the boundary, and far off.
    """
    widths = (2,) * (depth + 1)
    sigma = np.array([[1.2, 0.9], [1e-3, 1e-5], [4.0, 3.0]])[:, :rank]
    lam = np.repeat(sigma, N_CHAINS // 3, axis=0) ** (1 / depth)
    if face == "observables":
        start = matrices(lam, depth, 2, 2, rng)
        if rank == 2:
            start[:, 0] *= (sign * np.linalg.slogdet(start)[0])[:, None]
        return start
    factors = layers(lam, widths, rng)
    last = factors[-1].copy()
    if rank == 2:
        signs = np.prod([np.linalg.slogdet(w)[0] for w in factors], axis=0)
        last[:, 0] *= (sign * signs)[:, None]
    return (*factors[:-1], last)


def draws_near_the_target(face, scheme, depth, rank, determinant=None):
    rng = np.random.default_rng([depth, rank, len(face), len(scheme)])
    step = 0.005 if scheme == "euler-maruyama" else 0.04
    time = {1: 6, 2: 9, 3: 20, 4: 20}[depth] if rank == 2 else 5
    start = start_of(face, depth, rank, rng)
    result = langevin(
        lambda x: x - TARGET, start, **({} if face == "factors" else {"depth": depth}),
        rank=rank, beta=BETA, step_size=step, n_steps=round(time / step), scheme=scheme,
        energy=distance, determinant=determinant, rng=rng,
    )  # fmt: skip
    assert result.success, result.status
    x = result.observables
    assert x is not None
    return moments(distance(x), np.linalg.slogdet(x)[0] * (rank == 2), result.singular_values)


CASES = [
    *[("observables", "euler-maruyama", depth, 2) for depth in (1, 2, 3, 4)],
    ("factors", "euler-maruyama", 2, 2),
    *[("observables", "metropolis", depth, 2) for depth in (1, 2)],
    *[("observables", "second-order", depth, 2) for depth in (1, 2)],
    *[("observables", "euler-maruyama", depth, 1) for depth in (1, 2, 3, 4)],
]


@pytest.mark.parametrize(("face", "scheme", "depth", "rank"), CASES)
def test_law_from_the_wrong_component(face, scheme, depth, rank):
    """Of ``½ ‖X - diag(2, ½)‖²`` at ``β = 4``: energy, share of ``det < 0``, singular values."""
    expected = exact_near_the_target(depth, rank)
    if rank == 2:
        shares = {1: 0.167, 2: 0.283, 3: 0.346, 4: 0.383}
        assert abs(expected[1] - shares[depth]) < 5e-4
    if (depth, rank) == (1, 2):
        assert abs(expected[0] - 0.5) < 1e-9
    draws = draws_near_the_target(face, scheme, depth, rank)
    kept = [0, 1, 2, 3, 4, 5] if rank == 2 else [0, 2, 3]
    for part in (draws, *np.split(draws, 3)):
        assert abs(deviations(part[:, kept], expected[kept])).max() < 4


@pytest.mark.parametrize("face", ["observables", "factors"])
def test_confined_chains_are_told_apart(face):
    """The planted error: what stays in its component has another law, by far."""
    draws = draws_near_the_target(face, "euler-maruyama", 2, 2, "negative")
    assert (draws[:, 1] == 1).all()
    assert deviations(draws[:, :1], exact_near_the_target(2, 2)[:1])[0] > 8


def exact_near_a_rank_one_target(depth):
    """Return exact means for ``½ ‖X - 2 e_1 e_1ᵀ‖²`` of 2 × 3 matrices.

    The row ``2aᵀΣ`` of a left frame meets a uniform vector of the sphere, ``∫ e^{w·b} = sinh w/w``.
    """
    angle = np.pi * (np.arange(64) + 0.5) / 64

    def averages(lam):
        """Return ``E`` averaged over frames, and ``-log ∫ e^{-βE}`` over ``β``."""
        sigma = lam**depth
        length = np.hypot(sigma[..., :1] * np.cos(angle), sigma[..., 1:] * np.sin(angle))
        w = 2 * BETA * length
        top = w.max(axis=-1, keepdims=True)
        mean = np.exp(w - top) * -np.expm1(-2 * w) / (2 * w)
        overlap = np.mean(mean * (2 * length / np.tanh(w) - 1 / BETA), axis=-1)
        mean = mean.mean(axis=-1)
        square = (np.sum(sigma**2, axis=-1) + 4) / 2
        return square - overlap / mean, square - (np.log(mean) + top[..., 0]) / BETA

    def statistics(lam):
        values = (averages(lam)[0][..., None], lam**depth, lam ** (2 * depth))
        return np.concatenate(values, axis=-1)

    reach = 6.0 if depth == 1 else 2.6
    widths = (3, *[2] * depth)
    return SpectralLaw(widths, 2, lambda lam: averages(lam)[1], BETA, reach=reach).mean(statistics)


@pytest.mark.parametrize(
    ("face", "depth"),
    [*[("observables", depth) for depth in (1, 2, 3, 4)], ("factors", 2), ("factors", 4)],
)
def test_law_of_two_by_three_from_hostile_starts(face, depth):
    """From the other side of the origin, from next to the boundary, and from far off."""
    target = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])

    def energy(x):
        return np.sum((x - target) ** 2, axis=(-2, -1)) / 2

    rng, n = np.random.default_rng([depth, len(face)]), 400
    scale = np.repeat([[2.0, 1.0], [1e-4, 1e-6], [4.0, 3.0]], n, axis=0) ** (1 / depth)
    start: Any = layers(scale, (3, *[2] * depth), rng)
    if face == "observables":
        start = matrices(scale, depth, 2, 3, rng)
        start[:n] = -target + [[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    result = langevin(
        lambda x: x - target, start, **({} if face == "factors" else {"depth": depth}),
        beta=BETA, step_size=0.01, n_steps={1: 600, 2: 900, 3: 1200, 4: 1600}[depth], rng=rng,
    )  # fmt: skip
    assert result.success, result.status
    assert result.space == "2 x 3 matrices of rank 2"
    expected = exact_near_a_rank_one_target(depth)
    if depth == 1:
        assert abs(expected[0] - 3 / BETA) < 1e-9
    sigma = result.singular_values
    draws = np.concatenate([energy(result.observables)[:, None], sigma, sigma**2], axis=1)
    for part in np.split(draws, 3):
        assert abs(deviations(part, expected)).max() < 4


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("face", ["observables", "factors"])
def test_law_of_three_by_three(face, depth):
    """An energy of the signed values, ``½ ‖X‖² + ¼ ‖X‖⁴ - det X``."""

    def energy(x):
        square = np.sum(x**2, axis=(-2, -1))
        return square / 2 + square**2 / 4 - np.linalg.det(x)

    def gradient(x):
        square = np.sum(x**2, axis=(-2, -1), keepdims=True)
        cofactors = np.stack(
            [np.cross(x[:, (i + 1) % 3], x[:, (i + 2) % 3]) for i in range(3)], axis=1
        )
        return (1 + square) * x - cofactors

    lam, weight = grid(depth, 3, 1.5 if depth > 1 else 3.0, 60)
    sigma = np.sign(lam) * abs(lam) ** depth
    square = np.sum(sigma**2, axis=-1)
    value = square / 2 + square**2 / 4 - np.prod(sigma, axis=-1)
    weight = weight * np.exp(-BETA * (value - value.min()))
    expected = weight @ moments(value, sigma[:, 2], abs(sigma)) / weight.sum()
    rng = np.random.default_rng(depth)
    roots = np.tile([0.7, 0.6, 0.5], (N_CHAINS, 1)) ** (1 / depth)
    frames = [rotations(N_CHAINS, 3, 3, rng) for _ in range(depth + 1)]
    for frame in frames:
        frame[..., 0] *= np.linalg.slogdet(frame)[0][:, None]
    frames[-1][..., 0] *= -1
    start = tuple(q * roots[:, None, :] @ p.swapaxes(-1, -2) for p, q in itertools.pairwise(frames))
    matrix = frames[-1] * roots[:, None, :] ** depth @ frames[0].swapaxes(-1, -2)
    assert (np.linalg.det(matrix) < 0).all()
    result = langevin(
        gradient, start if face == "factors" else matrix,
        **({} if face == "factors" else {"depth": depth}),
        beta=BETA, step_size=0.01, n_steps=600, rng=rng,
    )  # fmt: skip
    assert result.success, result.status
    x = result.observables
    assert x is not None
    draws = moments(energy(x), np.linalg.slogdet(x)[0], result.singular_values)
    assert abs(deviations(draws, expected)).max() < 4
