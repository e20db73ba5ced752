"""Depth roots: volume, cometric and slopes against finite differences and the depth metric."""

import numpy
import pytest

from dlngeo.core.depth_metric.metric import lower_index, raise_index
from dlngeo.core.depth_metric.roots import cometric
from dlngeo.sampling.hamiltonian.root_frames import RootFrames
from dlngeo.thermodynamics.boltzmann_entropy import entropy
from dlngeo.thermodynamics.volume import log_volume_density

DEPTHS = (1, 2, 3, 5, 10)
CASES = pytest.mark.parametrize(("width", "depth"), [(d, n) for d in (1, 2, 3, 4) for n in DEPTHS])
FOLDS = pytest.mark.parametrize("is_folded", [False, True])


def gaussian(width, seed=0, count=None):
    shape = (width, width) if count is None else (count, width, width)
    return numpy.random.default_rng([seed, width]).normal(size=shape)


def regular(width, seed=0, count=None):
    """Return disturbed identities, half of them with a row turned: X is well conditioned."""
    roots = numpy.eye(width) + 0.2 * gaussian(width, seed, count)
    (roots if count is None else roots[::2])[..., 0, :] *= -1
    return roots


def observable(root, depth, is_folded=False):
    return RootFrames.of(root, depth, is_folded).observable()


def slope_of(function, root, step=1e-5):
    """Return the gradient by central differences of order four."""
    slope = numpy.zeros_like(root)
    for place in numpy.ndindex(root.shape):
        move = numpy.zeros_like(root)
        move[place] = step * numpy.linalg.norm(root)
        near, far = (function(root + k * move) - function(root - k * move) for k in (1, 2))
        slope[place] = (8 * near - far) / (12 * move[place])
    return slope


@CASES
def test_volume_is_a_multiple_of_lebesgues(width, depth):
    root = numpy.eye(width) + 0.3 * gaussian(width)
    columns = [
        slope_of(lambda y, i=i, j=j: observable(y, depth)[i, j], root).ravel()
        for i in range(width)
        for j in range(width)
    ]
    density = numpy.linalg.slogdet(numpy.stack(columns))[1]
    density += log_volume_density(observable(root, depth), depth)
    assert density == pytest.approx(width / 2 * numpy.log(depth), abs=1e-6)


@CASES
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_cometric_is_that_of_the_depth_metric(width, depth, scale):
    root, covector = scale * regular(width), gaussian(width, seed=1)
    frames = RootFrames.of(root, depth)
    pulled = frames.pull_back(covector)
    core = frames.frames.left.T @ pulled @ frames.frames.right
    symmetric = (core + core.T) / 2
    alpha = cometric(frames.frames.sigma, depth)
    assert (alpha >= 1 / depth - 1e-12).all()
    assert (alpha <= 1 + 1e-12).all()
    found = numpy.sum(alpha * symmetric**2 + (core - symmetric) ** 2 / alpha)
    expected = numpy.sum(covector * raise_index(frames.observable(), covector, depth))
    assert found == pytest.approx(expected, rel=1e-10)


@CASES
@FOLDS
def test_pull_back_is_a_gradient(width, depth, is_folded):
    covector = gaussian(width, seed=2)
    for root in (gaussian(width), gaussian(width)[::-1], numpy.diag([1.0] * (width - 1) + [1e-3])):
        found = RootFrames.of(root, depth, is_folded).pull_back(covector)
        expected = slope_of(lambda y: numpy.sum(covector * observable(y, depth, is_folded)), root)
        numpy.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max() + 1e-9)


@CASES
def test_kinetic_gradient(width, depth):
    def kinetic(root, momentum):
        frames = RootFrames.of(root, depth)
        core = frames.frames.left.T @ momentum @ frames.frames.right
        symmetric = (core + core.T) / 2
        alpha = cometric(frames.frames.sigma, depth)
        return numpy.sum(alpha * symmetric**2 + (core - symmetric) ** 2 / alpha) / 2

    momentum = gaussian(width, seed=3)
    for root in (gaussian(width), numpy.eye(width), numpy.eye(width) + 1e-9 * gaussian(width)):
        found = RootFrames.of(root, depth).kinetic_gradient(momentum)
        expected = slope_of(lambda y: kinetic(y, momentum), root, 1e-3)
        numpy.testing.assert_allclose(found, expected, atol=1e-6 * abs(momentum).max() ** 2)


