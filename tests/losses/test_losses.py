"""Losses: gradients, batches, libraries, refusals."""

import autograd
import numpy
import pytest

from dlngeo.losses import (
    Factorization,
    LinearRegression,
    MatrixCompletion,
    MatrixSensing,
    SparseMatrixCompletion,
)
from tests.solvers import problems

M, N = 4, 3


def losses():
    rng = numpy.random.default_rng(0)
    target, mask = rng.normal(size=(M, N)), rng.uniform(size=(M, N)) < 0.5
    return {
        "factorization": Factorization(target),
        "completion": MatrixCompletion(numpy.where(mask, target, numpy.nan), mask),
        "regression": LinearRegression(rng.normal(size=(7, N)), rng.normal(size=(7, M))),
        "sensing": MatrixSensing(rng.normal(size=(5, M, N)), rng.normal(size=5)),
    }


@pytest.fixture(params=losses())
def loss(request):
    return losses()[request.param]


def matrix(*batch):
    return numpy.random.default_rng(1).normal(size=(*batch, M, N))


def test_gradient_is_that_of_the_value(loss):
    point, direction = matrix(2)
    step = 1e-5
    slope = (loss(point + step * direction) - loss(point - step * direction)) / (2 * step)
    numpy.testing.assert_allclose(numpy.sum(loss.gradient(point) * direction), slope, rtol=1e-8)


def test_gradient_is_that_of_autograd(loss):
    point = matrix()
    numpy.testing.assert_allclose(autograd.grad(loss)(point), loss.gradient(point), atol=1e-12)


def test_batches_are_loops(loss):
    points = matrix(2, 3)
    values = [[loss(point) for point in row] for row in points]
    gradients = [[loss.gradient(point) for point in row] for row in points]
    numpy.testing.assert_allclose(loss(points), values)
    numpy.testing.assert_allclose(loss.gradient(points), gradients)


def test_refuses_other_shapes(loss):
    with pytest.raises(ValueError, match="shape"):
        loss(numpy.zeros((N, M + 1)))


def test_values_by_hand():
    x = numpy.array([[1.0, 2.0], [3.0, 4.0]])
    assert Factorization(numpy.zeros((2, 2)))(x) == 15
    assert MatrixCompletion(numpy.zeros((2, 2)), numpy.eye(2) > 0)(x) == 17 / 2
    samples = numpy.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert LinearRegression(samples, samples @ x.T)(x) == 0
    assert LinearRegression(samples, numpy.zeros((3, 2)))(x) == (10 + 20 + 58) / 6
    assert MatrixSensing(numpy.eye(2)[None], numpy.array([1.0]))(x) == 8


def test_entries_outside_the_mask_do_not_count():
    mask = numpy.array([[True, False]])
    for value in (7.0, numpy.nan, numpy.inf):
        loss = MatrixCompletion(numpy.array([[1.0, value]]), mask)
        assert loss(numpy.array([[3.0, 5.0]])) == 2
        numpy.testing.assert_array_equal(loss.gradient(numpy.array([[3.0, 5.0]])), [[2, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Factorization(numpy.zeros(3)), "axes"),
        (lambda: Factorization(numpy.full((2, 2), numpy.nan)), "NaN"),
        (lambda: MatrixCompletion(numpy.zeros((2, 2)), numpy.ones((2, 3)) > 0), "one shape"),
        (lambda: MatrixCompletion(numpy.zeros((2, 2)), numpy.ones((2, 2))), "boolean"),
        (lambda: MatrixCompletion(numpy.zeros((2, 2)), numpy.ones((2, 2)) < 0), "empty"),
        (lambda: MatrixCompletion(numpy.full((1, 1), numpy.nan), numpy.ones((1, 1)) > 0), "NaN"),
        (lambda: LinearRegression(numpy.zeros((3, 2)), numpy.zeros((4, 2))), "rows"),
        (lambda: LinearRegression(numpy.zeros((0, 2)), numpy.zeros((0, 2))), "at least one entry"),
        (lambda: MatrixSensing(numpy.zeros((3, 2)), numpy.zeros(3)), "axes"),
        (lambda: MatrixSensing(numpy.zeros((3, 2, 2)), numpy.zeros(4)), "one measurement"),
    ],
)
def test_refuses_data_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_other_libraries(library):
    xp = pytest.importorskip(library)
    observed, mask = numpy.array([[1.0, numpy.nan]]), numpy.array([[True, False]])
    loss = MatrixCompletion(xp.asarray(observed), xp.asarray(mask))
    assert float(loss(xp.asarray(numpy.array([[3.0, 5.0]])))) == 2


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("change", [numpy.matrix, numpy.ma.masked_array, "int32", "float32"])
def test_data_and_points_of_other_types(change):
    """Whole numbers do not overflow, and subclasses do not change what a product is."""
    changed = (lambda a: a.astype(change)) if isinstance(change, str) else change
    whole = 100_000 * numpy.array([[1, -2, 3], [2, 5, 1]])
    mask = whole > 0
    made = {
        Factorization: lambda f: Factorization(f(whole)),
        MatrixCompletion: lambda f: MatrixCompletion(f(whole), mask),
        LinearRegression: lambda f: LinearRegression(f(whole), f(whole[:, :2])),
        MatrixSensing: lambda f: MatrixSensing(whole.reshape(1, 2, 3), whole[0, :1]),
    }
    for make in made.values():
        loss, expected = make(changed), make(numpy.float64)
        point = numpy.arange(1.0 * numpy.prod(loss.shape)).reshape(loss.shape)
        assert float(loss(changed(point))) == pytest.approx(float(expected(point)), rel=1e-6)
        gradient = loss.gradient(changed(point))
        assert type(gradient) is numpy.ndarray
        numpy.testing.assert_allclose(gradient, expected.gradient(point), rtol=1e-5)


