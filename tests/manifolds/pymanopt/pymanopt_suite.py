"""pymanopt's diagnostics as numbers, the laws of its manifolds, and its optimisers.

`pymanopt.tools.diagnostics` prints and draws, and fails under NumPy 2.5; here the same Taylor
expansions give slopes, which tests bound. Every helper takes any manifold of pymanopt, or any
problem.
"""

import math
from typing import Any, NamedTuple

import autograd.numpy
import numpy
import pymanopt
from pymanopt.manifolds.manifold import Manifold
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions

# Eleven steps in a row, a factor of forty from the first to the last.
_WINDOW = 10
_EPS = numpy.finfo(float).eps


def bending_problem(manifold: Manifold, point: Any) -> pymanopt.Problem:
    """Return a problem whose cost is no polynomial, of all the entries of the arrays of a point."""
    arrays = point if isinstance(point, tuple | list) else (point,)
    rng = numpy.random.default_rng(5)
    weights = [rng.normal(size=numpy.shape(array)) for array in arrays]

    @pymanopt.function.autograd(manifold)
    def cost(*arrays):
        terms = [c * x + autograd.numpy.sin(c * x) for c, x in zip(weights, arrays, strict=True)]
        total = sum(autograd.numpy.sum(term) for term in terms)
        return total + total**2 / 10

    return pymanopt.Problem(manifold, cost)


def taylor_slope(problem: pymanopt.Problem, point: Any, tangent_vector: Any, order: int) -> float:
    """Return the slope of the error of a Taylor model of the cost along a geodesic.

    Parameters
    ----------
    problem : pymanopt.Problem
    point, tangent_vector
        The geodesic is followed from time 1e-8 to one.
    order : int
        Order of the model: one takes the gradient, and has slope two if it is right; two takes
        the Hessian too, and has slope three.

    Returns
    -------
    slope : float
        On a doubly logarithmic scale, over the straightest piece of the curve that is more than
        a thousand times above round-off. Unlike pymanopt's own it is not misled by the floor.
    """
    manifold = problem.manifold
    gradient = problem.riemannian_gradient(point)
    model = [manifold.inner_product(point, gradient, tangent_vector), problem.cost(point)]
    if order == 2:
        hessian = problem.riemannian_hessian(point, tangent_vector)
        model.insert(0, manifold.inner_product(point, hessian, tangent_vector) / 2)
    steps = numpy.logspace(-8, 0, 51)
    costs = [problem.cost(_follow(manifold, point, step * tangent_vector)) for step in steps]
    errors = numpy.abs(numpy.polyval(model, steps) - costs)
    is_measured = errors > 1000 * _EPS * max(1.0, abs(model[-1]))
    assert numpy.sum(is_measured) > _WINDOW, "the model is exact: take a cost that bends more"
    logs = numpy.log10([steps[is_measured], errors[is_measured]])
    pieces = numpy.lib.stride_tricks.sliding_window_view(logs, _WINDOW + 1, axis=1).swapaxes(0, 1)
    lines = [numpy.polyfit(x, y, deg=1, full=True)[:2] for x, y in pieces]
    return float(min(lines, key=lambda line: line[1].item())[0][0])


def _follow(manifold: Manifold, point: Any, tangent_vector: Any) -> Any:
    try:
        return manifold.exp(point, tangent_vector)
    except NotImplementedError:
        return manifold.retraction(point, tangent_vector)


class HessianDefects(NamedTuple):
    """What the Hessian lacks, relative to its size.

    Attributes
    ----------
    tangency, linearity, symmetry : float
    """

    tangency: float
    linearity: float
    symmetry: float


def hessian_defects(problem: pymanopt.Problem, point: Any) -> HessianDefects:
    """Measure whether the Hessian is tangent, linear and symmetric, in random directions."""
    manifold = problem.manifold
    a, b = (manifold.random_tangent_vector(point) for _ in range(2))
    at_a, at_b, at_sum = (problem.riemannian_hessian(point, v) for v in (a, b, 0.6 * a - 1.7 * b))
    size = manifold.norm(point, at_a) + manifold.norm(point, at_b)
    normal = at_a - manifold.to_tangent_space(point, at_a)
    skew = manifold.inner_product(point, a, at_b) - manifold.inner_product(point, at_a, b)
    return HessianDefects(
        manifold.norm(point, normal) / size,
        manifold.norm(point, at_sum - (0.6 * at_a - 1.7 * at_b)) / size,
        abs(skew) / size,
    )


