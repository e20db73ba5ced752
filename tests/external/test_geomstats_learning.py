"""The algorithms of geomstats.learning on our spaces; runs under every geomstats backend.

Data are known geodesics or clusters, so that the answers are known too.
"""

import math

import geomstats.backend as gs
import numpy
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.nfold_manifold import NFoldManifold
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
from geomstats.learning.agglomerative_hierarchical_clustering import (
    AgglomerativeHierarchicalClustering,
)
from geomstats.learning.frechet_mean import FrechetMean, variance
from geomstats.learning.geodesic_regression import GeodesicRegression
from geomstats.learning.geometric_median import GeometricMedian
from geomstats.learning.kmeans import RiemannianKMeans
from geomstats.learning.knn import KNearestNeighborsClassifier
from geomstats.learning.mdm import RiemannianMinimumDistanceToMean
from geomstats.learning.online_kmeans import OnlineKMeans
from geomstats.learning.pca import TangentPCA
from geomstats.learning.preprocessing import ToTangentSpace
from geomstats.test.test_case import pytorch_backend
from sklearn.manifold import smacof

from dlngeo import DepthMetric, FixedRankMatrices
from dlngeo.core.networks.balancing import factorize
from dlngeo.solvers import MatrixCompletion, learning_flow
from tests.manifolds.geomstats.spaces import depth_space, near_identity

SPACES = [
    pytest.param((2, 2), 2, 2, id="2x2,r=2,N=2"),
    pytest.param((3, 3), 3, 3, id="3x3,r=3,N=3"),
    pytest.param((2, 2), 2, math.inf, id="2x2,r=2,N=inf"),
    pytest.param((3, 2), 1, 2, id="3x2,r=1,N=2"),
    pytest.param((3, 4), 2, 3, id="3x4,r=2,N=3"),
]
EACH_SPACE = pytest.mark.parametrize(("shape", "rank", "depth"), SPACES)


@pytest.fixture(autouse=True)
def _seed():
    gs.random.seed(7)


def unit_geodesic(space):
    """Return a point, a unit vector there, and the geodesic that they start."""
    data = near_identity(space)
    point = data.random_point()
    vector = space.metric.normalize(data.random_tangent_vec(point), point)
    return point, vector, space.metric.geodesic(point, initial_tangent_vec=vector)


def frechet_mean(space, points):
    return FrechetMean(space).set(epsilon=1e-20, max_iter=100).fit(points).estimate_


def two_clusters(space):
    """Return points around two ends of a geodesic, three times as far apart as they spread."""
    curve = unit_geodesic(space)[2]
    centres = curve(gs.array([-0.3, 0.3]))
    base = gs.stack([centres[0]] * 6 + [centres[1]] * 6)
    vectors = space.metric.normalize(near_identity(space).random_tangent_vec(base), base)
    return space.metric.exp(0.1 * vectors, base), centres, [0] * 6 + [1] * 6


def as_vectors(space):
    """Return a product with a line, whose points are vectors: scikit-learn takes no matrices.

    A product of one factor does not work under PyTorch.
    """
    return ProductManifold([space, Euclidean(1)], point_ndim=1)


def flattened(points):
    """Return matrices as vectors, zero on the line."""
    flat = numpy.reshape(gs.to_numpy(points), (len(points), -1))
    return numpy.pad(flat, ((0, 0), (0, 1)))


def partition(labels):
    """Return labels as zeros and ones, the first one zero."""
    return [int(label != labels[0]) for label in labels]


# --- means ------------------------------------------------------------------------------


