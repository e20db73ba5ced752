"""Derivatives of per-sample losses: by every library, by hand, and by differences."""

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from autograd.scipy.special import expit

from dlngeo.core.gradient_noise.samples import SampleLosses
from tests.core.libraries import ARRAYS
from tests.noisy_losses import waves, waves_by_hand

SIZE = 4
RNG = np.random.default_rng(3)
X, U, V = RNG.normal(size=(3, 2, SIZE))
LIBRARIES = {"numpy": anp, "torch": torch, "jax": jnp}


def by_differences(function, x, v, step=1e-5):
    return (function(x + step * v) - function(x - step * v)) / (2 * step)


def samples_of(library, n):
    return SampleLosses((SIZE,), waves(n, SIZE, 0, LIBRARIES[library], ARRAYS[library]))


@pytest.mark.parametrize(
    ("library", "n"),
    # JAX compiles every shape anew.
    [*(("numpy", n) for n in (1, 3, 7, 40)), ("torch", 1), ("torch", 40), ("jax", 3), ("jax", 7)],
)
def test_derivatives_by_every_library_are_those_by_hand(library, n):
    samples, array = samples_of(library, n), ARRAYS[library]
    by_hand = SampleLosses((SIZE,), None, *waves_by_hand(n, SIZE))
    w = RNG.normal(size=(2, n))
    x, u, v, weights = map(array, (X, U, V, w))
    for name, arguments, plain in (
        ("matrix", (x,), (X,)),
        ("push", (x, v), (X, V)),
        ("pull", (x, weights), (X, w)),
        ("bend", (x, u, v), (X, U, V)),
        ("turn", (x, weights, v), (X, w, V)),
    ):
        found = getattr(samples, name)(*arguments)
        assert isinstance(found, type(x))
        np.testing.assert_allclose(found, getattr(by_hand, name)(*plain), atol=1e-12)


def test_derivatives_by_hand_are_those_by_differences():
    losses, (gradients, hvp) = waves(3, SIZE), waves_by_hand(3, SIZE)
    for x, v in zip(X, V, strict=True):
        np.testing.assert_allclose(gradients(x) @ v, by_differences(losses, x, v), atol=1e-9)
        np.testing.assert_allclose(hvp(x, v), by_differences(gradients, x, v), atol=1e-9)


def test_functions_of_jax_take_numpy_points():
    samples = SampleLosses((SIZE,), waves(3, SIZE, 0, jnp, jnp.array))
    found = samples.bend(X, U, V)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, samples_of("numpy", 3).bend(X, U, V), atol=1e-12)


def test_functions_without_forward_rules():
    """autograd has no forward rule for the logistic function; reverse ones serve twice."""
    samples = SampleLosses((SIZE,), lambda x: expit(anp.stack([x[0] * x[1], x[2] - x[3] ** 2])))
    first = by_differences(samples.losses, X[0], V[0])
    second = by_differences(lambda y: samples.push(y, V[0]), X[0], U[0])
    np.testing.assert_allclose(samples.push(X[0], V[0]), first, atol=1e-9)
    np.testing.assert_allclose(samples.bend(X[0], V[0], U[0]), second, atol=1e-9)
    w = np.array([0.3, -2.0])
    turned = by_differences(lambda y: samples.pull(y, w), X[0], U[0])
    np.testing.assert_allclose(samples.turn(X[0], w, U[0]), turned, atol=1e-9)


def test_points_of_any_shape():
    matrix = SampleLosses((2, 2), lambda x: anp.stack([anp.sum(x @ x), x[0, 1] * x[1, 1]]))
    rows = matrix.matrix(X)
    assert rows.shape == (2, 2, 4)
    np.testing.assert_allclose(
        (rows[0] @ V[0]), by_differences(lambda y: matrix.values(y), X[0], V[0]), atol=1e-9
    )


@pytest.mark.parametrize("takes_indices", [False, True])
def test_subsets(takes_indices):
    losses, calls = waves(6, SIZE), []

    def of_some(x, indices):
        calls.append(len(indices))
        return losses(x)[indices]

    whole = SampleLosses((SIZE,), losses)
    start = SampleLosses((SIZE,), of_some, n_samples=6) if takes_indices else whole
    some = start.subset(np.array([4, 1, 1, 5])).subset(np.array([0, 2, 3]))
    chosen = [4, 1, 5]
    assert some.count(X) == 3
    np.testing.assert_array_equal(some.values(X), whole.values(X)[:, chosen])
    np.testing.assert_allclose(some.matrix(X), whole.matrix(X)[:, chosen], rtol=1e-14)
    np.testing.assert_allclose(some.bend(X, U, V), whole.bend(X, U, V)[:, chosen], rtol=1e-12)
    assert set(calls) <= {3}


def test_constant_losses_have_no_derivatives():
    for samples in (
        SampleLosses((SIZE,), lambda x: np.ones(3)),
        SampleLosses((SIZE,), lambda x: 0 * x[:3] + 1),
    ):
        assert not samples.matrix(X).any()
        assert not samples.bend(X, U, V).any()


A = RNG.normal(size=(3, SIZE))


@pytest.mark.parametrize(
    "losses",
    [
        lambda x: np.dot(A, x),
        lambda x: np.einsum("ij,j->i", A, x) ** 2,
        lambda x: np.array([float(x[0]), 1.0]),
    ],
)
def test_losses_that_autograd_cannot_follow_are_refused(losses):
    samples = SampleLosses((SIZE,), losses)
    for name in ("push", "bend"):
        with pytest.raises(ValueError, match=r"autograd\.numpy"):
            getattr(samples, name)(*(X[0], V[0], V[0])[: 2 if name == "push" else 3])


def test_errors():
    with pytest.raises(ValueError, match="sample_gradients"):
        SampleLosses((SIZE,))
    with pytest.raises(ValueError, match=r"\[n\], got \(\)"):
        SampleLosses((SIZE,), lambda x: anp.sum(x)).matrix(X)
    with pytest.raises(ValueError, match="NaN or infinite at a point of norm"):
        SampleLosses((SIZE,), lambda x: anp.log(x[:3] - 10)).push(X, V)
    gradients, _ = waves_by_hand(3, SIZE)
    with pytest.raises(ValueError, match=r"sample_gradients must return .* \[n, 4\]"):
        SampleLosses((SIZE,), None, lambda x: gradients(x).T).push(X, V)
    only_first = SampleLosses((SIZE,), None, gradients)
    assert only_first.push(X, V).shape == (2, 3)
    with pytest.raises(ValueError, match="sample_hvp"):
        only_first.bend(X, U, V)
    with pytest.raises(ValueError, match="only their gradient"):
        only_first.values(X)
