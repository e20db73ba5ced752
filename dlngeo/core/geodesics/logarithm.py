r"""Logarithm and distance of the depth metric, by shooting.

First guesses come from the balanced factors of the two points: aligned within their orbit,
their difference is the velocity of a chord, which projects to the observable space. A
quasi-Newton method on the initial velocity does the rest, all pairs and all guesses in one
batch; of the geodesics that are found the shortest one is the answer.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy
from scipy import linalg

from dlngeo.core.base.arrays import Array, from_numpy, namespace, transpose
from dlngeo.core.base.checks import real_array
from dlngeo.core.base.primitives import Primitive, refuse
from dlngeo.core.depth_metric.metric import check_observable, flat
from dlngeo.core.geodesics.charts import (
    Connection,
    ObservableChart,
    check_components,
    check_found,
    extend,
    restrict,
)
from dlngeo.core.geodesics.observable_curves import chart_of, checked_problem
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames, complement, exact_frames, singular_frames
from dlngeo.core.networks.jacobi import depth_kernel, log_mean_kernel
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.core.numerics.integration import Status
from dlngeo.core.numerics.shooting import CONVERGED, Miss, norms, shoot

_MOST_STEPS = 100
_SWEEPS = 30
_STAGES = 12
# The first guess for deeper networks, and at infinite depth, is that of this depth.
_DEEPEST = 8
# Where all guesses fail by symmetry, the second point is turned by about this angle.
_NUDGE = 0.3


class _Pairs(NamedTuple):
    """Pairs of matrices of a rank, and orthonormal bases of their tangent spaces.

    A tangent vector has the core row by row as its first coordinates, and then those of the
    blocks towards the left and the right null space.
    """

    source: SingularFrames
    target: SingularFrames
    core_weight: numpy.ndarray
    null_weight: numpy.ndarray
    source_nulls: tuple[numpy.ndarray, numpy.ndarray]
    target_nulls: tuple[numpy.ndarray, numpy.ndarray]

    def take(self, index: Any) -> "_Pairs":
        """Index every array by pairs."""
        groups = (self.source, self.target, self.source_nulls, self.target_nulls)
        source, target, *nulls = [tuple(array[index] for array in group) for group in groups]
        weights = (self.core_weight[index], self.null_weight[index])
        return _Pairs(SingularFrames(*source), SingularFrames(*target), *weights, *nulls)

    def tangent(self, u: numpy.ndarray) -> Blocks:
        """Return the velocity at the first point with orthonormal coordinates ``u``."""
        rank = self.core_weight.shape[-1]
        batch, start = u.shape[:-1], rank * rank
        blocks: list[numpy.ndarray | None] = [
            u[..., :start].reshape(*batch, rank, rank) * self.core_weight
        ]
        for basis, flip in zip(self.source_nulls, (False, True), strict=True):
            size = basis.shape[-1] * rank
            part = u[..., start : start + size].reshape(*batch, basis.shape[-1], rank)
            block = basis @ part * self.null_weight[..., None, :]
            blocks.append(None if not size else transpose(block) if flip else block)
            start += size
        return Blocks(*blocks)

    def coordinates(self, tangent: Blocks) -> numpy.ndarray:
        """Return the orthonormal coordinates of a velocity at the first point."""
        core, left, right, _ = tangent
        weight = self.null_weight
        left = None if left is None else left / weight[..., None, :]
        right = None if right is None else right / weight[..., :, None]
        return _flattened(Blocks(core / self.core_weight, left, right), self.source_nulls)


def _flattened(blocks: Blocks, nulls: tuple[numpy.ndarray, numpy.ndarray]) -> numpy.ndarray:
    """Return the entries of blocks in bases of the null spaces as one vector."""
    parts = [blocks.core]
    if blocks.left_null is not None:
        parts.append(transpose(nulls[0]) @ blocks.left_null)
    if blocks.right_null is not None:
        parts.append(transpose(blocks.right_null @ nulls[1]))
    flat = [part.reshape(*part.shape[:-2], part.shape[-2] * part.shape[-1]) for part in parts]
    return numpy.concatenate(flat, axis=-1)


def _pairs(source: SingularFrames, target: SingularFrames, depth: float) -> _Pairs:
    if depth == numpy.inf:
        weights = (log_mean_kernel(source.sigma, source.sigma), source.sigma**2)
    else:
        lam = source.sigma ** (1 / depth)
        weights = (depth_kernel(lam, lam, int(depth)), lam ** (2 * depth - 2))
    core_weight, null_weight = map(numpy.sqrt, weights)
    nulls = [(complement(frames.left), complement(frames.right)) for frames in (source, target)]
    return _Pairs(source, target, core_weight, null_weight, *nulls)


def _miss(chart: ObservableChart, pairs: _Pairs) -> Miss:
    """Return where geodesics end, as a displacement from the second points in the chart."""

    def miss(index: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray) -> numpy.ndarray:
        chosen = pairs.take(index)
        length = norms(u)
        pace = numpy.where(length == 0, 1, length)
        with numpy.errstate(all="ignore"):  # a shot may go wild
            start = chart.enter(chosen.source, chosen.tangent(u / pace[:, None]))
            trajectory = chart.flow(start, length, tolerance, _MOST_STEPS)
            ends = chart.displacement(trajectory.state, chosen.target)
        is_arrived = (trajectory.status == Status.ARRIVED)[:, None]
        return numpy.where(is_arrived, _flattened(ends, chosen.target_nulls), numpy.inf)

    return miss


def _thin_factors(frames: SingularFrames, hidden: list, depth: int) -> list[numpy.ndarray]:
    """Return the balanced factors with given hidden frames, as narrow as can be."""
    lam = frames.sigma ** (1 / depth)
    ends = [frames.right, *hidden, frames.left]
    return [after * lam[..., None, :] @ transpose(before) for before, after in pairwise(ends)]


def _aligned_factors(
    source: SingularFrames, target: SingularFrames, depth: int
) -> list[numpy.ndarray]:
    r"""Return balanced factors of the second points near those of the first ones.

    The factors of the first point have hidden frames ``I``. Those of the second one are
    free, and settle by sweeps of Procrustes steps, ``R_p = polar(Λ (R_{p-1} + R_{p+1}) Λ_1)``
    with the ends ``Q_0ᵀ R_0, Q_Nᵀ R_N``. One more axis in front counts the starts: on the
    way from one end to the other, at one end, and at the other.
    """
    lam, lam_target = source.sigma ** (1 / depth), target.sigma ** (1 / depth)
    weight = lam[..., :, None] * lam_target[..., None, :]
    first, last = transpose(source.right) @ target.right, transpose(source.left) @ target.left
    near, far = polar_factor(first), polar_factor(last)
    frames = [first[None]]
    for p in range(1, depth):
        shares = numpy.array([1 - p / depth, 1.0, 0.0])[: 1 if depth == 2 else 3]
        shares = shares[:, None, None, None]
        frames.append(polar_factor(shares * near + (1 - shares) * far))
    frames.append(last[None])
    for _ in range(_SWEEPS if depth > 2 else depth - 1):
        moved = 0.0
        for p in range(1, depth):
            frame = polar_factor(weight * (frames[p - 1] + frames[p + 1]))
            moved = max(moved, float(abs(frame - frames[p]).max(initial=0)))
            frames[p] = frame
        if moved < 1e-2:
            break
    factors = _thin_factors(target, frames[1:-1], depth)
    return factors if depth > 1 else [factors[0][None]]


def _chords(
    source: SingularFrames, target: SingularFrames, depth: int
) -> tuple[list[numpy.ndarray], list[numpy.ndarray]]:
    """Return balanced factors of the first points, and chords to those of the second ones."""
    batch, rank = source.sigma.shape
    eye = numpy.broadcast_to(numpy.eye(rank), (batch, rank, rank))
    factors = _thin_factors(source, [eye] * (depth - 1), depth)
    aligned = _aligned_factors(source, target, depth)
    return factors, [after - before for before, after in zip(factors, aligned, strict=True)]


def _nudged(frames: SingularFrames) -> SingularFrames:
    """Return frames turned a little, always in the same direction."""
    rows = frames.left.shape[-2]
    turn = numpy.random.default_rng(0).standard_normal((rows, rows))
    turn = _NUDGE * (turn - turn.T) / (2 * rows) ** 0.5
    return frames._replace(left=linalg.expm(turn) @ frames.left)


def _inverse_jacobian_of_chart(chart: ObservableChart, pairs: _Pairs) -> numpy.ndarray:
    """Return the inverse Jacobian of a short geodesic's end, a straight line in the chart."""
    columns = pairs.take((slice(None), None))
    rank = pairs.core_weight.shape[-1]
    flat = columns._replace(
        source_nulls=columns.target_nulls,
        core_weight=numpy.ones((rank, rank)),
        null_weight=numpy.ones(rank),
    )
    n = rank * (rank + sum(basis.shape[-1] for basis in pairs.source_nulls))
    ends = flat.tangent(numpy.eye(n)[None])
    tangents = chart.pull_back(ends, columns.source, columns.target)
    return transpose(columns.coordinates(tangents))