@EACH_SPACE
def test_frechet_mean_of_points_on_a_geodesic_is_its_middle(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    curve = unit_geodesic(space)[2]
    mean = frechet_mean(space, curve(gs.array([-0.3, 0.1, 0.4, 0.6])))
    assert gs.allclose(mean, curve(0.2)[0], atol=1e-7)


@EACH_SPACE
def test_logarithms_vanish_on_average_at_the_frechet_mean(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    points = near_identity(space).random_point(6)
    mean = frechet_mean(space, points)
    logs = space.metric.log(points, mean)
    assert gs.allclose(gs.mean(logs, axis=0), gs.zeros(space.shape), atol=1e-7)
    around = space.metric.exp(
        0.05 * near_identity(space).random_tangent_vec(gs.stack([mean] * 4)), mean
    )
    least = variance(space, points, mean)
    assert all(variance(space, points, other) > least for other in around)


def test_frechet_mean_of_positive_matrices_is_that_of_bures_and_wasserstein():
    space = depth_space((2, 2), 2, 2)
    spd = SPDMatrices(2, equip=False).equip_with_metric(SPDBuresWassersteinMetric)
    points = gs.eye(2) + 0.3 * spd.random_point(5)
    assert gs.allclose(frechet_mean(space, points), frechet_mean(spd, points), atol=1e-7)


@pytest.mark.parametrize("depth", [2, 3])
def test_frechet_mean_of_trained_networks(depth):
    """Networks that complete a matrix, from several starts: all do, each in its own way."""
    space = depth_space((2, 2), 2, depth)
    observed = numpy.array([[2.0, 1.0], [0.5, 0.0]])
    loss = MatrixCompletion(observed, numpy.array([[True, True], [True, False]]))
    starts = [gs.to_numpy(start) for start in near_identity(space).random_point(5)]
    ends = []
    for start in starts:
        flow = learning_flow(loss, factorize(start, depth), t_final=30.0, n_saved=2)
        assert flow.success
        assert flow.loss[-1] < 1e-10
        ends.append(gs.array(flow.observables[-1]))
    points = gs.stack(ends)
    assert space.metric.diameter(points) > 0.05
    mean = frechet_mean(space, points)
    logs = space.metric.log(points, mean)
    assert gs.allclose(gs.mean(logs, axis=0), gs.zeros(space.shape), atol=1e-7)
    assert variance(space, points, mean) < variance(space, points, gs.mean(points, axis=0))


@EACH_SPACE
def test_geometric_median_does_not_follow_an_outlier(shape, rank, depth):
    """On a geodesic the median is the one in the middle, however far the last one is."""
    space = depth_space(shape, rank, depth)
    curve = unit_geodesic(space)[2]
    points = curve(gs.array([-0.12, -0.05, 0.0, 0.08, 0.6]))
    median = GeometricMedian(space, epsilon=1e-5, max_iter=200).fit(points).estimate_
    assert space.metric.dist(median, points[2]) < 1e-3
    assert space.metric.dist(frechet_mean(space, points), points[2]) > 0.1


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("determinant", ["positive", "negative"])
def test_random_points_of_a_component(determinant, depth):
    """As on any other space: whatever joins them is found and stays inside."""
    space = depth_space((3, 3), 3, depth, determinant=determinant)
    points = space.random_point(10)
    mean = frechet_mean(space, points)
    logs = space.metric.log(points, mean)
    assert gs.allclose(gs.mean(logs, axis=0), gs.zeros(space.shape), atol=1e-7)
    centres = RiemannianKMeans(space, n_clusters=2).fit(points).cluster_centers_
    online = OnlineKMeans(space, n_clusters=2, max_iter=20).fit(points).cluster_centers_
    assert gs.all(space.belongs(gs.stack([mean, *centres, *online])))
    tangents = ToTangentSpace(space)
    vectors = tangents.fit_transform(points)
    assert gs.allclose(tangents.inverse_transform(vectors), points, atol=1e-7)


@pytest.mark.parametrize("depth", [1, 2])
def test_means_in_the_completed_space(depth):
    """Of Gaussian matrices of both components; at depth one it is the arithmetic mean."""
    space = FixedRankMatrices(2, 2, equip=False)
    space.equip_with_metric(DepthMetric, depth=depth, on_boundary="cross")
    points = space.random_point(3)
    mean = FrechetMean(space).set(epsilon=1e-12).fit(points).estimate_
    logs = space.metric.log(points, mean)
    assert gs.allclose(gs.mean(logs, axis=0), gs.zeros(space.shape), atol=1e-5)
    if depth == 1:
        assert gs.allclose(mean, gs.mean(points, axis=0))


# --- directions and geodesics -----------------------------------------------------------


# geomstats hands tensors to a function of scikit-learn that takes none.
if not pytorch_backend():

    @EACH_SPACE
    def test_tangent_pca_finds_the_geodesic_along_which_points_spread(shape, rank, depth):
        space = depth_space(shape, rank, depth)
        point, vector, curve = unit_geodesic(space)
        times = gs.array([-0.5, -0.3, -0.1, 0.1, 0.3, 0.5])
        points = curve(times)
        pca = TangentPCA(space, n_components=2)
        pca.mean_estimator.set(epsilon=1e-20, max_iter=100)
        scores = pca.fit(points).transform(points)
        assert gs.allclose(pca.base_point_, point, atol=1e-7)
        assert pca.explained_variance_ratio_[0] > 1 - 1e-10
        direction = gs.reshape(pca.components_[0], space.shape)
        length = gs.linalg.norm(vector)
        sign = gs.sign(gs.sum(direction * vector))
        assert gs.allclose(sign * direction, vector / length, atol=1e-6)
        assert gs.allclose(sign * scores[:, 0], times * length, atol=1e-6)


def assert_geodesic_regression(space, method):
    curve = unit_geodesic(space)[2]
    x = gs.linspace(0.0, 1.0, 5)
    y = curve(x)
    regression = GeodesicRegression(space, method=method, initialization="frechet")
    regression.set(tol=1e-10)
    regression.fit(x, y)
    # geomstats centres the times.
    assert gs.allclose(regression.intercept_, y[2], atol=5e-4)
    assert gs.allclose(regression.coef_, 2 * space.metric.log(y[4], y[2]), atol=1e-3)
    assert gs.allclose(regression.predict(x), y, atol=1e-3)
    assert regression.score(x, y) > 1 - 1e-5


# geomstats descends by Euclidean gradients, or by differences, in no good coordinates of ours:
# the other spaces take it many steps.
FOR_REGRESSION = pytest.mark.parametrize(("shape", "rank", "depth"), [SPACES[0], SPACES[3]])


@FOR_REGRESSION
def test_geodesic_regression_in_the_ambient_space(shape, rank, depth):
    assert_geodesic_regression(depth_space(shape, rank, depth), "extrinsic")


# geomstats differentiates `exp` and `squared_dist`, which the NumPy backend cannot.
if gs.has_autodiff():

    @FOR_REGRESSION
    def test_geodesic_regression_in_the_space(shape, rank, depth):
        assert_geodesic_regression(depth_space(shape, rank, depth), "riemannian")


# --- clusters and neighbours ------------------------------------------------------------


@EACH_SPACE
def test_k_means(shape, rank, depth):
    """Both centres start in one cluster."""
    space = depth_space(shape, rank, depth)
    points, centres, expected = two_clusters(space)
    k_means = RiemannianKMeans(space, n_clusters=2, init=gs.copy(points[:2]))
    k_means.mean_estimator.set(epsilon=1e-16)
    k_means.fit(points)
    assert partition(k_means.labels_) == expected
    assert partition(k_means.predict(gs.concatenate([points, centres]))) == [*expected, 0, 1]
    for label, centre in enumerate(k_means.cluster_centers_):
        logs = space.metric.log(points[k_means.labels_ == label], centre)
        assert gs.allclose(gs.mean(logs, axis=0), gs.zeros(shape), atol=1e-6)


@EACH_SPACE
def test_hierarchical_clusters(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    points, _, expected = two_clusters(space)
    clusters = AgglomerativeHierarchicalClustering(as_vectors(space), n_clusters=2)
    assert partition(clusters.fit(flattened(points)).labels_) == expected


@EACH_SPACE
def test_minimum_distance_to_mean(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    points, centres, labels = two_clusters(space)
    classifier = RiemannianMinimumDistanceToMean(space).fit(points, gs.array(labels))
    assert list(classifier.predict(centres)) == [0, 1]
    assert list(classifier.predict(points)) == labels


@EACH_SPACE
def test_nearest_neighbours(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    points, centres, labels = two_clusters(space)
    classifier = KNearestNeighborsClassifier(as_vectors(space), n_neighbors=3)
    classifier.fit(flattened(points), labels)
    assert list(classifier.predict(flattened(centres))) == [0, 1]
    nearest = classifier.kneighbors(flattened(centres), 1)[0][:, 0]
    expected = gs.amin(space.metric.dist_broadcast(centres, points), axis=1)
    assert gs.allclose(gs.array(nearest), expected, atol=1e-9)


@pytest.mark.parametrize(("depth", "is_flat"), [(1, True), (2, False), (3, False)])
def test_scaling_of_distances(depth, is_flat):
    """Depth one is flat: its distances are those of points of ``R⁴``, those of others not."""
    space = depth_space((2, 2), 2, depth)
    rng = numpy.random.default_rng(1)
    points = gs.array(numpy.eye(2) + 0.3 * rng.normal(size=(8, 2, 2)))
    distances = gs.to_numpy(space.metric.dist_pairwise(points))
    embedded, _ = smacof(
        distances,
        n_components=4,
        init=rng.normal(size=(8, 4)),
        n_init=1,
        max_iter=20_000,
        eps=1e-14,
    )
    defect = numpy.linalg.norm(embedded[:, None] - embedded, axis=-1) - distances
    assert (abs(defect).max() < 2e-5) == is_flat


# --- products ---------------------------------------------------------------------------


@EACH_SPACE
def test_product_with_a_sphere(shape, rank, depth):
    space, sphere = depth_space(shape, rank, depth), Hypersphere(2)
    product = ProductManifold([space, sphere])
    ours, theirs = near_identity(space).random_point(2), sphere.random_point(2)
    start, end = product.embed_to_product([ours, theirs])
    log = product.metric.log(end, start)
    expected = [space.metric.log(ours[1], ours[0]), sphere.metric.log(theirs[1], theirs[0])]
    assert gs.allclose(log, product.embed_to_product(expected), atol=1e-9)
    assert gs.allclose(product.metric.exp(log, start), end, atol=1e-8)
    middle = product.metric.geodesic(start, end_point=end)(0.5)[0]
    assert gs.allclose(product.metric.exp(log / 2, start), middle, atol=1e-8)
    squares = space.metric.squared_dist(*ours) + sphere.metric.squared_dist(*theirs)
    assert gs.allclose(product.metric.dist(start, end) ** 2, squares, atol=1e-9)


@EACH_SPACE
def test_copies(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    copies = NFoldManifold(space, 2)
    start, end = near_identity(space).random_point(2), near_identity(space).random_point(2)
    log = copies.metric.log(end, start)
    assert gs.allclose(log, space.metric.log(end, start), atol=1e-9)
    assert gs.allclose(copies.metric.exp(log, start), end, atol=1e-8)
    total = gs.sum(space.metric.squared_dist(start, end))
    assert gs.allclose(copies.metric.squared_dist(start, end), total, atol=1e-9)
