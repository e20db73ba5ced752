"""Laws of small networks by quadrature, energies, and chains of Mici's samplers."""

import itertools

import arviz
import mici
import numpy

from dlngeo.core.networks.balancing import factorize
from dlngeo.sampling import BalancedSystem, DepthRootSystem
from dlngeo.thermodynamics.boltzmann_entropy import entropy, entropy_gradient
from dlngeo.thermodynamics.volume import log_volume_density


def sampler_of(system, rng):
    """Return one of Mici's samplers, with steps for energies and factors of order one."""
    if isinstance(system, BalancedSystem):
        integrator = mici.integrators.ConstrainedLeapfrogIntegrator(system, step_size=0.2)
    elif isinstance(system, DepthRootSystem):
        integrator = mici.integrators.LeapfrogIntegrator(system, step_size=0.2)
    else:
        integrator = mici.integrators.ImplicitLeapfrogIntegrator(
            system,
            step_size=0.07,
            reverse_check_tol=1e-6,
            fixed_point_solver_kwargs={"convergence_tol": 1e-7},
        )
    longest = 8 if isinstance(system, BalancedSystem | DepthRootSystem) else 10
    return mici.samplers.RandomMetropolisHMC(system, integrator, rng, n_step_range=(1, longest))


class SpectralEnergy:
    """``(N/2) Σ w_k σ_k^{2/N}``: with equal weights ``½‖W‖²`` of balanced factors."""

    def __init__(self, depth, weights=(1.0, 1.0)):
        self.depth, self.weights = depth, numpy.array(weights)

    def of_roots(self, lam):
        return self.depth / 2 * numpy.sum(self.weights * lam**2, axis=-1)

    def __call__(self, matrix):
        sigma = numpy.linalg.svd(matrix, compute_uv=False)[..., : len(self.weights)]
        return self.of_roots(sigma ** (1 / self.depth))

    def gradient(self, matrix):
        left, sigma, right = numpy.linalg.svd(matrix, full_matrices=False)
        sigma, rank = sigma[: len(self.weights)], len(self.weights)
        slope = self.weights * sigma ** (2 / self.depth - 1)
        return (left[:, :rank] * slope) @ right[:rank]


class MatrixEnergy:
    """``½ tr(A X B Xᵀ) + ¼ ‖X‖⁴ + tr(Cᵀ X)`` with diagonal ``A`` and ``B``."""

    a, b = numpy.diag([2.0, 0.5]), numpy.diag([1.0, 3.0])

    def __init__(self, linear=None):
        self.linear = numpy.zeros((2, 2)) if linear is None else numpy.array(linear)

    def __call__(self, matrix):
        square = numpy.sum(matrix**2, axis=(-2, -1))
        quadratic = numpy.sum(matrix * (self.a @ matrix @ self.b), axis=(-2, -1)) / 2
        return quadratic + square**2 / 4 + numpy.sum(self.linear * matrix, axis=(-2, -1))

    def gradient(self, matrix):
        return self.a @ matrix @ self.b + numpy.sum(matrix**2) * matrix + self.linear


class PlantedEnergy:
    """An energy with an error: ``S/β`` added, or the log density of the volume over ``β``."""

    def __init__(self, energy, beta, is_entropy):
        self.energy, self.beta, self.is_entropy = energy, beta, is_entropy

    def __call__(self, matrix):
        depth = self.energy.depth
        if self.is_entropy:
            error = entropy(matrix, matrix.shape[-1:] * (depth + 1))
        else:
            error = log_volume_density(matrix, depth)
        return self.energy(matrix) + error / self.beta

    def gradient(self, matrix):
        depth = self.energy.depth
        slope = entropy_gradient(matrix, matrix.shape[-1:] * (depth + 1))
        if not self.is_entropy:
            slope = -2 * slope - (1 - 1 / depth) * numpy.linalg.inv(matrix).T
        return self.energy.gradient(matrix) + slope / self.beta


def spectral_grid(depth, width=2, surplus=0, entropy=True, top=4.0, count=120):
    """Return ordered ``λ_1 > ... > λ_d`` and weights ``ρ(λ) dλ``, by nested Gauss–Legendre rules.

    ``surplus`` is the power of ``Π λ_k`` in ``ρ``, ``Σ_p (d_p - r)``.
    """
    nodes, weights = numpy.polynomial.legendre.leggauss(count)
    nodes, weights = (nodes + 1) / 2, weights / 2
    lam, density = numpy.full((1, 1), top), numpy.ones(1)
    for _ in range(width):
        following = lam[:, -1:] * nodes
        density = (density[:, None] * lam[:, -1:] * weights).ravel()
        lam = numpy.repeat(lam, count, axis=0)
        lam = numpy.concatenate([lam, following.reshape(-1, 1)], axis=1)
    lam = lam[:, 1:]
    for k, l in itertools.combinations(range(width), 2):
        gap = lam[:, k] ** 2 - lam[:, l] ** 2
        power = lam[:, k] ** (2 * depth) - lam[:, l] ** (2 * depth)
        density = density * (numpy.sqrt(gap * power) if entropy else gap)
    return lam, density * numpy.prod(lam, axis=1) ** surplus