def _by_continuation(
    chart: ObservableChart,
    pairs: _Pairs,
    factors: list[numpy.ndarray],
    chord: list[numpy.ndarray],
    depth: float,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Follow the geodesics to points that move along chords of factors to the second ones."""
    rank = pairs.core_weight.shape[-1]
    u = pairs.coordinates(_velocity(pairs.source, factors, chord)) / _STAGES
    for stage in range(1, _STAGES + 1):
        moved = [w + stage / _STAGES * v for w, v in zip(factors, chord, strict=True)]
        here = _pairs(pairs.source, singular_frames(end_to_end(moved), rank), depth)
        inverse = _inverse_jacobian_of_chart(chart, here)
        u, defect = shoot(_miss(chart, here), u, inverse)
        # The geodesic goes on to where the next point is.
        u = u * (stage + 1) / stage if stage < _STAGES else u
    return u, defect


def _velocity(
    source: SingularFrames, factors: list[numpy.ndarray], chord: list[numpy.ndarray]
) -> Blocks:
    """Return the velocity of the end-to-end matrix along a chord, in blocks."""
    velocity = split(differential(factors, chord), source.left, source.right)
    return velocity._replace(both_null=None)


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
    rows, columns = x.shape[-2:]
    batch = numpy.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (
        numpy.broadcast_to(array, (*batch, rows, columns)).reshape(-1, rows, columns)
        for array in (x, y)
    )
    source, target = exact_frames(x, rank), exact_frames(y, rank)
    if rows == columns == rank:
        check_components(x, y)
    unit = source.sigma[:, :1]
    # A shortest geodesic stays in the common spans: reflections at them keep its ends.
    left, target_left, left_basis = restrict(source.left, target.left)
    right, target_right, right_basis = restrict(source.right, target.right)
    source = SingularFrames(left, source.sigma / unit, right)
    target = SingularFrames(target_left, target.sigma / unit, target_right)
    chart = chart_of(left.shape[-2], right.shape[-2], rank, depth)
    pairs = _pairs(source, target, depth)
    layers = int(min(depth, _DEEPEST))
    factors, chord = _chords(source, target, layers)
    starts = pairs.coordinates(_velocity(source, factors, chord))
    best = numpy.full(len(x), numpy.inf)
    residual = numpy.full(len(x), numpy.inf)
    velocity = numpy.full(starts.shape[1:], numpy.nan)

    def keep(tried: numpy.ndarray, u: numpy.ndarray, defect: numpy.ndarray) -> None:
        residual[tried] = numpy.minimum(residual[tried], defect)
        length = numpy.where(defect <= CONVERGED, norms(u), numpy.inf)
        is_shorter = length < best[tried]
        best[tried[is_shorter]] = length[is_shorter]
        velocity[tried[is_shorter]] = u[is_shorter]

    for count, start in enumerate(starts):
        # A guess that was tried before leads where it led.
        is_new = numpy.ones(len(x), dtype=bool)
        for other in starts[:count]:
            is_new &= norms(start - other) > 0.05 * norms(other)
        tried = numpy.flatnonzero(is_new)
        if len(tried):
            chosen = pairs.take(tried)
            inverse = _inverse_jacobian_of_chart(chart, chosen)
            keep(tried, *shoot(_miss(chart, chosen), start[tried], inverse))
    tried = numpy.flatnonzero(~numpy.isfinite(best))
    if len(tried) and depth > 1:
        chosen = pairs.take(tried)
        _, turned = _chords(chosen.source, _nudged(chosen.target), layers)
        inverse = _inverse_jacobian_of_chart(chart, chosen)
        for start in chosen.coordinates(
            _velocity(chosen.source, [w[tried] for w in factors], turned)
        ):
            keep(tried, *shoot(_miss(chart, chosen), start, inverse))
    for count in range(len(starts)):
        tried = numpy.flatnonzero(~numpy.isfinite(best))
        if len(tried):
            here, there = [w[tried] for w in factors], [v[count][tried] for v in chord]
            keep(tried, *_by_continuation(chart, pairs.take(tried), here, there, depth))
    is_found = numpy.isfinite(best)
    tangent = pairs.tangent(velocity)
    result = extend(join(tangent, source.left, source.right), left_basis, right_basis)
    result = unit[:, :, None] * result
    scale = 1.0 if depth == numpy.inf else unit[:, 0] ** (1 / depth)
    length = numpy.where(is_found, best * scale, numpy.nan)
    return Connection(
        from_numpy(result.reshape(*batch, rows, columns), matrix),
        from_numpy(length.reshape(batch), matrix),
        residual.reshape(batch),
        is_found.reshape(batch),
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
    matrix = real_array(matrix, "the matrix")
    check_observable(matrix, depth, rank)
    point = checked_matrix(point, *matrix.shape[-2:])
    matrix, point = matrix + 0 * point, point + 0 * matrix
    return _squared_dist(matrix, point, depth=depth, rank=rank)


def _squared_dist_value(matrix: Array, point: Array, depth: float, rank: int | None) -> Array:
    return dist(matrix, point, depth, rank) ** 2


def _gradients(arrays: tuple, depth: float, rank: int | None) -> tuple[Array, Array]:
    return _squared_dist_gradients(*arrays, depth=depth, rank=rank)


def _gradients_value(matrix: Array, point: Array, depth: float, rank: int | None) -> tuple:
    here, there = (
        flat(one, log(one, other, depth, rank), depth, rank)
        for one, other in ((matrix, point), (point, matrix))
    )
    return -2 * here, -2 * there


def _squared_dist_jvp(
    arrays: tuple, result: Array, tangents: tuple, depth: float, rank: int | None
) -> Array:
    gradients = _gradients(arrays, depth, rank)
    terms = [g * t for g, t in zip(gradients, tangents, strict=True)]
    return namespace(*terms).sum(terms[0] + terms[1], axis=(-2, -1))


def _squared_dist_vjp(
    arrays: tuple, result: Array, cotangent: Array, depth: float, rank: int | None
) -> tuple[Array, ...]:
    gradients = _gradients(arrays, depth, rank)
    return tuple(cotangent[..., None, None] * gradient for gradient in gradients)


_squared_dist_gradients = Primitive(_gradients_value, refuse, refuse)

_squared_dist = Primitive(_squared_dist_value, _squared_dist_jvp, _squared_dist_vjp)
