r"""Logarithm of the metric of relaxed balanced networks, by shooting.

The first guess is the chord between factors of the two points, those of the second turned to be
near those of the first; where it does not lead to the second point, geodesics to points on the
chord are followed there. What is found is a geodesic, of which nothing says that it is the
shortest one.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy

from dlngeo.core.balanced.alignment import procrustes_sweeps
from dlngeo.core.base.arrays import Array, from_numpy, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.packing import take
from dlngeo.core.base.vectors import Layers
from dlngeo.core.geodesics.charts.straight_chart import StraightChart
from dlngeo.core.geodesics.logarithm import are_apart, check_joined, pairs_in_frames
from dlngeo.core.geodesics.search.shots import MOST_STEPS
from dlngeo.core.geodesics.search.spaces import MatrixSpace, matrix_space
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import exact_frames, singular_frames
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.core.numerics.shooting import Aim, Attempt, Found, aim_at, search
from dlngeo.core.relaxed.geodesics import checked_host, geodesic
from dlngeo.core.relaxed.metric import relaxed_layers
from dlngeo.core.relaxed.strings import RelaxedNetwork

# Sweeps of the alignment, and stages of the way along a chord.
_SWEEPS, _STAGES = 30, 12


def log(matrix: Array, point: Array, network: RelaxedNetwork) -> Array:
    """Return the velocity at ``X`` of a geodesic that is at ``X_1`` at time one.

    Parameters
    ----------
    matrix, point : array-like, shape=[..., m, n]
        Matrices ``X`` and ``X_1``.
    network : RelaxedNetwork
        One that `dlngeo.core.relaxed.strings.check_intrinsic` lets pass.

    Returns
    -------
    velocity : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the metric is not complete, and the determinants of square matrices of full rank have
        opposite signs: no path joins them.
    RuntimeError
        If no geodesic was found for a pair.

    References
    ----------
    Own derivation.
    """
    x, y = checked_host(network, matrix, point)
    # At full rank tangent vectors are all matrices, also where a singular value is zero.
    frames_of = singular_frames if network.rank == min(x.shape[-2:]) else exact_frames
    batch, (x, y), frames = pairs_in_frames(x, y, network.rank, frames_of)
    if not network.is_complete:
        check_joined(are_apart(x, y, network.rank).reshape(batch))
    unit = numpy.linalg.norm(x, 2, axis=(-2, -1))[:, None, None]
    unit = numpy.where(unit == 0, 1, unit)
    weights = Blocks(unit, unit, unit)
    source, target = (matrix_space(ends, weights) for ends in frames)

    def gap(
        here: MatrixSpace,
        there: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> Blocks:
        move = length[:, None, None] * join(velocity, here.frames.left, here.frames.right)
        curve = geodesic(here.matrix, move, network)
        end = curve.at(1.0, tolerance / 10, MOST_STEPS)
        return split(end.point - there.matrix, there.frames.left, there.frames.right)

    layers = Layers(relaxed_layers(x, network))
    chord = _nearest_layers(relaxed_layers(y, network), layers) - layers
    guess = source.pack(source.frames.split(differential(layers, chord)))
    pull_back = StraightChart(*x.shape[-2:]).pull_back

    def aim(pairs: numpy.ndarray, goal: MatrixSpace, part: float = 1.0) -> Aim:
        return aim_at(goal, take(source, pairs), gap, pull, part)

    def pull(displacement: Blocks, here: MatrixSpace, there: MatrixSpace) -> Blocks:
        return pull_back(displacement, here.frames, there.frames)

    def along_chords(found: Found) -> Iterator[Attempt]:
        pairs = found.missing
        yield Attempt(pairs, guess, [aim(pairs, target)])

    def in_stages(found: Found) -> Iterator[Attempt]:
        """Follow the geodesics to points on the chords."""
        pairs = found.missing
        start, way, goal = take((layers, chord, target), pairs)
        parts = [stage / _STAGES for stage in range(1, _STAGES + 1)]

        def aims() -> Iterator[Aim]:
            for part in parts:
                frames = singular_frames(end_to_end(start + part * way), network.rank)
                yield aim(pairs, matrix_space(frames, goal.weights), part)

        yield Attempt(pairs, guess[pairs], aims(), gives_up=True)

    found = search(len(x), source.dimension, [along_chords, in_stages])
    if not found.is_found.all():
        raise RuntimeError(
            "no geodesic was found between two matrices"
            f"{in_batch(~found.is_found.reshape(batch))}: join them through a point in between."
        )
    velocity = join(source.unpack(found.velocity), source.frames.left, source.frames.right)
    return from_numpy(velocity.reshape(*batch, *x.shape[-2:]), matrix)


def _nearest_layers(layers: Sequence[Array], base: Sequence[Array]) -> Layers:
    """Return the factors of an orbit of rotations that are near other ones."""
    rotations = [numpy.eye(layers[0].shape[-1])]
    for before, goal in zip(layers[:-1], base[:-1], strict=True):
        rotations.append(polar_factor(goal @ rotations[-1] @ transpose(before)))
    rotations.append(numpy.eye(layers[-1].shape[-2]))

    def pull(p: int, before: Array, after: Array) -> Array:
        back = base[p - 1] @ before @ transpose(layers[p - 1])
        return back + transpose(base[p]) @ after @ layers[p]

    rotations, _ = procrustes_sweeps(rotations, pull, 0.0, _SWEEPS)
    return Layers(
        after @ layer @ transpose(before)
        for layer, (before, after) in zip(layers, itertools.pairwise(rotations), strict=True)
    )
