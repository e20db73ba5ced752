"""Descent by minibatches beside its two models: the stochastic equation and the gradient flow."""

import math
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import generator, host_array, integer, positive
from dlngeo.core.gradient_noise.samples import SampleLosses
from dlngeo.outcomes import Outcome
from dlngeo.solvers.flow_paths import Integration, flow_path
from dlngeo.solvers.stochastic_gradient import Seed, samples_of, sgd, sgd_diffusion, start_paths


@dataclass(frozen=True, eq=False)
class SGDComparison(Outcome):
    """Descent by minibatches against its two models at one time, by step size.

    It succeeds if all paths reach the final time.

    Attributes
    ----------
    learning_rates : array, shape=[k]
    mean_sgd, mean_sde : array, shape=[k, *point_shape]
        Means over the paths at the final time.
    flow : array, shape=[*point_shape]
        The deterministic model at that time: the gradient flow.
    spread_sgd, spread_sde : array, shape=[k]
        Traces of the covariances.
    mean_gap : array, shape=[k]
        ``‖mean_sgd - mean_sde‖``.
    mean_error : array, shape=[k]
        Standard error of the gap, from the finite number of paths.
    flow_gap : array, shape=[k]
        ``‖mean_sgd - flow‖``.
    covariance_gap : array, shape=[k]
        Frobenius norm of the difference of the covariances, relative to that of SGD.
    """

    learning_rates: Array
    mean_sgd: Array
    mean_sde: Array
    flow: Array
    spread_sgd: Array
    spread_sde: Array
    mean_gap: Array
    mean_error: Array
    flow_gap: Array
    covariance_gap: Array


def compare_sgd(
    samples: SampleLosses,
    initial: Array,
    *,
    learning_rates: Any,
    batch_size: int,
    t_final: float,
    replacement: bool = True,
    substeps: int = 4,
    n_paths: int = 200,
    rng: Seed = None,
    progress: bool = False,
) -> SGDComparison:
    """Run SGD, its stochastic differential equation and the gradient flow to the same time.

    Parameters
    ----------
    samples, initial, batch_size, replacement, n_paths, rng, progress
        As in `sgd`.
    learning_rates : sequence of float
        Each divides ``t_final``, up to half a step.
    t_final : float
    substeps : int
        As in `sgd_diffusion`.

    Returns
    -------
    result : SGDComparison
        Of the learning rates for which both ran to the end.

    Raises
    ------
    ValueError
        If an argument does not fit, or the gradient flow does not reach the final time.

    References
    ----------
    [FCS20]; THEORY 7.
    """
    rng, samples = generator(rng), samples_of(samples)
    rates = numpy.atleast_1d(host_array(learning_rates, "the list of learning rates"))
    for rate in (*rates, t_final):
        positive(rate, "every learning rate, and t_final,")
    # Before the flow, which takes long, what the paths refuse.
    batch_size, n_paths = integer(batch_size, "batch_size"), integer(n_paths, "n_paths")
    substeps = integer(substeps, "substeps")
    flow = _gradient_flow(samples, initial, t_final, progress)
    rows: list[tuple] = []
    status, failed = "all paths reached the final time.", None
    for rate in rates:
        options: dict[str, Any] = {
            "learning_rate": rate,
            "batch_size": batch_size,
            "n_steps": max(1, round(t_final / rate)),
            "replacement": replacement,
            "n_paths": n_paths,
            "n_saved": 2,
            "progress": progress,
        }
        descent = sgd(samples, initial, rng=rng.spawn(1)[0], **options)
        model = sgd_diffusion(samples, initial, substeps=substeps, rng=rng.spawn(1)[0], **options)
        failed = next((paths for paths in (descent, model) if not paths.success), None)
        if failed is not None:
            status = f"at the learning rate {rate:.3g} {failed.status}"
            break
        means = descent.mean[-1], model.mean[-1]
        spreads = descent.spread[-1], model.spread[-1]
        ends = (paths.points[-1].reshape(n_paths, -1) for paths in (descent, model))
        mean_error = math.sqrt(sum(spreads) / n_paths)
        gaps = [numpy.linalg.norm(means[0] - end) for end in (means[1], flow)]
        rows.append((*means, *spreads, mean_error, *gaps, _covariance_gap(*ends)))
    columns = [numpy.array(column) for column in zip(*rows, strict=True)] or [numpy.zeros(0)] * 8
    names = "mean_sgd mean_sde spread_sgd spread_sde mean_error mean_gap flow_gap covariance_gap"
    return SGDComparison(
        learning_rates=rates[: len(rows)],
        flow=flow,
        success=failed is None,
        interrupted=failed is not None and failed.interrupted,
        status=status,
        **dict(zip(names.split(), columns, strict=True)),
    )


def _gradient_flow(samples: SampleLosses, initial: Array, t_final: float, progress: bool) -> Array:
    """Return the end of ``ẋ = -∇f``."""
    x = start_paths(samples, initial, 1)
    n = samples.count(x)
    weights = from_numpy(numpy.full(n, -1 / n), x)

    def velocity(_: float, state: Array) -> Array | None:
        try:
            return to_numpy(samples.pull(from_numpy(state, x), weights))
        except ValueError:
            return None

    path = flow_path(
        velocity,
        to_numpy(x)[0],
        Integration(t_final, 2, rtol=1e-9, atol=1e-12, progress=progress),
        name="gradient flow",
        remedy="take a shorter t_final.",
    )
    if not path.success:
        raise ValueError(f"the gradient flow does not reach t_final: {path.status}")
    return path.states[-1].reshape(samples.shape)


def _covariance_gap(reference: Array, points: Array) -> float:
    """Return ``‖C - C'‖ / ‖C‖`` of points in rows, from their products alone."""
    a, b = (
        (rows - rows.mean(axis=0)) / math.sqrt(max(len(rows) - 1, 1))
        for rows in (reference, points)
    )
    squares = [numpy.sum((u @ v.T) ** 2) for u, v in ((a, a), (a, b), (b, b))]
    gap = math.sqrt(max(squares[0] - 2 * squares[1] + squares[2], 0.0))
    return gap / math.sqrt(squares[0]) if squares[0] else gap
