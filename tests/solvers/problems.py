"""Problems of optimisation to test on: losses, manifolds, a completion."""

import numpy
from pymanopt.manifolds import Sphere

from dlngeo.manifolds import BalancedFactors, DeepFixedRank
from dlngeo.solvers import (
    Factorization,
    LinearRegression,
    MatrixCompletion,
    MatrixSensing,
    SparseMatrixCompletion,
)

M, N, RANK = 6, 5, 2


def losses():
    rng = numpy.random.default_rng(0)
    target, mask = rng.normal(size=(M, N)), rng.uniform(size=(M, N)) < 0.6
    rows, columns = numpy.nonzero(mask)
    return {
        "factorization": Factorization(target),
        "completion": MatrixCompletion(target, mask),
        "sparse completion": SparseMatrixCompletion(rows, columns, target[mask], (M, N)),
        "regression": LinearRegression(rng.normal(size=(7, N)), rng.normal(size=(7, M))),
        "sensing": MatrixSensing(rng.normal(size=(9, M, N)), rng.normal(size=9)),
    }


MANIFOLDS = {
    "frames, depth 1": lambda: DeepFixedRank(M, N, RANK, 1),
    "frames, depth 3": lambda: DeepFixedRank(M, N, RANK, 3),
    "frames, full rank": lambda: DeepFixedRank(M, N, N, 2),
    "factors": lambda: BalancedFactors((N, 4, 3, M), RANK),
    "two factors": lambda: BalancedFactors((N, 3, M), 3),
    "one factor": lambda: BalancedFactors((N, M), RANK),
    "matrices": lambda: Sphere(M, N),
}


def matrix_of(point):
    if isinstance(point, numpy.ndarray):
        return point
    if len(point) == 3 and point[1].ndim == 1:
        return (point[0] * point[1]) @ point[2]
    product = point[0]
    for layer in point[1:]:
        product = layer @ product
    return product


def completion(seed=0, size=60, rank=3, part=0.5, scale=1.0):
    """Return a matrix of a rank, positions of some of its entries, and their loss."""
    rng = numpy.random.default_rng(seed)
    truth = scale * rng.normal(size=(size, rank)) @ rng.normal(size=(rank, size))
    places = rng.choice(size**2, round(part * size**2), replace=False)
    rows, columns = places // size, places % size
    loss = SparseMatrixCompletion(rows, columns, truth[rows, columns], truth.shape)
    return truth, loss


def error(minimum, truth):
    return numpy.linalg.norm(matrix_of(minimum.point) - truth) / numpy.linalg.norm(truth)
