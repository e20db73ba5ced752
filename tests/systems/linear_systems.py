"""Linear systems for tests, and what SciPy says of them."""

import numpy as np
import pytest
from scipy import linalg

from dlngeo import systems as sy

System = tuple[np.ndarray, np.ndarray, np.ndarray]

TIMES = pytest.mark.parametrize("dt", [None, 0.1], ids=["continuous", "discrete"])


def random_system(seed, dt, n=7, inputs=2, outputs=3) -> System:
    """Return a random stable minimal system."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    eigenvalues = np.linalg.eigvals(A)
    if dt:
        A *= 0.97 / np.max(np.abs(eigenvalues))
    else:
        A -= (0.1 + np.max(eigenvalues.real)) * np.eye(n)
    return A, rng.standard_normal((n, inputs)), rng.standard_normal((outputs, n))


def change_of_state(seed, n):
    """Return a random matrix with singular values from 1/2 to 2."""
    left, _, right = np.linalg.svd(np.random.default_rng(seed).standard_normal((n, n)))
    return left * np.geomspace(0.5, 2, n) @ right


def transformed(system, T) -> System:
    """Return the system in the states ``T x``."""
    A, B, C = system
    return T @ A @ np.linalg.inv(T), T @ B, C @ np.linalg.inv(T)


def gramians(A, B, C, dt):
    """Return the Gramians by SciPy's solvers."""
    if dt:
        solve = linalg.solve_discrete_lyapunov
        return solve(A, B @ B.T), solve(A.T, C.T @ C)
    solve = linalg.solve_continuous_lyapunov
    return solve(A, -B @ B.T), solve(A.T, -C.T @ C)


def transfer(A, B, C, D, points):
    """Return ``D + C (s - A)^{-1} B`` at complex points, shape=[k, p, m]."""
    shifted = points[:, None, None] * np.eye(len(A)) - A
    return D + C @ np.linalg.solve(shifted, np.broadcast_to(B, (len(points), *B.shape)))


def unstable_matrix(kind, dt):
    """Return three poles: apart and unstable, integrators, or a chain of integrators."""
    A = {
        "growing": np.array([[0.5, 2, 0], [-2, 0.5, 0], [0, 0, 0.1]]),
        "integrators": np.zeros((3, 3)),
        "chain": np.eye(3, k=1),
    }[kind]
    return linalg.expm(A) if dt else A


def boundary(A, dt, count=400):
    """Return points of the boundary of stability: a sweep, and where modes resonate."""
    eigenvalues = np.linalg.eigvals(A)
    if dt:
        return np.exp(1j * np.concatenate([np.linspace(0, np.pi, count), np.angle(eigenvalues)]))
    rates = np.abs(eigenvalues)
    sweep = np.geomspace(rates.min() / 100, rates.max() * 100, count)
    return 1j * np.concatenate([[0], sweep, np.abs(eigenvalues.imag)])


def sup_norm(values):
    return np.max(np.linalg.norm(values, 2, axis=(-2, -1)))


def errors_of(A, B, C, dt, orders):
    """Return for each order: the error over a sweep, the first value left out, the bound."""
    points = boundary(A, dt)
    full = transfer(A, B, C, 0, points)
    rows = []
    for order in orders:
        red = sy.balanced_truncation(A, B, C, dt=dt, order=order)
        error = sup_norm(full - transfer(red.A, red.B, red.C, red.D, points))
        rows.append((error, red.hankel_singular_values[order], red.error_bound))
    return np.array(rows).T


def heated_rod(n) -> System:
    """Return the heat equation on a rod: heated at a third, measured at two thirds."""
    second = np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)
    B, C = np.zeros((n, 1)), np.zeros((1, n))
    B[n // 3], C[0, 2 * n // 3] = n + 1, 1
    return (n + 1) ** 2 * second, B, C


def building(storeys, damping=0.02) -> System:
    """Return a chain of damped oscillators: shaken at the ground, seen at the roof."""
    stiffness = 2 * np.eye(storeys) - np.eye(storeys, k=1) - np.eye(storeys, k=-1)
    stiffness[-1, -1] = 1
    zero, one = np.zeros((storeys, storeys)), np.eye(storeys)
    A = np.block([[zero, one], [-stiffness, -damping * (stiffness + 0.1 * one)]])
    B, C = np.zeros((2 * storeys, 1)), np.zeros((1, 2 * storeys))
    B[storeys], C[0, -1] = 1, 1
    return A, B, C


def cd_player(modes, seed=0) -> System:
    """Return resonances over three decades, one for each pair of states; order 2 × modes."""
    rng = np.random.default_rng(seed)
    omega, damping = np.geomspace(10, 1e4, modes), 0.01
    A = linalg.block_diag(*[np.array([[0, 1], [-(w**2), -2 * damping * w]]) for w in omega])
    B = np.zeros((2 * modes, 2))
    B[1::2] = rng.standard_normal((modes, 2))
    C = np.zeros((2, 2 * modes))
    C[:, ::2] = rng.standard_normal((2, modes))
    return A, B, C


def not_minimal(seed=0) -> System:
    """Return a system of order 9 with 3 uncontrollable and 2 unobservable states, and dt=None."""
    rng = np.random.default_rng(seed)
    A = np.diag(-np.arange(1.0, 10))
    A[:7, 7:] = rng.standard_normal((7, 2))  # the last two drive the others
    B, C = rng.standard_normal((9, 2)), rng.standard_normal((2, 9))
    A[:4, 4:7] = 0
    A[4:7, :4] = 0
    A[4:7, 7:] = 0
    B[4:7] = 0  # nothing drives these three
    A[:4, 7:] = 0
    A[7:, :4] = rng.standard_normal((2, 4))
    C[:, 7:] = 0  # and nothing sees these two
    return transformed((A, B, C), change_of_state(seed, 9))
