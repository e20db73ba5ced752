"""Distances between networks, and networks on the way."""

import numpy
import pytest

from dlngeo.core.networks.network import moment_map
from dlngeo.manifolds import DepthMetric, FixedRankMatrices
from dlngeo.networks import LinearNetwork, distance, interpolate
from tests.networks.networks import balanced_networks, rotated

RNG = numpy.random.default_rng(3)
CASES = [((3, 3, 3), 3), ((4, 3, 6, 5), 2), ((3, 2), 2)]
ANY = LinearNetwork([RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))])


@pytest.mark.parametrize("metric", ["depth", "aligned"])
@pytest.mark.parametrize(("widths", "rank"), CASES, ids=str)
def test_distances_are_those_of_a_metric_space(widths, rank, metric):
    a, b, c = balanced_networks(widths, rank, spread=0.2)
    sides = [distance(*pair, metric) for pair in ((a, b), (b, c), (a, c))]
    assert min(sides) > 0.1
    assert 2 * max(sides) <= sum(sides) * (1 + 1e-12)
    assert distance(b, a, metric) == pytest.approx(sides[0], rel=1e-12)
    assert distance(a, rotated(a, 9), metric) < (1e-14 if metric == "depth" else 1e-11)
    assert distance(rotated(a, 8), rotated(b, 9), metric) == pytest.approx(sides[0], rel=1e-9)
    # Straight lines of parameter space are no longer.
    assert distance(a, b, "aligned") <= distance(a, b) * (1 + 1e-12)


@pytest.mark.parametrize(("widths", "rank"), CASES, ids=str)
def test_the_distance_of_balanced_networks_is_that_of_the_depth_metric(widths, rank):
    a, b = balanced_networks(widths, rank, 2, 0.2)
    space = FixedRankMatrices(widths[-1], widths[0], rank, equip=False)
    space.equip_with_metric(DepthMetric, depth=len(widths) - 1)
    assert distance(a, b) == pytest.approx(space.metric.dist(a.matrix, b.matrix), rel=1e-9)


def test_the_aligned_distance_is_the_least_over_all_rotations():
    a, b = balanced_networks((3, 2, 4), 2, 2)
    angles = numpy.linspace(0, 2 * numpy.pi, 100_001)
    cos, sin = numpy.cos(angles), numpy.sin(angles)
    turns = [
        numpy.array([[cos, -sin * sign], [sin, cos * sign]]).transpose(2, 0, 1) for sign in (1, -1)
    ]
    moved = [
        ((turn @ b.factors[0] - a.factors[0]) ** 2).sum((1, 2))
        + ((b.factors[1] @ turn.transpose(0, 2, 1) - a.factors[1]) ** 2).sum((1, 2))
        for turn in turns
    ]
    assert distance(a, b, "aligned") == pytest.approx(numpy.sqrt(numpy.min(moved)), rel=1e-8)


def test_biases_at_the_output_are_numbers_of_their_own():
    a, b = balanced_networks((4, 3, 6, 5), 2, 2)
    bias = RNG.normal(size=5)
    moved = LinearNetwork(b.factors, [None, None, bias])
    for metric in ("depth", "aligned"):
        expected = numpy.hypot(distance(a, b, metric), numpy.linalg.norm(bias))
        assert distance(a, moved, metric) == pytest.approx(expected, rel=1e-12)
    for kind in ("linear", "aligned", "geodesic"):
        (half,) = interpolate(a, moved, [0.5], kind)
        numpy.testing.assert_allclose(half.bias, bias / 2, rtol=1e-12)
    assert interpolate(a, b, 0.5).biases == (None, None, None)


