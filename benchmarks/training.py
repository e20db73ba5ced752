"""Cost of training: gradient flow and gradient descent, against bare loops of matrix products.

The same products by hand: the flow in SciPy's ``solve_ivp`` at the same tolerances and saved times,
descent as a loop over the layers. Ours check their arrays once, look whether numbers are finite,
and tell the loss at the states saved. Squared distance to a matrix, time of one core, least of
several rounds; both end in the same factors to round-off.

    python benchmarks/training.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from dlngeo.solvers import Factorization, gradient_descent, learning_flow

# Width, depth, final time of the flow.
CASES = [(3, 3, 20.0), (10, 3, 20.0), (10, 10, 5.0), (30, 3, 10.0), (60, 3, 5.0)]
N_STEPS, STEP_SIZE, N_SAVED = 1000, 0.01, 200
RTOL, ATOL = 1e-6, 1e-9
ROUNDS = 9


def gradients(layers: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the gradient of ``½ ‖W_N ... W_1 - T‖²`` by two passes."""
    products = [layers[0]]
    for layer in layers[1:]:
        products.append(layer @ products[-1])
    covector = products[-1] - target
    result = np.empty_like(layers)
    for p in range(len(layers) - 1, 0, -1):
        result[p] = covector @ products[p - 1].T
        covector = layers[p].T @ covector
    result[0] = covector
    return result


def bare_flow(start: np.ndarray, target: np.ndarray, end: float) -> np.ndarray:
    """Return the end of the flow by SciPy."""
    path = solve_ivp(
        lambda t, state: -gradients(state.reshape(start.shape), target).ravel(),
        (0.0, end),
        start.ravel(),
        method="DOP853",
        t_eval=np.linspace(0.0, end, N_SAVED),
        rtol=RTOL,
        atol=ATOL,
    )
    return path.y[:, -1].reshape(start.shape)


def bare_descent(start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the end of a loop of steps."""
    layers = start.copy()
    for _ in range(N_STEPS):
        layers -= STEP_SIZE * gradients(layers, target)
    return layers


def milliseconds(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the least time of the processor, and the result."""
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        result = run()
        times.append(time.process_time() - begin)
    return 1e3 * min(times), result


def compare(start: np.ndarray, target: np.ndarray, end: float) -> None:
    """Print the rows of one network."""
    loss = Factorization(target)
    pairs: dict[str, tuple[Callable, Callable]] = {
        "flow": (
            lambda: learning_flow(loss, start, t_final=end, rtol=RTOL, atol=ATOL).factors[-1],
            lambda: bare_flow(start, target, end),
        ),
        "descent": (
            lambda: gradient_descent(loss, start, STEP_SIZE, n_steps=N_STEPS).factors[-1],
            lambda: bare_descent(start, target),
        ),
    }
    for name, runs in pairs.items():
        (ours, came), (bare, expected) = map(milliseconds, runs)
        print(
            f"{name:<10}{start.shape[1]:>4}{len(start):>4}{ours:>12.1f}{bare:>12.1f}"
            f"{ours / bare:>8.2f}{np.abs(came - expected).max():>10.0e}"
        )


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{N_SAVED} states saved, one core, least of {ROUNDS} rounds\n")
    head = f"{'':<10}{'d':>4}{'N':>4}{'ours [ms]':>12}{'bare [ms]':>12}{'ratio':>8}{'apart':>10}"
    print(head, "-" * len(head), sep="\n")
    for d, depth, end in CASES:
        start = 0.3 * np.eye(d) + 0.6 * rng.standard_normal((depth, d, d)) / d**0.5
        compare(start, rng.standard_normal((d, d)) / d**0.5, end)


if __name__ == "__main__":
    main()
