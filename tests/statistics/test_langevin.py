"""Laws of long Langevin chains, on every face and by every scheme, against quadrature.

The last states of chains are independent samples, so that a mean is off by standard errors of
known size. Minutes long: ``make statistics``.
"""

import math
from typing import Any

import arviz
import numpy as np
import pytest

from dlngeo.sampling import langevin
from tests.sampling.reference import SpectralLaw, layers, matrices

BETA = 3.0


def energies(depth):
    """Return spectral energies by ``λ``, and their gradients by ``σ``."""
    tilts = np.array([0.4, 1.5, 0.8])

    def half_square(lam):
        return depth / 2 * (lam**2).sum(-1)

    def half_square_slope(sigma):
        return sigma ** (2 / depth - 1)

    def asymmetric(lam):
        sigma = lam**depth
        r = sigma.shape[-1]
        return (tilts[:r] * sigma + (sigma - 0.6) ** 2 * (1 + sigma) / 2).sum(-1)

    def asymmetric_slope(sigma):
        r = sigma.shape[-1]
        return tilts[:r] + (sigma - 0.6) * (1 + sigma) + (sigma - 0.6) ** 2 / 2

    return {
        "half square": (half_square, half_square_slope),
        "asymmetric": (asymmetric, asymmetric_slope),
    }


def start_of(face, lam, widths, rng):
    """Return initial states with given ``λ`` and uniform frames, and the shape of the network."""
    depth, rank = len(widths) - 1, lam.shape[1]
    if face == "values":
        return lam**depth, {"depth": depth, "widths": widths}
    if face == "observables":
        start = matrices(lam, depth, widths[-1], widths[0], rng)
        return start, {"depth": depth, "widths": widths, "rank": rank}
    return layers(lam, widths, rng), {"rank": rank}


def chains(face, scheme, widths, rank, name, kappa, n, step_size, time, seed=0):
    """Return ``λ`` after some time, from a colder start, and the law that it should have."""
    depth = len(widths) - 1
    energy, slope = energies(depth)[name]
    law = SpectralLaw(widths, rank, energy, BETA, kappa)
    rng = np.random.default_rng(seed)
    lam = SpectralLaw(widths, rank, energy, 1.3 * BETA, kappa).samples(n, rng)

    def values(x):
        return np.linalg.svd(x, compute_uv=False)[..., :rank]

    def gradient(x):
        left, sigma, right = np.linalg.svd(x, full_matrices=False)
        return left[..., :rank] * slope(sigma[..., :rank])[:, None, :] @ right[:, :rank]

    start, shape = start_of(face, lam, widths, rng)
    is_spectral = face == "values"
    result = langevin(
        slope if is_spectral else gradient,
        start,
        **shape,
        beta=BETA,
        kappa=kappa,
        step_size=step_size,
        n_steps=round(time / step_size),
        scheme=scheme,
        energy=lambda x: energy((x if is_spectral else values(x)) ** (1 / depth)),
        rng=rng,
    )
    assert result.success, result.status
    return result.singular_values ** (1 / depth), law