@pytest.mark.parametrize(("widths", "rank"), CASES, ids=str)
def test_networks_on_the_way(widths, rank):
    a, b = balanced_networks(widths, rank, 2)
    for kind in ("linear", "aligned", "geodesic"):
        start, third, end = interpolate(a, b, [0, 1 / 3, 1], kind)
        for found, given in zip(start.factors, a.factors, strict=True):
            numpy.testing.assert_allclose(found, given, atol=1e-13)
        numpy.testing.assert_allclose(end.matrix, b.matrix, atol=1e-8)
        if kind == "aligned":
            lengths = [
                (sum(((w - v) ** 2).sum() for w, v in zip(n.factors, a.factors, strict=True)))
                ** 0.5
                for n in (third, end)
            ]
            numpy.testing.assert_allclose(lengths[0], lengths[1] / 3, rtol=1e-12)
        if kind == "geodesic":
            assert max([abs(m).max() for m in moment_map(third)], default=0.0) < 1e-10
            assert distance(a, third) == pytest.approx(distance(a, b) / 3, rel=1e-7)
    assert len(interpolate(a, b, kind="linear")) == 11
    one = interpolate(a, b, 0.25)
    numpy.testing.assert_allclose(one.matrix, interpolate(a, b, [0.25])[0].matrix, rtol=1e-13)


def test_geodesics_join_networks_of_other_hidden_widths():
    a, b = balanced_networks((4, 3, 6, 5), 2, 2)
    narrow = balanced_networks((4, 2, 2, 5), 2, 2)[1]
    numpy.testing.assert_allclose(narrow.matrix, b.matrix, rtol=1e-10)
    assert distance(a, narrow) == pytest.approx(distance(a, b), rel=1e-9)
    assert interpolate(a, narrow, 0.5).widths == a.widths
    with pytest.raises(ValueError, match="of the same widths"):
        distance(a, narrow, "aligned")


def test_what_is_not_balanced_is_balanced_first_or_refused():
    other = LinearNetwork([RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))], [numpy.ones(4), None])
    with pytest.raises(ValueError, match=r"network 1 is not balanced.*balance=True"):
        distance(ANY, other)
    expected = distance(ANY.balanced(), other.balanced())
    assert distance(ANY, other, balance=True) == expected
    assert distance(ANY, ANY.balanced(), "aligned", balance=True) < 1e-12
    middle = interpolate(ANY, other, 0.5, "linear")
    numpy.testing.assert_allclose(middle.biases[0], 0.5)
    numpy.testing.assert_allclose(
        middle.factors[1], (ANY.factors[1] + other.factors[1]) / 2, rtol=1e-15
    )


def thin():
    return LinearNetwork([numpy.diag([2.0, 1.0, 0.0])] * 2)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            [numpy.eye(3)] * 2,
            [numpy.eye(3), -numpy.eye(3)],
            {},
            r"signs \+, -.*linear",
        ),
        ([numpy.eye(3)] * 2, [numpy.eye(3)] * 3, {}, "of one depth"),
        ([numpy.eye(3)] * 2, thin(), {}, r"of one rank, got \[3, 2\].*rank=2"),
        (
            [numpy.eye(3)] * 2,
            LinearNetwork([numpy.eye(3)] * 2, [numpy.ones(3), None]),
            {},
            "network 2 has biases in hidden layers: balance=True",
        ),
        ([numpy.eye(3)] * 2, [numpy.eye(3)] * 2, {"metric": "other"}, "one of depth, aligned"),
        ([numpy.eye(3)] * 2, [numpy.eye(3)] * 2, {"balance": 1}, "True or False"),
    ],
)
def test_what_cannot_be_compared_is_told(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        distance(a, b, **options)


def test_opposite_components_are_told_before_paths_and_a_rank_cuts():
    a, b = [numpy.eye(3)] * 2, [numpy.eye(3), -numpy.eye(3)]
    with pytest.raises(ValueError, match="no path of networks of full rank"):
        interpolate(a, b, 0.5)
    with pytest.raises(ValueError, match="no path of networks of full rank"):
        distance(a, b, "aligned")
    assert numpy.linalg.matrix_rank(interpolate(a, b, 0.5, "linear").matrix) == 0
    full = LinearNetwork([numpy.diag([2.0, 1.0, 0.01])] * 2)
    assert distance(full, thin(), rank=2, balance=True) < 1e-12
    with pytest.raises(ValueError, match="times are a number or a list"):
        interpolate(a, a, [[0.5]])
    with pytest.raises(ValueError, match="kind must be one of linear, aligned, geodesic"):
        interpolate(a, a, 0.5, "straight")