@pytest.mark.parametrize(
    ("data", "point"), [("float32", "float64"), ("float64", "float32"), ("int64", "float32")]
)
def test_precisions_of_tensors_may_differ(data, point):
    """The library multiplies matrices of one type only."""
    torch = pytest.importorskip("torch")
    rng = numpy.random.default_rng(0)
    inputs, outputs, x = rng.integers(9, size=(3, 4, 2))
    loss = LinearRegression(
        *(torch.tensor(a, dtype=getattr(torch, data)) for a in (inputs, outputs))
    )
    exact = LinearRegression(inputs, outputs)
    tensor = torch.tensor(x[:2], dtype=getattr(torch, point))
    assert float(loss(tensor)) == pytest.approx(float(exact(x[:2])), rel=1e-6)
    numpy.testing.assert_allclose(loss.gradient(tensor), exact.gradient(x[:2]), rtol=1e-5)


def test_sparse_and_dense_completion_agree():
    losses = problems.losses()
    dense, sparse = losses["completion"], losses["sparse completion"]
    point = numpy.random.default_rng(1).normal(size=(problems.M, problems.N))
    assert float(dense(point)) == pytest.approx(float(sparse(point)), rel=1e-14)
    numpy.testing.assert_allclose(dense.gradient(point), sparse.gradient(point), atol=1e-14)
    numpy.testing.assert_allclose(
        dense.hessian_product(point, point), sparse.hessian_product(point, point), atol=1e-14
    )


def test_sparse_entries_in_any_order_and_twice():
    rows, columns = numpy.array([3, 0, 3, 0]), numpy.array([1, 2, 0, 2])
    loss = SparseMatrixCompletion(rows, columns, numpy.array([1.0, 2.0, 3.0, 5.0]), (5, 4))
    batch = numpy.random.default_rng(3).normal(size=(2, 3, 5, 4))
    expected = numpy.array([[loss.gradient(x) for x in row] for row in batch])
    numpy.testing.assert_allclose(loss.gradient(batch), expected, atol=1e-15)
    point = numpy.zeros((5, 4))
    assert loss(point) == (1 + 4 + 9 + 25) / 2
    expected = numpy.zeros((5, 4))
    expected[3, 1], expected[0, 2], expected[3, 0] = -1, -7, -3
    numpy.testing.assert_array_equal(loss.gradient(point), expected)
    numpy.testing.assert_array_equal(
        loss.adjoint(loss.measure_product(numpy.ones((5, 1)), numpy.ones((4, 1)))).toarray(),
        -numpy.sign(expected) * numpy.where(expected == -7, 2, 1),
    )


@pytest.mark.parametrize(
    ("rows", "columns", "values", "shape", "message"),
    [
        ([0, 1], [0], [1.0, 2.0], None, "one positive length"),
        ([], [], [], None, "one positive length"),
        ([0.0], [0], [1.0], None, "integers"),
        ([0, 1], [0, 1], [1.0, numpy.nan], None, "values holds NaN or infinite entries, 1 of 2"),
        ([0, -1], [0, 1], [1.0, 2.0], None, "within the shape"),
        ([0, 4], [0, 1], [1.0, 2.0], (4, 4), "rows from 0 to 4"),
        ([0, 1], [0, 2**31 + 5], [1.0, 2.0], None, "columns from 0 to 2147483653"),
        ([0, 1], [0, 2**31 + 5], [1.0, 2.0], (2, 2**32), "shape must be two positive integers up"),
        (numpy.ma.masked_array([0, 1], [False, True]), [0, 1], [1.0, 2.0], None, "1 masked"),
        ([0, 1], [0, 1], numpy.ma.masked_array([0, 1], [False, True]), None, "1 masked"),
        ([0, 1], [0, 1], [1j, 2.0], None, "of type complex128"),
        ([0, 1], [0, 1], [1.0, 2.0], (2, "2"), "the shape must be two positive integers"),
    ],
)
def test_sparse_completion_refuses(rows, columns, values, shape, message):
    with pytest.raises(ValueError, match=message):
        SparseMatrixCompletion(rows, columns, values, shape)