SQUARE = [
    ((1, 1, 1), 1),
    ((1, 1, 1, 1), 1),
    ((2, 2), 2),
    ((2, 2, 2), 2),
    ((2, 2, 2, 2), 2),
    ((3, 3, 3, 3), 3),
]
OTHERS = [
    ((2, 3), 2),
    ((3, 3), 1),
    ((3, 2, 2), 2),
    ((2, 2, 2, 4), 2),
    ((2, 4, 3, 2), 2),
    ((2, 3, 3), 1),
    ((3, 3, 3, 3), 2),
]
CHEAP = [
    *[("values", "euler-maruyama", w, r, name, 1.0) for w, r in SQUARE for name in energies(2)],
    *[("observables", "euler-maruyama", w, r, "half square", 1.0) for w, r in SQUARE],
    ("observables", "euler-maruyama", (2, 2, 2, 2), 2, "asymmetric", 1.0),
    ("values", "euler-maruyama", (2, 2, 2, 2), 2, "half square", 0.4),
    ("values", "metropolis", (2, 2, 2, 2), 2, "asymmetric", 2.0),
    ("observables", "metropolis", (3, 3, 3, 3), 3, "half square", 1.0),
]
DEAR = [
    *[("values", "euler-maruyama", w, r, "half square", 1.0) for w, r in OTHERS],
    *[("values", "metropolis", w, r, "asymmetric", 1.0) for w, r in OTHERS],
    *[
        ("factors", "euler-maruyama", w, r, name, 1.0)
        for (w, r), name in zip(
            [*SQUARE, *OTHERS], ["asymmetric", "half square"] * 6 + ["asymmetric"], strict=True
        )
    ],
    ("factors", "euler-maruyama", (2, 2, 2, 2), 2, "half square", 0.4),
    ("factors", "metropolis", (2, 4, 3, 2), 2, "half square", 0.4),
]


def assert_law(lam, law):
    """Compare with the law, and tell it from the one without entropy."""
    scores = law.scores(lam)
    worst = max(scores, key=lambda name: abs(scores[name]))
    assert abs(scores[worst]) < 4.5, f"{worst}: {scores[worst]:.1f} standard errors"
    bare = SpectralLaw(law.widths, law.rank, law.energy, law.beta, law.kappa, has_entropy=False)
    depth = len(law.widths) - 1
    if depth > 1 and (law.rank > 1 or max(law.widths[1:-1]) > law.rank):
        assert max(map(abs, bare.scores(lam).values())) > 5
        assert abs(bare.scores(lam)["mean of λ_1^1"]) > 5


@pytest.mark.parametrize(("face", "scheme", "widths", "rank", "name", "kappa"), CHEAP)
def test_law_of_compiled_steps(face, scheme, widths, rank, name, kappa):
    step = 0.01 if scheme == "euler-maruyama" else 0.05
    assert_law(*chains(face, scheme, widths, rank, name, kappa, 4000, step, 3.0))


@pytest.mark.parametrize(("face", "scheme", "widths", "rank", "name", "kappa"), DEAR)
def test_law_of_other_steps(face, scheme, widths, rank, name, kappa):
    if face == "factors" and scheme == "euler-maruyama" and set(widths) != {rank}:
        # Near a boundary that is no wall Euler's steps of factors are slow to leave λ < √(2h/β).
        step, n, time = 0.005, 1500, 1.5
    else:
        step, n, time = (0.02 if scheme == "euler-maruyama" else 0.05), 2000, 2.5
    assert_law(*chains(face, scheme, widths, rank, name, kappa, n, step, time))


@pytest.mark.parametrize("face", ["observables", "factors"])
@pytest.mark.parametrize(("widths", "rank"), [((2, 2, 2, 2), 2), ((3, 2, 2), 2), ((2, 3, 3), 1)])
def test_law_of_second_order(face, widths, rank):
    """At long steps, where Euler's scheme is off."""
    assert_law(*chains(face, "second-order", widths, rank, "half square", 1.0, 1500, 0.1, 2.0))


def test_depth_ten():
    """Where the least singular value is lost in round-off of ``X``, and its slope is huge."""
    for scheme, step in (("euler-maruyama", 0.01), ("metropolis", 0.03)):
        assert_law(*chains("values", scheme, (2,) * 11, 2, "half square", 1.0, 3000, step, 3.0))