def assert_derivatives(
    problem: pymanopt.Problem, point: Any, tangent_vector: Any, atol: float = 1e-10
) -> None:
    """Assert that gradient and Hessian are those of the cost, along one geodesic and in general.

    The slopes are those of the formulas to three per cent; `atol` bounds `hessian_defects`.
    """
    assert abs(taylor_slope(problem, point, tangent_vector, order=1) - 2) < 0.06
    assert abs(taylor_slope(problem, point, tangent_vector, order=2) - 3) < 0.09
    assert max(hessian_defects(problem, point)) < atol


def retraction_slope(manifold: Manifold, point: Any, tangent_vector: Any) -> float:
    """Return the slope of the distance of retraction and exponential, over a factor of ten.

    It is three or more for a retraction of second order. Give a tangent vector that is short on
    the scale of the manifold there.
    """
    steps = numpy.logspace(-1, 0, 5)
    distances = [
        manifold.dist(
            manifold.exp(point, step * tangent_vector),
            manifold.retraction(point, step * tangent_vector),
        )
        for step in steps
    ]
    return float(numpy.polyfit(numpy.log(steps), numpy.log(distances), 1)[0])


def spanned_dimension(manifold: Manifold, point: Any) -> int:
    """Return the rank of the Gram matrix of more tangent vectors than there are dimensions."""
    vectors = [manifold.random_tangent_vector(point) for _ in range(manifold.dim + 3)]
    gram = numpy.array([[manifold.inner_product(point, a, b) for a in vectors] for b in vectors])
    return int(numpy.linalg.matrix_rank(gram, tol=1e-8))


def assert_laws(manifold: Manifold, point: Any, length: float, atol: float = 1e-7) -> None:
    """Assert what holds for every manifold, along a random geodesic of the given length."""
    assert spanned_dimension(manifold, point) == manifold.dim
    unit, other = (manifold.random_tangent_vector(point) for _ in range(2))
    assert math.isclose(manifold.norm(point, unit), 1, abs_tol=1e-12)
    zero = manifold.zero_vector(point)
    assert manifold.norm(point, zero) == 0
    assert manifold.norm(point, unit + zero - unit) < 1e-12
    assert _normal_part(manifold, point, unit) < 1e-12
    vector = length * unit
    end = manifold.exp(point, vector)
    assert math.isclose(manifold.dist(point, end), length, abs_tol=atol)
    assert manifold.norm(point, manifold.log(point, end) - vector) < atol
    middle = manifold.pair_mean(point, end)
    for side in (point, end):
        assert math.isclose(manifold.dist(middle, side), length / 2, abs_tol=atol)
    assert manifold.dist(manifold.retraction(point, zero), point) < atol
    moved = manifold.transport(point, end, other)
    assert _normal_part(manifold, end, moved) < atol
    assert manifold.typical_dist > 0


def _normal_part(manifold: Manifold, point: Any, vector: Any) -> float:
    return manifold.norm(point, vector - manifold.to_tangent_space(point, vector))


def assert_minimised(
    problem: pymanopt.Problem, start: Any, minimum: float, atol: float = 1e-9
) -> None:
    """Assert that pymanopt's gradient methods, and trust regions, reach a known minimum."""
    for optimizer in (SteepestDescent, ConjugateGradient):
        result = optimizer(verbosity=0, min_gradient_norm=1e-6, max_time=120).run(
            problem, initial_point=start
        )
        assert abs(result.cost - minimum) < atol, f"{optimizer.__name__}: {result}"
    assert_quadratic(problem, start, minimum, atol)


class _RecordingTrustRegions(TrustRegions):
    """Trust regions that keep the norm of the gradient after every iteration."""

    def run(self, problem: pymanopt.Problem, **options: Any) -> Any:
        self.gradients: list[float] = []
        return super().run(problem, **options)

    def _check_stopping_criterion(self, **state: Any) -> Any:
        self.gradients.append(state["gradient_norm"])
        return super()._check_stopping_criterion(**state)


def assert_quadratic(
    problem: pymanopt.Problem, start: Any, minimum: float, atol: float = 1e-9
) -> None:
    """Assert that trust regions reach a known minimum, and that the last step is quadratic.

    ``|g'| ≤ 100 |g|² / max |g|``, up to round-off; a linear rate is far from it.
    """
    optimizer = _RecordingTrustRegions(verbosity=0, min_gradient_norm=1e-9, max_time=120)
    result = optimizer.run(problem, initial_point=start)
    assert abs(result.cost - minimum) < atol, result
    *_, before, last = optimizer.gradients
    largest = max(optimizer.gradients)
    assert last < 1e-9
    assert last < 100 * before**2 / largest + 1e-13 * largest, optimizer.gradients
