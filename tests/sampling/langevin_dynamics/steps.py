"""What the tests of every kernel ask of one step."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from autograd import grad
from scipy import integrate

from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama
from dlngeo.sampling.langevin_dynamics.hidden_frames import FactorKernel
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from dlngeo.sampling.langevin_dynamics.second_order import SecondOrder
from tests.core.brute import assert_close
from tests.sampling.generators import Problem, slope
from tests.sampling.reference import after_a_step, layers

KERNELS: dict[str, Callable[..., Any]] = {
    "observables": EulerMaruyama,
    "second-order": SecondOrder,
    "metropolis": Metropolis,
}
KERNELS |= {
    name: lambda equation, step, kernel=kernel: FactorKernel(kernel(equation, step))
    for name, kernel in (
        ("factors", EulerMaruyama),
        ("second-order factors", SecondOrder),
        ("metropolis factors", Metropolis),
    )
}


def equation_of(problem, **changes):
    """Return the equation of a problem."""
    settings = {
        "gradient": problem.gradient,
        "widths": problem.widths,
        "rank": problem.rank,
        "beta": problem.beta,
        "kappa": problem.kappa,
        "energy": problem.energy,
    }
    return Equation(**{**settings, **changes})


def start_of(problem, name):
    """Return the start of a kernel at the point of the problem."""
    return problem.factors() if "factors" in name else (problem.point[None],)


def local_order(problem, name, order):
    """Return the slope of the error of one step, in means of a function, by its size."""
    f, lf, llf = problem.expansion()
    steps = [2.0**-13, 2.0**-12, 2.0**-11] if order == 2 else [2.0**-11, 2.0**-10, 2.0**-9]
    errors = []
    for step in steps:
        kernel = KERNELS[name](equation_of(problem), step)
        matrices, weights = after_a_step(kernel, start_of(problem, name), problem.depth)
        expected = f + step * lf + (step**2 / 2 * llf if order == 2 else 0.0)
        errors.append(problem.mean(matrices, weights) - expected)
    return slope(steps, errors)


def orthonormal_frame(matrix, depth, rank):
    """Return a ``g``-orthonormal frame at a matrix, shape=[count, m, n], and its frames."""
    left, sigma, right = np.linalg.svd(matrix)
    lam = np.zeros(max(matrix.shape))
    lam[:rank] = sigma[:rank] ** (1 / depth)
    vectors = []
    for k in range(matrix.shape[0]):
        for l in range(matrix.shape[1]):
            if k < rank or l < rank:
                weight = sum(
                    lam[k] ** (2 * (depth - p)) * lam[l] ** (2 * (p - 1))
                    for p in range(1, depth + 1)
                )
                vectors.append(np.sqrt(weight) * np.outer(left[:, k], right[l]))
    return np.array(vectors), left[:, :rank], lam[:rank], right[:rank].T


def check_moments(widths, rank, lam, name, kappa, is_compiled=True):
    """Compare mean and covariance of a step with those of the Itô equation of THEORY 4."""
    depth, beta, step = len(widths) - 1, 1.7, 1e-7
    rows, columns = widths[-1], widths[0]
    rng = np.random.default_rng(8)
    frames = [np.linalg.qr(rng.standard_normal((width, rank)))[0] for width in widths]
    lam = np.array(lam[:rank])
    matrix = frames[-1] * lam**depth @ frames[0].T
    covector = rng.standard_normal((rows, columns))
    start: tuple[np.ndarray, ...] = (matrix[None],)
    if "factors" in name:
        start = tuple((q * lam @ p.T)[None] for p, q in pairwise(frames))
    equation = Equation(
        lambda x: np.broadcast_to(covector, x.shape), widths, rank, beta, kappa,
        energy=lambda x: np.sum(covector * x, axis=(-2, -1)),
    )  # fmt: skip
    after, weights = after_a_step(KERNELS[name](equation, step), start, depth)
    moved = after - matrix
    mean = np.einsum("n,nkl->kl", weights, moved) / step
    vectors, left, lam, right = orthonormal_frame(matrix, depth, rank)
    drift = -sum(v * np.sum(v * covector) for v in vectors)
    slopes = np.array(
        [
            sum(width - rank for width in widths[1:-1]) / lam[k]
            + sum(_log_slope(lam[k], lam[l], depth) / 2 for l in range(rank) if l != k)
            for k in range(rank)
        ]
    )
    # A_X(U diag(∂S/∂σ) Vᵀ), with N σ^{2-2/N} ∂S/∂σ = λ^{N-1} ∂S/∂λ.
    values = lam ** (depth - 1) * slopes
    values = values + (kappa * (depth - 1) * lam ** (depth - 2) if depth > 1 else 0.0)
    drift = drift + left * values @ right.T / beta
    assert_close(mean, drift, 1e-4, scale=1 + abs(drift).max())
    # In the g-orthonormal frame the coordinates are those against vectors over their weights.
    norms = np.sum(vectors**2, axis=(1, 2))
    coordinates = np.einsum("nkl,ikl->ni", moved, vectors) / norms
    covariance = np.einsum("n,ni,nj->ij", weights, coordinates, coordinates) / step
    assert_close(covariance, 2 * kappa / beta * np.eye(len(vectors)), 1e-4)


def _log_slope(a, b, depth):
    """Return the derivative of ``log r`` by its first argument."""
    powers = [(a ** (2 * p), b ** (2 * (depth - 1 - p)), p) for p in range(depth)]
    return sum(2 * p * x * y for x, y, p in powers) / a / sum(x * y for x, y, _ in powers)


def half_square(depth):
    """Return ``½‖W‖²`` by ``λ``, and its gradient at matrices."""

    def gradient(x):
        left, sigma, right = np.linalg.svd(x, full_matrices=False)
        powers = np.zeros_like(sigma)
        np.power(sigma, 2 / depth - 1, out=powers, where=sigma > 1e-12 * sigma[:, :1])
        return left * powers[:, None, :] @ right

    return lambda lam: depth / 2 * (lam**2).sum(-1), gradient


def free_descent(problem, time):
    """Return where ``Ẋ = -A(∇F)`` leads, by an ODE solver in the chart."""

    def velocity(_, c):
        def free_energy(x):
            matrix = problem.matrix(x)
            return problem.energy(matrix) - problem.entropy(matrix) / problem.beta

        return -np.linalg.solve(problem.metric(c), grad(free_energy)(c))

    path = integrate.solve_ivp(
        velocity, (0, time), problem.coordinates, rtol=1e-9, atol=1e-11, method="DOP853"
    )
    return np.asarray(problem.matrix(path.y[:, -1]))


def orientation(state):
    """Return the sign of ``det X``."""
    return np.linalg.slogdet(state.left)[0] * np.linalg.slogdet(state.right)[0]


def start_near_the_boundary(widths, rank, depth, n, rng):
    """Return balanced factors whose least value is small."""
    lam = np.linspace(1.0, 0.3, rank) * np.ones((n, 1))
    lam[:, -1] = 0.15
    return layers(lam, widths, rng)


MOMENTS = [
    ((2, 2, 2), 2, [1.2, 0.7], 1.0),
    ((2, 2, 2, 2), 2, [1.2, 0.7], 0.4),
    ((3, 3, 3, 3), 3, [1.1, 1.1, 0.8], 1.0),
    ((2,) * 11, 2, [1.05, 0.95], 1.0),
    ((3, 4, 3, 2), 2, [1.2, 0.9], 1.0),
    ((2, 3, 3), 1, [1.1], 2.0),
    ((3, 3, 4, 3), 2, [1.0, 0.999999], 0.6),
    ((2, 3), 2, [1.0, 0.5], 1.0),
    ((1, 1, 1, 1), 1, [0.9], 1.0),
    ((3, 2), 1, [0.9], 1.0),
]
SMALL = [m for m in MOMENTS if sum(np.prod(p) for p in pairwise(m[0])) <= 12]
ORDERS = [
    Problem((2, 2, 2), 2),
    Problem((2, 2, 2, 2), 2, kappa=0.3),
    Problem((2, 2), 2),
    Problem((2, 3, 2, 2), 2),
    Problem((1, 1, 1, 2), 1),
    Problem((2, 3, 3), 1, kappa=0.5),
    Problem((3, 2), 1),
]