@pytest.mark.parametrize("depth", [6, 10])
def test_deep_factors(depth):
    """Nothing is cut off where round-off of ``X`` hides the least value, nor is a step rejected."""
    widths, n = (2,) * (depth + 1), 1500
    energy, slope = energies(depth)["half square"]
    rng = np.random.default_rng(depth)

    def gradient(x):
        left, sigma, right = np.linalg.svd(x)
        return left * slope(sigma)[:, None, :] @ right

    start = layers(np.tile([1.0, 0.6], (n, 1)), widths, rng)
    result = langevin(gradient, start, beta=BETA, step_size=0.01, n_steps=900, rng=rng)
    assert result.success, result.status
    lam = result.singular_values ** (1 / depth)
    law = SpectralLaw(widths, 2, energy, BETA)
    assert_law(lam, law)
    lost = (np.finfo(float).eps * 100) ** (1 / depth)
    share = law.cdf(1, [lost])[0]
    assert share > (0.004 if depth == 6 else 0.05)
    assert abs((lam[:, 1] < lost * lam[:, 0]).mean() - share) < 4.5 * math.sqrt(share / n)


def test_time_averages_of_one_chain():
    """Bounds scaled by the effective sample size, by ArviZ."""
    widths, depth = (2, 2, 2, 2), 3
    energy, slope = energies(depth)["asymmetric"]
    law = SpectralLaw(widths, 2, energy, BETA)
    result = langevin(
        slope,
        np.ones((8, 2)) * [1.0, 0.5],
        depth=depth,
        beta=BETA,
        step_size=0.1,
        n_steps=12_000,
        scheme="metropolis",
        energy=lambda sigma: energy(sigma ** (1 / depth)),
        save_every=2,
        rng=3,
    )
    lam = result.trace["singular_values"][:, 500:] ** (1 / depth)
    mean = law.mean(lambda x: x)
    deviation = np.sqrt(law.mean(lambda x: x**2) - mean**2)
    for k in range(2):
        size = float(arviz.ess(lam[..., k]))
        assert size > 500
        assert float(arviz.rhat(lam[..., k])) < 1.02
        assert abs(lam[..., k].mean() - mean[k]) < 4.5 * deviation[k] / math.sqrt(size)


@pytest.mark.parametrize("widths", [(2, 2, 2, 2), (2, 2, 2), (2, 3, 2, 3)], ids=str)
def test_faces_agree_for_an_energy_of_matrices(widths):
    """One that no rotation keeps, but the signs of rows: both signs of ``det`` are alike."""
    n, time = 2500, 2.5
    rows, columns = widths[-1], widths[0]
    weight = np.array([[1.0, 3.0], [2.0, 0.5], [0.3, 1.4]])[:rows, :columns]

    def energy(x):
        return np.sum(weight * x**2 + x**4 / 4 + 0.8 * x * x[..., ::-1], axis=(1, 2)) / 2

    def gradient(x):
        return weight * x + x**3 / 2 + 0.8 * x[..., ::-1]

    moments = {}
    for face, scheme, step in (
        ("observables", "euler-maruyama", 0.01),
        ("factors", "euler-maruyama", 0.02),
        ("observables", "second-order", 0.02),
        ("observables", "metropolis", 0.05),
    ):
        rng = np.random.default_rng(len(face) + len(scheme))
        count = n // 2 if scheme == "second-order" else n
        lam = np.sort(rng.uniform(0.3, 1.0, (count, 2)), axis=-1)[:, ::-1]
        start, shape = start_of(face, lam, widths, rng)
        result = langevin(
            gradient, start, **shape, beta=BETA, step_size=step, n_steps=round(time / step),
            scheme=scheme, energy=energy, rng=rng,
        )  # fmt: skip
        assert result.success, result.status
        x: Any = result.observables
        flat = np.concatenate(
            [
                (x**2).reshape(count, -1),
                abs(x).reshape(count, -1),
                (x * x[..., ::-1])[..., 0],
                result.singular_values,
                energy(x)[:, None],
            ],
            axis=1,
        )
        moments[face, scheme] = flat.mean(0), flat.var(0) / count
    exact = moments.pop(("observables", "metropolis"))
    for name, (mean, variance) in moments.items():
        scores = (mean - exact[0]) / np.sqrt(variance + exact[1])
        assert abs(scores).max() < 4.5, name
