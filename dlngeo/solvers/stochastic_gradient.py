r"""Stochastic gradient descent, and the stochastic differential equation that models it.

A step of descent by minibatches and one of the equation,

.. math:: x_{k+1} = x_k - \frac{η}{b} \sum_{s ∈ B_k} ∇f_s(x_k), \quad
          dx = -∇f \, dt + \sqrt{\frac{c η}{b} D(x)} \, dB, \quad
          c = \begin{cases} 1 & \text{with replacement} \\ \frac{n-b}{n-1} & \text{without,}
          \end{cases}

are both a sum ``Σ_s ω_s ∇f_s`` with random weights of the samples: the weights are counts in the
first and Gaussian in the second, of the same mean and covariance. So the noise takes ``n`` normal
numbers and one product with per-sample gradients, never a root of ``D``.

References
----------
[FCS20]; THEORY 7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import flag, generator, instance, integer, positive, real_array
from dlngeo.core.gradient_noise.network_samples import NetworkSamples as NetworkSamples
from dlngeo.core.gradient_noise.samples import SampleLosses as SampleLosses
from dlngeo.outcomes import Outcome
from dlngeo.solvers.step_paths import draw_batch, step_path

Seed = numpy.random.Generator | int | None


@dataclass(frozen=True, eq=False)
class NoisyPaths(Outcome):
    """Independent paths from one point, at the times that were saved.

    Attributes
    ----------
    times : array, shape=[t]
        ``t = k η`` after ``k`` steps of descent.
    points : array, shape=[t, n_paths, *point_shape]
    """

    times: Array
    points: Array

    @property
    def mean(self) -> Array:
        """Mean over the paths, shape=[t, *point_shape]."""
        return self.points.mean(axis=1)

    @property
    def spread(self) -> Array:
        """Trace of the covariance over the paths, shape=[t]."""
        away = (self.points - self.mean[:, None]).reshape(*self.points.shape[:2], -1)
        return (away**2).sum(axis=(1, 2)) / max(away.shape[1] - 1, 1)


def sgd(
    samples: SampleLosses,
    initial: Array,
    *,
    learning_rate: float,
    batch_size: int,
    n_steps: int,
    replacement: bool = True,
    n_paths: int = 1,
    n_saved: int = 50,
    rng: Seed = None,
    progress: bool = False,
) -> NoisyPaths:
    r"""Descend by minibatches, drawn afresh in every step.

    Parameters
    ----------
    samples : SampleLosses
        If its functions take indices, a step costs ``batch_size`` samples.
    initial : array-like, shape=[*point_shape]
    learning_rate : float
        ``η``, positive.
    batch_size : int
        ``b``.
    n_steps : int
    replacement : bool
        Whether a batch may hold a sample twice; without, ``b ≤ n``.
    n_paths : int
    n_saved : int
        Number of times that are saved, nearly equidistant, start and end among them.
    rng : numpy.random.Generator or int, optional
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : NoisyPaths
        In NumPy arrays. If a path leaves all bounds or the keyboard interrupts, the paths up to
        there, with a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    rng = generator(rng)
    batches = _Batches(samples, initial, learning_rate, batch_size, replacement, n_paths)
    samples, batch_size = batches.samples, integer(batch_size, "batch_size")
    weights = from_numpy(numpy.full(batch_size, -batches.learning_rate), batches.start)
    weights = weights / batch_size

    def step(x: Array) -> Array:
        moves = []
        for row in to_numpy(x):
            batch = draw_batch(rng, batches.n_samples, batch_size, replacement)
            moves.append(to_numpy(samples.subset(batch).pull(from_numpy(row, x), weights)))
        return x + from_numpy(numpy.stack(moves), x)

    return batches.run(step, n_steps, n_saved, "SGD", progress)


