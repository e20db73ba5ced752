r"""Reference geodesics of the depth metric by two dense integrations, nothing of the package.

`lifted_geodesic` is constrained mechanics: balanced factors move freely but for the
constraint ``μ(W) = 0``, whose force is a pseudo-inverse of dense matrices. It serves every
shape and rank, and repeated and crossing singular values. `hamiltonian_geodesic` integrates
``H(X, P) = ½ tr(Pᵀ A_{N,X}(P))`` at full rank, with powers by eigendecompositions, and
serves infinite depth too. Both integrate by DOP853 to round-off.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.integrate import solve_ivp

from tests.core.brute import flatten, jacobian, product, unflatten

Matrices = Sequence[np.ndarray]


def _integrated(rates: Callable, start: np.ndarray, time: float, steps: int = 0) -> np.ndarray:
    """Return the state at a time, in units in which it is of order one.

    A number of equal steps, of order four, serves where the rates lose digits on the way.
    """
    for _ in range(steps):
        h = time / steps
        a = rates(0, start)
        b = rates(0, start + h / 2 * a)
        c = rates(0, start + h / 2 * b)
        start = start + h / 6 * (a + 2 * b + 2 * c + rates(0, start + h * c))
    if steps:
        return start
    flow = solve_ivp(rates, (0.0, time), start, "DOP853", rtol=1e-13, atol=1e-13)
    assert flow.success, flow.message
    return flow.y[:, -1]


# --- constrained mechanics of balanced factors ----------------------------------------


def _symmetric_basis(size: int) -> np.ndarray:
    """Return an orthonormal basis of symmetric matrices, shape=[n, size²]."""
    basis = []
    for k in range(size):
        for l in range(k + 1):
            matrix = np.zeros((size, size))
            matrix[k, l] = matrix[l, k] = 1.0
            basis.append(np.ravel(matrix / np.linalg.norm(matrix)))
    return np.array(basis)


def _constraint_jacobian(factors: Matrices) -> np.ndarray:
    """Return the dense derivative of ``W_{p+1}ᵀ W_{p+1} - W_p W_pᵀ``, in symmetric bases."""
    rows = []
    for p in range(len(factors) - 1):
        size = len(factors[p])
        basis = _symmetric_basis(size)
        for element in basis.reshape(-1, size, size):
            row = [np.zeros_like(w) for w in factors]
            row[p] = -2 * element @ factors[p]
            row[p + 1] = 2 * factors[p + 1] @ element
            rows.append(flatten(row))
    return np.array(rows)


def _constraint_curvature(velocities: Matrices) -> np.ndarray:
    """Return the second derivative of the constraint along a velocity, in the same bases."""
    parts = []
    for before, after in pairwise(velocities):
        moment = 2 * (after.T @ after - before @ before.T)
        parts.append(_symmetric_basis(len(before)) @ np.ravel(moment))
    return np.concatenate(parts)


def _differential(factors: Matrices, velocities: Matrices) -> np.ndarray:
    """Return ``dφ(V)``, a sum of products."""
    terms = [product([*factors[:p], v, *factors[p + 1 :]]) for p, v in enumerate(velocities)]
    return np.sum(terms, axis=0)


def lifted_geodesic(
    matrix: np.ndarray,
    velocity: np.ndarray,
    depth: int,
    rank: int | None = None,
    time: float = 1.0,
    steps: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return point and velocity at a time of the geodesic of ``g^N``, ``N ≥ 2``.

    Its lift to factors of widths ``(n, r, ..., r, m)`` obeys ``Ẅ = -B⁺ D²μ(V, V)`` with the
    dense Jacobian ``B`` of the constraint, and starts at the shortest tangent vector over
    ``Ẋ``.
    """
    rank = min(matrix.shape) if rank is None else rank
    # A matrix of another size has the same geodesics: integrate those of order one.
    unit = np.linalg.norm(matrix, 2)
    matrix, velocity = matrix / unit, velocity / unit
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.diag(sigma[:rank] ** (1 / depth))
    factors = [root @ right[:rank], *[root] * (depth - 2), left[:, :rank] @ root]

    # The shortest V with B V = 0 and dφ(V) = Ẋ.
    equations = np.concatenate([_constraint_jacobian(factors), jacobian(factors)])
    moments = rank * (rank + 1) // 2 * (depth - 1)
    target = np.concatenate([np.zeros(moments), velocity.ravel()])
    lift = np.linalg.lstsq(equations, target, rcond=1e-12)[0]
    assert np.linalg.norm(equations @ lift - target) < 1e-9 * (1 + np.linalg.norm(target))

    def rates(_: float, state: np.ndarray) -> np.ndarray:
        w, v = np.split(state, 2)
        constraint = _constraint_jacobian(unflatten(w, factors))
        curvature = _constraint_curvature(unflatten(v, factors))
        force = np.linalg.solve(constraint @ constraint.T, curvature)
        return np.concatenate([v, -constraint.T @ force])

    end = _integrated(rates, np.concatenate([flatten(factors), lift]), time, steps)
    w, v = (unflatten(part, factors) for part in np.split(end, 2))
    return unit * product(w), unit * _differential(w, v)


# --- Hamilton's equations -------------------------------------------------------------