@CASES
def test_entropy_and_its_gradient(width, depth):
    for root in (regular(width), numpy.eye(width), numpy.diag(numpy.arange(1.0, width + 1))):
        frames = RootFrames.of(root, depth)
        known = entropy(frames.observable(), (width,) * (depth + 1))
        assert frames.entropy() == pytest.approx(known, rel=1e-12)
        expected = slope_of(lambda y: RootFrames.of(y, depth).entropy(), root)
        numpy.testing.assert_allclose(frames.entropy_gradient(), expected, atol=1e-8)


@pytest.mark.parametrize("depth", DEPTHS)
def test_entropy_is_regular_at_the_boundary(depth):
    root = numpy.diag([2.0, 0.0])
    frames = RootFrames.of(root, depth)
    # S = (N - 1) log c_2 + ½ log r_12 with r_12 = λ_1^{2(N-1)} at λ_2 = 0.
    inside = RootFrames.of(numpy.diag([1.0, 0.0]), depth)
    assert frames.entropy() - inside.entropy() == pytest.approx((depth - 1) * numpy.log(2))
    expected = numpy.diag([(depth - 1) / 2, 0.0])
    numpy.testing.assert_allclose(frames.entropy_gradient(), expected, atol=1e-12)


@CASES
def test_fold_leads_to_the_other_component(width, depth):
    roots = regular(width, count=20)
    inside = numpy.arange(20) % 3 > 0
    folded = observable(roots, depth, ~inside)
    signs = numpy.linalg.slogdet(folded)[0] * numpy.linalg.slogdet(roots)[0]
    assert (signs == numpy.where(inside, 1, -1)).all()
    numpy.testing.assert_array_equal(folded[inside], observable(roots, depth)[inside])
    sigma = numpy.linalg.svd(roots, compute_uv=False) ** depth
    found = numpy.linalg.svd(folded, compute_uv=False)
    numpy.testing.assert_allclose(found, sigma, rtol=1e-7)


@pytest.mark.parametrize("depth", DEPTHS)
def test_fold_keeps_lebesgues_measure(depth):
    """At depth one it is a map of roots, whose Jacobian determinant is one."""
    root = gaussian(3)
    root[0] *= -numpy.linalg.slogdet(root)[0]
    rows = [
        slope_of(lambda y, i=i, j=j: observable(y, 1, 1)[i, j], root).ravel()
        for i in range(3)
        for j in range(3)
    ]
    assert abs(numpy.linalg.slogdet(numpy.stack(rows))[1]) < 1e-7
    # Deeper networks fold the same way: their roots are those of the folded root.
    folded = observable(observable(root, 1, 1), depth)
    numpy.testing.assert_allclose(observable(root, depth, 1), folded, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_functions_are_smooth_across_the_boundary_from_depth_two(depth):
    covector = gaussian(3, seed=4)
    left, right = (numpy.linalg.qr(gaussian(3, seed=s))[0] for s in (5, 6))
    inside, folded, across = (
        RootFrames.of(left @ numpy.diag([2.0, 1.0, gap]) @ right, depth, is_folded).pull_back(
            covector
        )
        for gap, is_folded in ((1e-9, False), (-1e-9, True), (-1e-9, False))
    )
    jump = abs(inside - folded).max() / abs(inside).max()
    assert jump < 1e-7 if depth > 1 else jump > 1e-2
    numpy.testing.assert_allclose(inside, across, atol=1e-7 * abs(inside).max())


def test_flat_and_root_metric_agree():
    """The metric of a velocity of ``Y`` is that of its velocity of ``X``."""
    depth, root, velocity = 3, gaussian(3), gaussian(3, seed=7)
    step = 1e-6
    moved = observable(root + step * velocity, depth) - observable(root - step * velocity, depth)
    moved /= 2 * step
    frames = RootFrames.of(root, depth)
    core = frames.frames.left.T @ velocity @ frames.frames.right
    symmetric = (core + core.T) / 2
    alpha = cometric(frames.frames.sigma, depth)
    found = numpy.sum(symmetric**2 / alpha + alpha * (core - symmetric) ** 2)
    expected = numpy.sum(moved * lower_index(frames.observable(), moved, depth))
    assert found == pytest.approx(expected, rel=1e-7)