def sgd_diffusion(
    samples: SampleLosses,
    initial: Array,
    *,
    learning_rate: float,
    batch_size: int,
    n_steps: int,
    replacement: bool = True,
    substeps: int = 1,
    n_paths: int = 1,
    n_saved: int = 50,
    rng: Seed = None,
    progress: bool = False,
) -> NoisyPaths:
    r"""Integrate the stochastic differential equation of SGD, by Euler and Maruyama (Itô).

    .. math:: dx = -∇f \, dt + \sqrt{c η D(x) / b} \, dB

    In one substep for every step of descent it has the same conditional mean and covariance.

    Parameters
    ----------
    samples, initial, learning_rate, batch_size, n_steps, replacement
        As in `sgd`; the time that passes is ``n_steps`` times ``η``.
    substeps : int
        Number of steps of the integrator for one of descent.
    n_paths, n_saved, rng, progress
        As in `sgd`.

    Returns
    -------
    result : NoisyPaths
        As of `sgd`.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    rng = generator(rng)
    batches = _Batches(samples, initial, learning_rate, batch_size, replacement, n_paths)
    samples, batch_size = batches.samples, integer(batch_size, "batch_size")
    substeps, n = integer(substeps, "substeps"), batches.n_samples
    dt = batches.learning_rate / substeps
    variance = batches.noise_factor * batches.learning_rate / batch_size
    size = math.sqrt(variance * dt / n)

    def step(x: Array) -> Array:
        for _ in range(substeps):
            noise = rng.standard_normal((x.shape[0], n))
            weights = size * (noise - noise.mean(axis=1, keepdims=True)) - dt / n
            x = x + samples.pull(x, from_numpy(weights, x))
        return x

    return batches.run(step, n_steps, n_saved, "SDE", progress)


class _Batches:
    """Descent by batches of samples, after checks of its arguments.

    Attributes
    ----------
    start : array-like, shape=[n_paths, D]
        Copies of the initial point.
    n_samples : int
    learning_rate : float
    noise_factor : float
        Factor of the covariance that drawing without replacement leaves.
    """

    def __init__(
        self,
        samples: SampleLosses,
        initial: Array,
        learning_rate: float,
        batch_size: int,
        replacement: bool,
        n_paths: int,
    ):
        samples = samples_of(samples)
        self.samples, self._shape = samples, samples.shape
        self.start = start_paths(samples, initial, n_paths)
        self.n_samples = n = samples.count(self.start)
        self.learning_rate = positive(learning_rate, "learning_rate")
        batch_size = integer(batch_size, "batch_size")
        if not (flag(replacement, "replacement") or batch_size <= n):
            raise ValueError(
                "a batch holds at least one sample, and without replacement at most all "
                f"{n}: got batch_size={batch_size}."
            )
        self.noise_factor = 1.0 if replacement else (n - batch_size) / max(n - 1, 1)

    def run(
        self,
        step: Callable[[Array], Array],
        n_steps: int,
        n_saved: int,
        name: str,
        progress: bool,
    ) -> NoisyPaths:
        """Take steps, and keep the points after some of them."""
        path = step_path(
            lambda x, _: to_numpy(step(from_numpy(x, self.start))),
            to_numpy(self.start),
            n_steps,
            n_saved,
            name=name,
            remedy="Lower the learning rate.",
            progress=progress,
        )
        return NoisyPaths(
            times=self.learning_rate * path.steps,
            points=path.states.reshape(*path.states.shape[:2], *self._shape),
            success=path.success,
            interrupted=path.interrupted,
            status=path.status,
        )


def samples_of(samples: SampleLosses | NetworkSamples) -> SampleLosses:
    """Return the losses of samples, also of those of a network."""
    if isinstance(samples, NetworkSamples):
        return samples.samples
    return instance(samples, SampleLosses, "samples")


def start_paths(samples: SampleLosses, initial: Array, n_paths: int) -> Array:
    """Return copies of a point, shape=[n_paths, D], after checks."""
    start = real_array(initial, "the initial point")
    if tuple(start.shape) != samples.shape:
        raise ValueError(
            f"the initial point must be of the shape {samples.shape}, got {tuple(start.shape)}."
        )
    n_paths = integer(n_paths, "n_paths", most=10**7)
    return from_numpy(numpy.tile(to_numpy(start).reshape(-1), (n_paths, 1)), start)
