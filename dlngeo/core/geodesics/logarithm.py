r"""Logarithm and distance of the depth metric, by shooting.

First guesses come from the balanced factors of the two points: aligned within their orbit,
their difference is the velocity of a chord, which projects to the observable space. The
strategies of `connect` shoot from them, all pairs in one batch
(`dlngeo.core.numerics.shooting.search`); of the geodesics that are found the shortest one is the
answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy
from scipy import linalg

from dlngeo.core.balanced.alignment import procrustes_sweeps
from dlngeo.core.base.arrays import Array, from_numpy, transpose
from dlngeo.core.base.packing import flatten_batch, pack, take, unpack
from dlngeo.core.base.primitives import primitive, rules_of_gradients
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.geodesics.charts import extend, restrict
from dlngeo.core.geodesics.observable_curves import chart_of, checked_problem
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import (
    BalancedFrames,
    SingularFrames,
    complement,
    exact_frames,
    singular_frames,
    tangent_at,
)
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.core.numerics.shooting import Aim, Attempt, Strategy, aim_at, norms, search

MOST_STEPS = 100
"""Steps of an integration after which a shot counts as lost."""

SWEEPS = 30
"""Sweeps of the alignment from which first guesses come."""

_STAGES = 12
# The first guess for deeper networks, and at infinite depth, is that of this depth.
_DEEPEST = 8
# Where all guesses fail by symmetry, the second point is turned by about this angle.
_NUDGE = 0.3


@dataclass(frozen=True)
class Connection:
    """Geodesics found between pairs of points.

    Attributes
    ----------
    velocity : array-like, shape=[..., m, n]
        Initial velocities; NaN where no geodesic was found.
    length : array-like, shape=[...]
        Their norms in the metric.
    residual : array, shape=[...]
        Distance of the end of the geodesic from the second point, in the chart.
    is_found : array of bool, shape=[...]
    """

    velocity: Array
    length: Array
    residual: numpy.ndarray
    is_found: numpy.ndarray


def check_components(x: numpy.ndarray, y: numpy.ndarray) -> None:
    """Raise a ValueError if determinants have opposite signs."""
    apart = numpy.linalg.slogdet(x)[0] != numpy.linalg.slogdet(y)[0]
    if apart.any():
        raise ValueError(
            "no geodesic joins square matrices of full rank whose determinants have opposite "
            f"signs: that is so for {int(apart.sum())} of {len(x)} pairs."
        )


def check_found(connection: Connection) -> Connection:
    """Return a connection, or raise a RuntimeError where no geodesic was found."""
    missing = int((~connection.is_found).sum())
    if missing:
        raise RuntimeError(
            f"no geodesic was found for {missing} of {connection.is_found.size} pairs: connect() "
            "tells which; join them through a point in between."
        )
    return connection


class MatrixSpace(NamedTuple):
    """Matrices of a rank, and coordinates of their tangent vectors in frames.

    First come the entries of the core, then those of the blocks towards the left and the right
    null space in orthonormal bases, all of them divided by weights.

    Attributes
    ----------
    frames : SingularFrames
    left_null, right_null : array, shape=[..., m, m - r], shape=[..., n, n - r]
        Bases of the null spaces.
    weights : Blocks
        What broadcasts against the blocks of a tangent vector.
    """

    frames: SingularFrames
    left_null: numpy.ndarray
    right_null: numpy.ndarray
    weights: Blocks

    @property
    def matrix(self) -> numpy.ndarray:
        """The matrices, shape=[..., m, n]."""
        return self.frames.with_values(self.frames.sigma)

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        rank = self.frames.sigma.shape[-1]
        return [(rank, rank), (self.left_null.shape[-1], rank), (rank, self.right_null.shape[-1])]

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return sum(rows * columns for rows, columns in self._shapes)

    def pack(self, vector: Blocks) -> numpy.ndarray:
        """Return the coordinates of the tangent part of a vector, shape=[..., n]."""
        core, left, right, _ = vector.tangent().map(numpy.divide, self.weights)
        nulls = [] if left is None else [transpose(self.left_null) @ left]
        nulls += [] if right is None else [right @ self.right_null]
        return pack([core, *nulls])

    def unpack(self, coordinates: numpy.ndarray) -> Blocks:
        """Return the tangent vector of which `pack` gives the coordinates."""
        core, left, right = unpack(coordinates, self._shapes)
        left, right = self.left_null @ left, right @ transpose(self.right_null)
        return tangent_at(self.frames, core, left, right).map(numpy.multiply, self.weights)


def matrix_space(frames: SingularFrames, weights: Blocks) -> MatrixSpace:
    """Return the space of matrices with given frames, shape=[b, ...]."""
    return MatrixSpace(frames, complement(frames.left), complement(frames.right), weights)


class ChordSearch(NamedTuple):
    """Strategies that start from chords between factors of the first and the second points.

    Attributes
    ----------
    source, target : MatrixSpace
    gap : callable
        See `dlngeo.core.numerics.shooting.aim_at`.
    pull_back : callable
        The same for frames, `dlngeo.core.geodesics.charts.ObservableChart.pull_back`.
    factors : Layers, shape=[b, d_p, d_{p-1}]
        Factors of the first points.
    chords : Layers, shape=[s, b, d_p, d_{p-1}]
        Ways from there to factors of the second points: one for each way of aligning them.
    gives_up : bool
        Whether stages end at the first one that no pair reaches.
    """

    source: MatrixSpace
    target: MatrixSpace
    gap: Callable
    pull_back: Callable
    factors: Layers
    chords: Layers
    gives_up: bool = False

    @property
    def strategies(self) -> list[Strategy]:
        """Straight from the chords, and in stages along each of them."""
        ways = range(len(self.chords[0]))
        return [self.along_chords, *[partial(self.in_stages, way) for way in ways]]

    def guesses(self) -> numpy.ndarray:
        """Return the velocities of the chords, shape=[s, b, n]."""
        velocity = differential(self.factors, self.chords)
        left, _, right = self.source.frames
        return self.source.pack(split(velocity, left, right))

    def aim(self, source: MatrixSpace, target: MatrixSpace, part: float = 1.0) -> Aim:
        """Return the aim at points."""

        def pull_back(gap: Blocks, here: MatrixSpace, there: MatrixSpace) -> Blocks:
            return self.pull_back(gap, here.frames, there.frames)

        return aim_at(target, source, self.gap, pull_back, part)

    def take(self, pairs: numpy.ndarray) -> tuple[MatrixSpace, MatrixSpace]:
        """Return first and second points of some pairs."""
        return take(self.source, pairs), take(self.target, pairs)

    def along_chords(self, lost: numpy.ndarray) -> Iterator[Attempt]:
        """Shoot from the velocities of all chords."""
        guesses = self.guesses()
        for count, guess in enumerate(guesses):
            # A guess that was tried before leads where it led.
            is_new = numpy.ones(len(guess), dtype=bool)
            for earlier in guesses[:count]:
                is_new &= norms(guess - earlier) > 0.05 * norms(earlier)
            index = lost[is_new[lost]]
            if len(index):
                yield Attempt(index, guess[index], [self.aim(*self.take(index))])

    def beside_symmetry(self, lost: numpy.ndarray) -> Iterator[Attempt]:
        """Shoot from the velocities of chords to second points that are turned a little."""
        source, target = self.take(lost)
        chords = _chords(source.frames, _nudge(target.frames), len(self.factors))
        aim = self.aim(source, target)
        nudged = self._replace(source=source, factors=chords[0], chords=chords[1])
        for guess in nudged.guesses():
            yield Attempt(lost, guess, [aim])

    def in_stages(self, way: int, lost: numpy.ndarray) -> Iterator[Attempt]:
        """Follow the geodesics to points that go along chords of factors to the second ones."""
        source, target = self.take(lost)
        factors, chord = take(self.factors, lost), take(self.chords, (way, lost))

        def aim(part: float) -> Aim:
            matrix = end_to_end(factors + part * chord)
            frames = singular_frames(matrix, source.frames.sigma.shape[-1])
            return self.aim(source, matrix_space(frames, target.weights), part)

        parts = [stage / _STAGES for stage in range(1, _STAGES + 1)]
        yield Attempt(lost, self.guesses()[way, lost], map(aim, parts), self.gives_up)


def _chords(source: SingularFrames, target: SingularFrames, depth: int) -> tuple[Layers, Layers]:
    r"""Return balanced factors of the first points, and chords to those of the second ones.

    The factors of the first point have hidden frames ``I``. Those of the second one are
    free, and settle by sweeps of Procrustes steps, ``R_p = polar(Λ (R_{p-1} + R_{p+1}) Λ_1)``
    with the ends ``Q_0ᵀ R_0, Q_Nᵀ R_N``. They start on the way from one end to the other, at one
    end, and at the other.
    """
    lam, target_lam = source.sigma ** (1 / depth), target.sigma ** (1 / depth)
    weight = lam[..., :, None] * target_lam[..., None, :]
    first, last = transpose(source.right) @ target.right, transpose(source.left) @ target.left
    near, far = polar_factor(first), polar_factor(last)
    frames = [first[None]]
    for p in range(1, depth):
        shares = numpy.array([1 - p / depth, 1.0, 0.0])[: 1 if depth == 2 else 3]
        shares = shares[:, None, None, None]
        frames.append(polar_factor(shares * near + (1 - shares) * far))
    frames.append(last[None])
    frames, _ = procrustes_sweeps(
        frames,
        lambda p, before, after: weight * (before + after),
        tolerance=1e-2,
        max_sweeps=SWEEPS if depth > 2 else 1,
    )
    eye = numpy.broadcast_to(numpy.eye(lam.shape[-1]), weight.shape)
    factors = BalancedFrames((source.right, *[eye] * (depth - 1), source.left), lam).layers
    ends = (target.right[None], *frames[1:-1], target.left[None])
    return Layers(factors), Layers(BalancedFrames(ends, target_lam).layers) - factors


def _nudge(frames: SingularFrames) -> SingularFrames:
    """Return frames turned a little, always in the same direction."""
    rows = frames.left.shape[-2]
    turn = numpy.random.default_rng(0).standard_normal((rows, rows))
    turn = _NUDGE * (turn - turn.T) / (2 * rows) ** 0.5
    return frames._replace(left=linalg.expm(turn) @ frames.left)


def connect(matrix: Array, point: Array, depth: float, rank: int | None = None) -> Connection:
    r"""Return the shortest geodesics that were found between pairs of matrices.

    Parameters
    ----------
    matrix, point : array-like, shape=[..., m, n]
        Matrices ``X`` and ``X_1`` of the given rank.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of the matrices, full by default.

    Returns
    -------
    connection : Connection

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit, an entry is NaN or infinite, or square matrices
        of full rank have determinants of opposite signs: no path joins them.

    References
    ----------
    THEORY 3.
    """
    x, y, rank = checked_problem(matrix, point, depth, rank)
    batch, (x, y) = flatten_batch(x, y)
    source, target = exact_frames(x, rank), exact_frames(y, rank)
    if x.shape[-2] == x.shape[-1] == rank:
        check_components(x, y)
    unit = source.sigma[:, :1]
    # A shortest geodesic stays in the common spans: reflections at them keep its ends.
    left, target_left, left_basis = restrict(source.left, target.left)
    right, target_right, right_basis = restrict(source.right, target.right)
    source = SingularFrames(left, source.sigma / unit, right)
    target = SingularFrames(target_left, target.sigma / unit, target_right)
    chart = chart_of(left.shape[-2], right.shape[-2], rank, depth)
    weights = weights_of(source.sigma, depth)
    core, null = weights.root, weights.null_root
    here = matrix_space(source, Blocks(core, null[:, None, :], null[:, :, None]))
    # Displacements in the chart have no weights.
    there = matrix_space(target, Blocks(*[numpy.ones((len(x), 1, 1))] * 3))

    def gap(
        start: MatrixSpace,
        goal: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> Blocks:
        state = chart.enter(start.frames, velocity)
        trajectory = chart.flow(state, length, tolerance, MOST_STEPS)
        return chart.displacement(trajectory.arrival, goal.frames)

    chords = _chords(source, target, int(min(depth, _DEEPEST)))
    ways = ChordSearch(here, there, gap, chart.pull_back, *chords)
    strategies = ways.strategies
    if depth > 1:
        strategies.insert(1, ways.beside_symmetry)
    found = search(len(x), here.dimension, strategies)
    tangent = join(here.unpack(found.velocity), left, right)
    velocity = unit[:, :, None] * extend(tangent, left_basis, right_basis)
    scale = 1.0 if depth == numpy.inf else unit[:, 0] ** (1 / depth)
    return Connection(
        from_numpy(velocity.reshape(*batch, *velocity.shape[1:]), matrix),
        from_numpy((norms(found.velocity) * scale).reshape(batch), matrix),
        found.residual.reshape(batch),
        found.is_found.reshape(batch),
    )


def log(matrix: Array, point: Array, depth: float, rank: int | None = None) -> Array:
    """Return the logarithm: the velocity at ``X`` of the shortest geodesic found to ``X_1``.

    Parameters and errors as in `connect`.

    Returns
    -------
    velocity : array-like, shape=[..., m, n]

    Raises
    ------
    RuntimeError
        If no geodesic was found for a pair; `connect` tells for which.

    References
    ----------
    THEORY 3.
    """
    return check_found(connect(matrix, point, depth, rank)).velocity


def dist(matrix: Array, point: Array, depth: float, rank: int | None = None) -> Array:
    """Return the length of the shortest geodesic found from ``X`` to ``X_1``.

    Parameters and errors as in `log`.

    Returns
    -------
    dist : array-like, shape=[...]

    References
    ----------
    THEORY 3.
    """
    return check_found(connect(matrix, point, depth, rank)).length


@primitive(static=("depth", "rank"))
def _gradients(matrix: Array, point: Array, depth: float, rank: int | None) -> tuple[Array, Array]:
    """Return the gradients of the squared distance by both points."""
    pairs = ((matrix, point), (point, matrix))
    here, there = (lower_index(x, log(x, y, depth, rank), depth, rank) for x, y in pairs)
    return -2 * here, -2 * there


@primitive(static=("depth", "rank"), **rules_of_gradients(_gradients))
def squared_dist(matrix: Array, point: Array, depth: float, rank: int | None = None) -> Array:
    r"""Return the squared length of the shortest geodesic found from ``X`` to ``X_1``.

    It can be differentiated, once: by either point the gradient is ``-2`` times the covector
    of the logarithm to the other one, ``-2 A_{N,X}^{-1}(\log_X X_1)``.

    Parameters and errors as in `log`.

    Returns
    -------
    squared_dist : array-like, shape=[...]

    References
    ----------
    THEORY 3.
    """
    return dist(matrix, point, depth, rank) ** 2