def _power_slope(x: np.ndarray, a: float) -> np.ndarray:
    """Return the divided differences ``(x_k^a - x_l^a) / (x_k - x_l)``, ``0 ≤ a ≤ 1``.

    With ``x_k / x_l = e^{2h}`` they are ``(x_k x_l)^{(a-1)/2} sinh(a h) / sinh h``.
    """
    h = (np.log(x)[:, None] - np.log(x)[None, :]) / 2
    safe = np.where(np.abs(h) < 1e-8, 1.0, h)
    ratio = np.where(np.abs(h) < 1e-8, a, np.sinh(a * safe) / np.sinh(safe))
    return (x[:, None] * x[None, :]) ** ((a - 1) / 2) * ratio


def _terms(depth: float) -> list[tuple[float, float, float]]:
    """Return the weights and the two powers in ``A(P) = Σ w (XXᵀ)^a P (XᵀX)^b``."""
    if depth != math.inf:
        return [(1.0, (depth - p) / depth, (p - 1) / depth) for p in range(1, int(depth) + 1)]
    nodes, weights = np.polynomial.legendre.leggauss(40)
    return [(w / 2, (1 - t) / 2, (1 + t) / 2) for t, w in zip(nodes, weights, strict=True)]


def metric_operator(matrix: np.ndarray, covector: np.ndarray, depth: float) -> np.ndarray:
    """Return ``A_{N,X}(P)`` at full rank, a sum or an integral of dense powers."""
    (x, u), (y, v) = np.linalg.eigh(matrix @ matrix.T), np.linalg.eigh(matrix.T @ matrix)
    core = u.T @ covector @ v
    return u @ sum(w * x[:, None] ** a * core * y**b for w, a, b in _terms(depth)) @ v.T


def momentum_of(matrix: np.ndarray, velocity: np.ndarray, depth: float) -> np.ndarray:
    """Return ``P = A_{N,X}^{-1}(Ẋ)`` by a dense solve."""
    units = np.eye(matrix.size).reshape(-1, *matrix.shape)
    dense = np.array([metric_operator(matrix, unit, depth).ravel() for unit in units])
    return np.linalg.solve(dense, velocity.ravel()).reshape(matrix.shape)


def _slope(matrix: np.ndarray, covector: np.ndarray, depth: float) -> np.ndarray:
    """Return ``dH/dX``, with Daleckii and Krein's derivative of the powers."""
    (x, u), (y, v) = np.linalg.eigh(matrix @ matrix.T), np.linalg.eigh(matrix.T @ matrix)
    core = u.T @ covector @ v
    by_rows, by_columns = np.zeros((len(x), len(x))), np.zeros((len(y), len(y)))
    for w, a, b in _terms(depth):
        by_rows += w / 2 * _power_slope(x, a) * (core @ np.diag(y**b) @ core.T)
        by_columns += w / 2 * _power_slope(y, b) * (core.T @ np.diag(x**a) @ core)
    # d(XXᵀ) = dX Xᵀ + X dXᵀ, and the slopes are symmetric.
    return 2 * (u @ by_rows @ u.T @ matrix + matrix @ v @ by_columns @ v.T)


def hamiltonian_geodesic(
    matrix: np.ndarray, velocity: np.ndarray, depth: float, time: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return point and velocity at a time of the geodesic of ``g^N``, square of full rank."""
    unit = np.linalg.norm(matrix, 2)
    matrix, velocity = matrix / unit, velocity / unit
    start = np.stack([matrix, momentum_of(matrix, velocity, depth)])

    def rates(_: float, state: np.ndarray) -> np.ndarray:
        x, p = state.reshape(start.shape)
        return np.stack([metric_operator(x, p, depth), -_slope(x, p, depth)]).ravel()

    x, p = _integrated(rates, start.ravel(), time).reshape(start.shape)
    return unit * x, unit * metric_operator(x, p, depth)


# --- depth one below full rank --------------------------------------------------------


def fixed_rank_geodesic(
    matrix: np.ndarray, velocity: np.ndarray, rank: int, time: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return point and velocity at a time on the matrices of a rank, Frobenius metric.

    The force is ``2 (I - UUᵀ) Ẋ X⁺ Ẋ (I - VVᵀ)``, of a dense pseudo-inverse.
    """
    unit = np.linalg.norm(matrix, 2)
    start = np.stack([matrix, velocity]) / unit

    def rates(_: float, state: np.ndarray) -> np.ndarray:
        x, v = state.reshape(start.shape)
        left, sigma, right = np.linalg.svd(x)
        inverse = right[:rank].T / sigma[:rank] @ left[:, :rank].T
        rows, columns = left[:, rank:] @ left[:, rank:].T, right[rank:].T @ right[rank:]
        return np.stack([v, 2 * rows @ v @ inverse @ v @ columns]).ravel()

    x, v = unit * _integrated(rates, start.ravel(), time).reshape(start.shape)
    return x, v


def reference_geodesic(
    matrix: np.ndarray,
    velocity: np.ndarray,
    depth: float,
    rank: int | None = None,
    time: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return point and velocity at a time by the reference that serves the case."""
    rank = min(matrix.shape) if rank is None else rank
    if depth == math.inf:
        return hamiltonian_geodesic(matrix, velocity, depth, time)
    if depth == 1:
        return fixed_rank_geodesic(matrix, velocity, rank, time)
    return lifted_geodesic(matrix, velocity, int(depth), rank, time)
