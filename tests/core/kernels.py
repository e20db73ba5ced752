"""The kernels of `dlngeo.core` and of the entropy, as a table for the laws that all of them obey.

Each is written as a function of square matrices: factors are balanced ones made of the first three,
so that every derivative is along the manifold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlngeo.core.balanced import curvature as bc
from dlngeo.core.balanced import submanifold as bm
from dlngeo.core.depth_metric import curvature as cv
from dlngeo.core.depth_metric import metric as dm
from dlngeo.core.depth_metric import ricci_operator as ro
from dlngeo.core.fibres import fibre as fb
from dlngeo.core.fibres import kempf_ness_function as kn
from dlngeo.core.fibres.depth_two_flow import metric_flow
from dlngeo.core.fibres.gram import gram_solve
from dlngeo.core.networks import equations, network
from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import intrinsic_network
from dlngeo.thermodynamics.boltzmann_entropy import entropy, entropy_gradient
from dlngeo.thermodynamics.volume import log_volume_density

INF = math.inf
SIZE = 3


@dataclass(frozen=True)
class Kernel:
    """A kernel of matrices, shape=[..., 3, 3].

    Attributes
    ----------
    call : callable
        From matrices to an array, or to a tuple of arrays.
    points, vectors : int
        Numbers of matrices that are points, which come first, and of vectors.
    degree : float
        Of homogeneity, in all of the points together.
    orders : float or None
        Number of derivatives by rules of its own, beyond which there are none; None where there
        is no law of them, as of rules below full rank, which hold along the rank alone.
    """

    call: Callable[..., Any]
    points: int
    vectors: int
    degree: float
    orders: float | None


def _transposed(matrix: Any) -> Any:
    return matrix.swapaxes(-1, -2)


def _orders(depth: float) -> float | None:
    """Return how often the metric can be differentiated: of depth one it is constant."""
    return None if depth == 1 else 1 if depth == INF else INF


def _metric(kernel: Callable, depth: float, degree: float, orders: float | None) -> Kernel:
    return Kernel(lambda x, p: kernel(x, p, depth), 1, 1, degree, orders)


def _balanced(
    kernel: Callable, vectors: int, degree: float, orders: float | None = 0, rank: int = SIZE
) -> Kernel:
    """Return a kernel at balanced factors, of tangent vectors that do not scale with them."""

    def call(a: Any, b: Any, c: Any, *matrices: Any) -> Any:
        factors = balance((a, b, c), rank)
        given = [(m, m @ m, _transposed(m)) for m in matrices]
        tangents = [bm.tangent_projection(factors, v, rank) for v in given]
        return kernel(factors, *tangents, rank=rank)

    return Kernel(call, 3, vectors, degree, orders)


def _of_factors(kernel: Callable, vectors: int, degree: float) -> Kernel:
    """Return an operation on three factors, and on vectors of their shapes."""

    def call(a: Any, b: Any, c: Any, *matrices: Any) -> Any:
        return kernel((a, b, c), *[(m, m @ m, _transposed(m)) for m in matrices])

    return Kernel(call, 3, vectors, degree, None)


def _low(x: Any) -> Any:
    """Return a matrix of rank two, of degree two."""
    return x[..., :, :2] @ x[..., :2, :]


def _projection(a: Any, b: Any, c: Any, matrix: Any) -> Any:
    return bm.tangent_projection(balance((a, b, c)), (matrix, matrix @ matrix, _transposed(matrix)))


def _gram(x: Any, p: Any) -> Any:
    """Return ``dφ dφ*(P)`` at factors of a matrix, which depends on the matrix alone."""
    factors = factorize(x, 3)
    return network.differential(factors, network.adjoint_differential(factors, p))


def _relaxed(kernel: Callable, offsets: tuple[float, ...]) -> Kernel:
    # Offsets have a scale: no law of homogeneity, which NaN stands for.
    strings = intrinsic_network(offsets, (SIZE, SIZE))
    return Kernel(lambda x, p: kernel(x, p, strings), 1, 1, math.nan, INF)


KERNELS = {
    # Networks.
    "polar factor": Kernel(equations.polar_factor, 1, 0, 0, INF),
    **{
        f"kernel solve {depth}": Kernel(
            lambda x, y, e, depth=depth: equations.kernel_solve(
                x @ _transposed(x), _transposed(y) @ y, e, depth=depth, rank=SIZE
            ),
            2,
            1,
            2 - 2 * depth,
            # Of depth one it does not depend on its points.
            INF if depth > 1 else None,
        )
        for depth in (1, 2, 4)
    },
    "balance": Kernel(lambda *w: balance(w), 3, 0, 1, INF),
    "factorize": Kernel(_gram, 1, 1, 4 / 3, INF),
    "factorize rank 2": Kernel(lambda x: factorize(x, 3, rank=2)[..., 1, :, :], 1, 0, 1 / 3, None),
    "balance rank 2": Kernel(lambda *w: balance(w, 2), 3, 0, 1, None),
    "end to end": _of_factors(network.end_to_end, 0, 3),
    "differential": _of_factors(network.differential, 1, 2),
    "second differential": _of_factors(network.differential, 2, 1),
    "adjoint differential": Kernel(
        lambda a, b, c, p: network.adjoint_differential((a, b, c), p), 3, 1, 2, None
    ),
    "moment map": _of_factors(network.moment_map, 0, 2),
    "infinitesimal action": _of_factors(lambda w, v: network.infinitesimal_action(v[:-1], w), 1, 1),
    "act": _of_factors(lambda w, v: network.act([a @ _transposed(a) for a in v[:-1]], w), 1, 1),
    # Fibres.
    "gram solve": Kernel(lambda a, b, c, e: gram_solve((a, b, c), e), 3, 1, -4, INF),
    "fibre projection": Kernel(
        lambda a, b, c, v: fb.tangent_projection((a, b, c), (v, v @ v, v)), 3, 1, 0, INF
    ),
    "limit metrics": Kernel(lambda *w: kn.limit_metrics(w), 3, 0, 0, INF),
    "algebra element": Kernel(
        lambda a, b, c, v: fb.algebra_element(
            (a, b, c), fb.tangent_projection((a, b, c), (v, v @ v, v))
        ),
        3,
        1,
        -1,
        0,
    ),
    "group gradient": _of_factors(fb.group_gradient, 1, 2),
    "newton": _of_factors(lambda w: fb.project_to_fibre(w, 1.01 * network.end_to_end(w)), 0, 1),
    "certificate": Kernel(lambda *w: tuple(kn.certificate(w)), 3, 0, math.nan, None),
    "metric flow": Kernel(lambda a, b: tuple(metric_flow((a, b), 0.7)), 2, 0, math.nan, None),
    # Balanced factors.
    "projection": Kernel(_projection, 3, 1, 0, 1),
    "second fundamental form": _balanced(bm.second_fundamental_form, 2, -1),
    "weingarten map": Kernel(
        lambda a, b, c, v: bm.weingarten_map(balance((a, b, c)), (v, v, v), (v @ v, v, v)),
        3,
        1,
        -1,
        0,
    ),
    "mean curvature": _balanced(bm.mean_curvature, 0, -1),
    "balanced curvature": _balanced(bc.balanced_curvature, 3, -2),
    "balanced sectional": _balanced(bc.balanced_sectional_curvature, 2, -2),
    "balanced ricci": _balanced(bc.balanced_ricci, 1, -2),
    "balanced scalar": _balanced(bc.balanced_scalar_curvature, 0, -2),
    **{
        f"{name} rank 2": _balanced(kernel, vectors, degree, None, 2)
        for name, kernel, vectors, degree in (
            ("projection", bm.tangent_projection, 1, 0),
            ("second fundamental form", bm.second_fundamental_form, 2, -1),
            ("mean curvature", bm.mean_curvature, 0, -1),
            ("balanced curvature", bc.balanced_curvature, 3, -2),
        )
    },
    "weingarten map rank 2": Kernel(
        lambda a, b, c, v: bm.weingarten_map(balance((a, b, c), 2), (v, v, v), (v @ v, v, v), 2),
        3,
        1,
        -1,
        None,
    ),
    # The depth metric.
    **{f"raise {n}": _metric(dm.raise_index, n, 2 - 2 / n, _orders(n)) for n in (2, 3, 10, INF)},
    **{f"lower {n}": _metric(dm.lower_index, n, 2 / n - 2, _orders(n)) for n in (1, 2, 3, 10, INF)},
    **{
        f"curvature {n}": Kernel(
            lambda x, a, b, c, n=n: cv.riemann_curvature(x, a, b, c, n), 1, 3, -2, 0
        )
        for n in (3, INF)
    },
    "raise rank 2": Kernel(lambda x, p: dm.raise_index(_low(x), p, 3, 2), 1, 1, 8 / 3, None),
    "lower rank 2": Kernel(lambda x, p: dm.lower_index(_low(x), p, 3, 2), 1, 1, -8 / 3, None),
    "projection of matrices": Kernel(
        lambda x, p: dm.tangent_projection(_low(x), p, 2), 1, 1, 0, None
    ),
    "sectional 3": Kernel(lambda x, a, b: cv.sectional_curvature(x, a, b, 3), 1, 2, -2 / 3, 0),
    "ricci 3": Kernel(lambda x, a: ro.ricci(x, a, 3), 1, 1, -2 / 3, 0),
    "scalar inf": Kernel(lambda x: ro.scalar_curvature(x, INF), 1, 0, 0, 0),
    # Relaxed balanced networks.
    **{
        f"relaxed {name} {offsets}": _relaxed(kernel, offsets)
        for name, kernel in (("raise", relaxed.raise_index), ("lower", relaxed.lower_index))
        for offsets in ((0.5,), (0.4, -0.2))
    },
    # Thermodynamics.
    "entropy": Kernel(lambda x: entropy(x, (3, 4, 5, 3)), 1, 0, math.nan, 2),
    "entropy rank 2": Kernel(lambda x: entropy(_low(x), (SIZE,) * 4, rank=2), 1, 0, math.nan, None),
    "entropy gradient": Kernel(lambda x: entropy_gradient(x, (3, 4, 5, 3)), 1, 0, -1, 1),
    "volume 3": Kernel(lambda x: log_volume_density(x, 3), 1, 0, math.nan, 2),
    "volume inf": Kernel(lambda x: log_volume_density(x, INF), 1, 0, math.nan, 1),
}
"""Every kernel; what derivatives do below full rank stands in the tests of its module."""

FACTOR_KERNELS: dict[str, Callable[[Any, Any], Any]] = {
    "moment map": lambda w, v: network.moment_map(w),
    "adjoint differential": lambda w, v: network.adjoint_differential(w, network.end_to_end(w)),
    "infinitesimal action": lambda w, v: network.infinitesimal_action(network.moment_map(w), w),
    "act": lambda w, v: network.act(_metrics(w), w),
    "balance": lambda w, v: balance(w),
    "normal projection": fb.normal_projection,
    "fibre projection": fb.tangent_projection,
    "algebra element": lambda w, v: fb.algebra_element(w, fb.tangent_projection(w, v)),
    "group gradient": fb.group_gradient,
    "limit metrics": lambda w, v: kn.limit_metrics(w),
    "projection": lambda w, v: bm.tangent_projection(balance(w), v),
    "second fundamental form": lambda w, v: bm.second_fundamental_form(balance(w), v, v),
    "weingarten map": lambda w, v: bm.weingarten_map(balance(w), v, v),
    "mean curvature": lambda w, v: bm.mean_curvature(balance(w)),
    "balanced curvature": lambda w, v: bc.balanced_curvature(balance(w), v, w, v),
    "balanced ricci": lambda w, v: bc.balanced_ricci(balance(w), v),
}
"""Kernels of factors that answer in kind: by a stack of a stack, by a tuple of a tuple."""


def _metrics(factors: Any) -> Any:
    """Return positive definite matrices of the hidden layers, in kind."""
    if isinstance(factors, tuple):
        return tuple(1 + w @ _transposed(w) for w in factors[:-1])
    return 1 + (factors @ _transposed(factors))[..., :-1, :, :]


POINTS = {
    "identity": np.eye(SIZE),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "random": np.random.default_rng(16).standard_normal((SIZE, SIZE)),
}
"""Matrices with repeated, nearly repeated and distinct singular values."""


def arguments_at(kernel: Kernel, matrix: np.ndarray, seed: int = 17) -> tuple[np.ndarray, ...]:
    """Return a matrix and its transpose in turns for the points, and random vectors."""
    rng = np.random.default_rng(seed)
    points = [matrix if p % 2 == 0 else matrix.swapaxes(-1, -2) for p in range(kernel.points)]
    return (*points, *rng.standard_normal((kernel.vectors, *matrix.shape[-2:])) / 2)


def direction_of(kernel: Kernel, seed: int) -> tuple[np.ndarray, ...]:
    """Return a random direction in all of the arguments."""
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((kernel.points + kernel.vectors, SIZE, SIZE)) / 3)