def spectral_means(energy, beta, statistics, **grid):
    """Return the means of statistics of the singular values of factors, by quadrature."""
    lam, weights = spectral_grid(energy.depth, **grid)
    weights = weights * numpy.exp(-beta * energy.of_roots(lam))
    return statistics(lam).T @ weights / weights.sum()


def matrix_means(energy, depth, beta, statistics, components=(1, -1), count=40, angles=32):
    """Return the means of statistics of ``X``, by quadrature over frames and singular values.

    On the components of the given signs of the determinant.
    """
    lam, weights = spectral_grid(depth, top=2.2, count=count)
    sigma = lam**depth
    sigma = numpy.concatenate([sigma * numpy.array([1, sign]) for sign in components])
    weights = numpy.tile(weights, len(components))
    turn = 2 * numpy.pi * numpy.arange(angles) / angles
    cos, sin = numpy.cos(turn), numpy.sin(turn)
    rotation = numpy.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    total, mass = 0.0, 0.0
    for left in rotation:
        matrix = (left * sigma[:, None, :])[:, None] @ rotation
        density = weights[:, None] * numpy.exp(-beta * energy(matrix))
        mass = mass + density.sum()
        total = total + numpy.einsum("kr,krs->s", density, statistics(matrix))
    return total / mass


def second_moments(matrix):
    """Return ``X``, the squares of its entries and the two products that signs may keep."""
    flat = matrix.reshape(*matrix.shape[:-2], 4)
    products = [flat[..., 0] * flat[..., 3], flat[..., 1] * flat[..., 2]]
    return numpy.concatenate([flat, flat**2, numpy.stack(products, axis=-1)], axis=-1)


def signed_moments(matrix):
    """Return `second_moments` and the sign of ``det X``."""
    moments = second_moments(matrix)
    return numpy.append(moments, numpy.sign(numpy.linalg.det(matrix))[..., None], axis=-1)


def lam_moments(lam):
    """Return ``λ``, ``λ²`` and ``λ_1 λ_d``."""
    return numpy.concatenate([lam, lam**2, lam[..., :1] * lam[..., -1:]], axis=-1)


def make(kind, energy, width, depth, beta, determinant=None):
    """Return a system of the kind."""
    if kind is BalancedSystem:
        widths = (width,) * (depth + 1)
        return kind(energy, energy.gradient, widths, beta, determinant)
    return kind(energy, energy.gradient, width, depth, beta, determinant)


def sample(system, n_draws, seed, n_chains=2, width=2):
    """Return matrices, shape=[chains, draws, d, d], and Mici's result."""
    rng = numpy.random.default_rng(seed)
    rows, columns = width, width
    if isinstance(system, BalancedSystem):
        rows, columns = system.widths[-1], system.widths[0]
    start = 0.5 * numpy.eye(rows, columns) + 0.1 * rng.normal(size=(n_chains, rows, columns))
    if system.determinant is not None:
        sign = 1 if system.determinant == "positive" else -1
        start[:, 0] *= (sign * numpy.linalg.slogdet(start)[0])[:, None]
    if isinstance(system, BalancedSystem):
        start = factorize(start, len(system.widths) - 1, system.widths)
    result = sampler_of(system, rng).sample_chains(
        20, n_draws, system.positions(start), adapters=[], display_progress=False
    )
    return system.observables(result.traces["pos"]), result


def deviations(draws, expected):
    """Return errors of means in standard errors, by effective sample sizes.

    Parameters
    ----------
    draws : array, shape=[chains, draws, s]
    expected : array, shape=[s]
    """
    sizes = numpy.array([arviz.ess(draws[..., i]) for i in range(draws.shape[-1])])
    assert (sizes > 50).all(), f"the chains are too short: {sizes}"
    error = draws.std(axis=(0, 1)) / numpy.sqrt(sizes)
    return (draws.mean(axis=(0, 1)) - expected) / error


def roots_of(observables, depth):
    return numpy.linalg.svd(observables, compute_uv=False) ** (1 / depth)
