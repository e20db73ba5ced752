"""The entropic force: minus the mean curvature of orbits, measured in three ways upstairs."""

import numpy as np
import pytest

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.depth_metric.metric import raise_index
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end
from dlngeo.thermodynamics.boltzmann_entropy import entropy_gradient
from tests.core.brute import (
    assert_close,
    flatten,
    jacobian,
    network,
    orbit_velocity,
    product,
    second_derivative,
    skew_basis,
    vertical_projector,
)

CASES = {
    "depth 2": ((2, 2, 2), 2),
    "depth 3": ((3, 3, 3, 3), 3),
    "wide": ((3, 4, 5, 2), 2),
    "rank 1": ((2, 3, 2, 2), 1),
    "rank 2 of 3": ((3, 3, 4, 3), 2),
}
CASE = pytest.mark.parametrize(("widths", "rank"), CASES.values(), ids=CASES)
SPECTRA = ["generic", "equal"]


def case(widths, rank, spectrum="generic"):
    """Return a balanced network, and the force ``grad S = A(∇S)`` at its matrix."""
    net = network(widths, rank, np.ones(rank) if spectrum == "equal" else spectrum_of(rank))
    slope = entropy_gradient(net.matrix, net.widths, rank)
    return net, raise_index(net.matrix, slope, net.depth, rank)


def spectrum_of(rank):
    return np.array([1.3, 0.9, 0.6])[:rank]


@CASE
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_force_is_the_mean_acceleration_of_vertical_lines(widths, rank, spectrum):
    """``grad S = Σ_j D²φ(v_j, v_j)`` over the vertical basis: straight lines leave the fibre."""
    net, force = case(widths, rank, spectrum)
    _, vertical = tangent_basis(net.factors, rank)
    total = np.zeros(net.matrix.shape)
    for j in range(len(vertical[0])):
        vector = [layers[j] for layers in vertical]

        def line(t, vector=vector):
            return product([w + t * v for w, v in zip(net.factors, vector, strict=True)])

        total = total + second_derivative(line, 0.1)
    assert_close(total, force, 1e-10)


@CASE
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_force_is_minus_the_mean_curvature_of_the_orbit(widths, rank, spectrum):
    """``dφ(H) = -grad S``: ``H`` sums the accelerations ``a·(a·W)`` of rotations over the orbit."""
    net, force = case(widths, rank, spectrum)
    elements = skew_basis(net.widths[1:-1])
    fields = np.stack([flatten(orbit_velocity(a, net.factors)) for a in elements], axis=1)
    # Elements whose fields are orthonormal, from the Gram matrix: rotations of a null space
    # do nothing, and drop out.
    left, values, right = np.linalg.svd(fields, full_matrices=False)
    kept = values > 1e-9
    curvature = np.zeros(len(fields))
    for k in np.flatnonzero(kept):
        weights = right[k] / values[k]
        element = [
            sum(w * a[p] for w, a in zip(weights, elements, strict=True))
            for p in range(net.depth - 1)
        ]
        once = orbit_velocity(element, net.factors)
        assert_close(flatten(once), left[:, k], 1e-12)
        curvature = curvature + flatten(orbit_velocity(element, once))
    found = (jacobian(net.factors) @ curvature).reshape(net.matrix.shape)
    assert_close(found, -force, 1e-10)


@pytest.mark.parametrize("name", ["depth 3", "wide", "rank 2 of 3"])
def test_vertical_noise_drifts_along_the_force(name):
    """``bal(W + P_v √(2h/β) ξ)`` moves ``X`` by ``(h/β) grad S`` in the mean.

    Over pairs ``±ξ``, of which the first order cancels; four standard errors, and less than 2 %.
    """
    widths, rank = CASES[name]
    net, force = case(widths, rank)
    step, count = 1e-5, 20_000  # step is h/β
    noise = np.random.default_rng(0).standard_normal((count, sum(w.size for w in net.factors)))
    noise = (2 * step) ** 0.5 * noise @ vertical_projector(net)

    def moved(sign):
        cuts = np.cumsum([w.size for w in net.factors])[:-1]
        parts = [
            w + sign * part.reshape(count, *w.shape)
            for w, part in zip(net.factors, np.split(noise, cuts, axis=1), strict=True)
        ]
        return end_to_end(balance(tuple(parts), rank))

    drifts = ((moved(1) + moved(-1)) / 2 - net.matrix) / step
    mean, error = drifts.mean(axis=0), drifts.std(axis=0) / count**0.5
    bias = 50 * step
    assert np.all(abs(mean - force) < 4 * error + bias)
    assert np.linalg.norm(mean - force) < 0.03 * np.linalg.norm(force)
    # Not to be had by chance: without the noise being vertical, X would move by far more.
    assert np.linalg.norm(force) > 20 * np.linalg.norm(error)
