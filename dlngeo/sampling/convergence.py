"""Whether chains agree: R-hat and effective sample sizes, by ranks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy
from scipy.special import ndtri
from scipy.stats import rankdata

from dlngeo.core.base.arrays import Array

CONVERGED = 1.01
"""R-hat up to which chains are said to agree."""

DIAGNOSED = ("singular_values", "energy", "determinant_sign")
"""What is diagnosed of a trace: the last one tells chains apart that are stuck in components."""

FEWEST_DRAWS = 4
"""Draws of a chain from which on there is an R-hat, of its halves."""


class Convergence(NamedTuple):
    """The worst diagnostics of a trace.

    Attributes
    ----------
    r_hat : float
        The largest one.
    effective_sample_size : float
        The least one.
    """

    r_hat: float
    effective_sample_size: float

    @property
    def status(self) -> str:
        """What they say, and what to do."""
        found = f"R-hat {self.r_hat:.3f}, {self.effective_sample_size:.0f} effective draws"
        if self.r_hat <= CONVERGED:
            return f"The chains agree: {found}."
        return (
            f"The chains disagree: {found}, where R-hat is to be at most {CONVERGED}. Go on from "
            "the last states, take a longer burn_in, or temper the chains (beta=Ladder(...))."
        )


def convergence_of(trace: Mapping[str, Array], beta: Any) -> Convergence | None:
    """Return the worst diagnostics of a trace, if there are enough draws.

    Parameters
    ----------
    trace : dict of str to array, shape=[chains, draws, ...]
        Of which `DIAGNOSED` count.
    beta : float, or array, shape=[chains]
        Chains of one inverse temperature are compared.
    """
    known = [numpy.atleast_3d(trace[name]) for name in DIAGNOSED if name in trace]
    if not known or known[0].shape[1] < FEWEST_DRAWS:
        return None
    draws = numpy.concatenate(known, axis=-1)
    betas = numpy.broadcast_to(beta, len(draws))
    found = [
        _convergence(_halves(part))
        for value in numpy.unique(betas)
        for part in numpy.moveaxis(draws[betas == value], -1, 0)
        if numpy.isfinite(part).all()
    ]
    if not found:
        return None
    sizes = [own.effective_sample_size for own in found]
    return Convergence(max(own.r_hat for own in found), min(sizes))


def _convergence(halves: Array) -> Convergence:
    scores = _scores(halves)
    return Convergence(_folded_r_hat(halves, scores), _effective_size(scores))


def r_hat(draws: Array) -> float:
    r"""Return R-hat of chains that are split in halves, after normalisation by ranks.

    .. math:: \hat R = \sqrt{\frac{n-1}{n} + \frac{B}{n W}}

    with the variance ``B/n`` of means of half chains and the mean ``W`` of their variances; the
    larger one of that of the draws and of that of their distances from the median.

    Parameters
    ----------
    draws : array, shape=[chains, draws]

    Returns
    -------
    r_hat : float
        One where all draws are equal, and infinite where none of the chains moves.

    References
    ----------
    A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, *Rank-normalization, folding,
    and localization: an improved R-hat*, Bayesian Anal. 16 (2021).
    """
    halves = _halves(draws)
    return _folded_r_hat(halves, _scores(halves))


def effective_sample_size(draws: Array) -> float:
    r"""Return the effective size of the draws of chains, after normalisation by ranks.

    ``S / (1 + 2 Σ_t ρ_t)`` for ``S`` draws with the autocorrelations ``ρ_t`` of half chains, in
    pairs of neighbouring lags that are summed as long as they are positive, and made to fall
    (Geyer).

    Parameters
    ----------
    draws : array, shape=[chains, draws]

    Returns
    -------
    size : float

    References
    ----------
    As of `r_hat`.
    """
    return _effective_size(_scores(_halves(draws)))


def _folded_r_hat(halves: Array, scores: Array) -> float:
    folded = _scores(abs(halves - numpy.median(halves)))
    return max(_split_r_hat(scores), _split_r_hat(folded))


def _effective_size(scores: Array) -> float:
    n_chains, n = scores.shape
    within = _variance_within(scores)
    if within == 0 and (scores == scores[0, 0]).all():
        return float(scores.size)
    centred = scores - scores.mean(axis=1, keepdims=True)
    spectrum = abs(numpy.fft.rfft(centred, 2 * n, axis=1)) ** 2
    covariance = numpy.fft.irfft(spectrum.mean(axis=0))[:n] / n
    whole = within * (n - 1) / n + (scores.mean(axis=1).var(ddof=1) if n_chains > 1 else 0.0)
    rho = 1 - (within - covariance) / whole
    rho[0] = 1.0
    pairs = rho[: (n - 1) // 2 * 2].reshape(-1, 2).sum(axis=1)
    n_positive = int(numpy.argmin(numpy.append(pairs[:-1] > 0, False)))
    time = 2 * numpy.minimum.accumulate(pairs[:n_positive]).sum() - 1
    # The next pair counts by its first lag, as in Stan and ArviZ.
    time += max(rho[2 * n_positive], 0)
    return float(scores.size / max(time, 1 / numpy.log10(scores.size)))


def _halves(draws: Array) -> Array:
    half = draws.shape[1] // 2
    return numpy.concatenate([draws[:, :half], draws[:, -half:]])


def _scores(draws: Array) -> Array:
    """Return normal scores of the ranks."""
    ranks = rankdata(draws).reshape(draws.shape)
    return ndtri((ranks - 0.375) / (draws.size + 0.25))


def _split_r_hat(scores: Array) -> float:
    n = scores.shape[1]
    between = scores.mean(axis=1).var(ddof=1)
    within = _variance_within(scores)
    if within == 0:
        return 1.0 if between == 0 else numpy.inf
    return float(numpy.sqrt((n - 1) / n + between / within))


def _variance_within(scores: Array) -> float:
    """Return the mean variance of chains, zero to the last bit of those that stand still."""
    return float((scores - scores[:, :1]).var(axis=1, ddof=1).mean())
