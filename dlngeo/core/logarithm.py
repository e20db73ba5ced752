r"""Logarithm and distance of the depth metric, by shooting.

First guesses come from the balanced factors of the two points: aligned within their orbit,
their difference is the velocity of a chord, which projects to the observable space. A
quasi-Newton method on the initial velocity does the rest, all pairs and all guesses in one
batch; of the geodesics that are found the shortest one is the answer.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.arrays import Array, from_numpy, to_numpy, transpose
from dlngeo.core.depth_root import DepthRootChart
from dlngeo.core.equations import polar_factor
from dlngeo.core.factors import checked_matrix
from dlngeo.core.frames import Blocks, SingularFrames, check_positive, frames_of_rank
from dlngeo.core.geodesics import TOLERANCE, Chart, chart_of, checked_problem
from dlngeo.core.integration import Status, integrate
from dlngeo.core.jacobi import depth_kernel, log_mean_kernel

CONVERGED = 1e-10
"""Largest distance of an accepted geodesic's end from the point, in the chart."""

_GOAL = 1e-12
_MOST_ITERATIONS = 40
_MOST_STEPS = 100
_SWEEPS = 30
# The first guess at infinite depth is that of a deep network.
_DEEP = 8


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

    def map(self, function) -> "_Pairs":
        """Apply a function to every array."""
        groups = (self.source, self.target, self.source_nulls, self.target_nulls)
        source, target, *nulls = [tuple(map(function, group)) for group in groups]
        weights = (function(self.core_weight), function(self.null_weight))
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
            part = u[..., start : start + size].reshape(*batch, -1, rank)
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


def _flattened(
    blocks: Blocks, nulls: tuple[numpy.ndarray, numpy.ndarray]
) -> numpy.ndarray:
    """Return the entries of blocks in bases of the null spaces as one vector."""
    parts = [blocks.core]
    if blocks.left_null is not None:
        parts.append(transpose(nulls[0]) @ blocks.left_null)
    if blocks.right_null is not None:
        parts.append(transpose(blocks.right_null @ nulls[1]))
    batch = blocks.core.shape[:-2]
    return numpy.concatenate([part.reshape(*batch, -1) for part in parts], axis=-1)


def _pairs(
    source: SingularFrames, target: SingularFrames, depth: float
) -> _Pairs:
    if depth == numpy.inf:
        weights = (log_mean_kernel(source.sigma, source.sigma), source.sigma**2)
    else:
        lam = source.sigma ** (1 / depth)
        weights = (depth_kernel(lam, lam, int(depth)), lam ** (2 * depth - 2))
    core_weight, null_weight = map(numpy.sqrt, weights)
    nulls = [
        (_null_basis(frames.left), _null_basis(frames.right)) for frames in (source, target)
    ]
    return _Pairs(source, target, core_weight, null_weight, *nulls)


def _null_basis(frame: numpy.ndarray) -> numpy.ndarray:
    rank = frame.shape[-1]
    if frame.shape[-2] == rank:
        return frame[..., :0]
    return numpy.linalg.qr(frame, mode="complete")[0][..., rank:]


def _miss(
    chart: Chart, pairs: _Pairs, u: numpy.ndarray, tolerance: numpy.ndarray
) -> numpy.ndarray:
    """Return where the geodesics end, as a displacement from the second points.

    Infinite where a geodesic does not arrive.
    """
    length = _norm(u)
    pace = numpy.where(length == 0, 1, length)
    start = chart.enter(pairs.source, pairs.tangent(u / pace[:, None]))
    trajectory = integrate(chart.velocity, start, length, tolerance, most_steps=_MOST_STEPS)
    ends = _flattened(chart.displacement(trajectory.state, pairs.target), pairs.target_nulls)
    return numpy.where((trajectory.status == Status.ARRIVED)[:, None], ends, numpy.inf)


def _norm(vectors: numpy.ndarray) -> numpy.ndarray:
    return numpy.sqrt(numpy.einsum("...i,...i->...", vectors, vectors))


def _first_guesses(source: SingularFrames, target: SingularFrames, depth: int) -> list[Blocks]:
    r"""Return velocities of chords between aligned balanced factors.

    In the frames of the first point its factors are ``Λ``, and those of the second one
    ``R_p Λ_1 R_{p-1}ᵀ`` with given ends ``R_0, R_N`` and free hidden frames ``R_p``. Sweeps
    of Procrustes steps start from the frames of either end and from a path between them.
    """
    lam, lam_target = source.sigma ** (1 / depth), target.sigma ** (1 / depth)
    first, last = transpose(source.right) @ target.right, transpose(source.left) @ target.left
    ends = polar_factor(first), polar_factor(last)
    rank = lam.shape[-1]
    mixtures = [(1.0,) * depth, (0.0,) * depth, [1 - p / depth for p in range(depth)]]
    guesses = []
    for shares in mixtures[: 1 if depth <= 2 else 3]:
        hidden = [polar_factor(s * ends[0] + (1 - s) * ends[1]) for s in shares[1:]]
        frames = [first, *hidden, last]
        for _ in range(1 if depth == 2 else _SWEEPS):
            moved = 0.0
            for p in range(1, depth):
                pull = frames[p - 1] + frames[p + 1]
                frame = polar_factor(lam[..., :, None] * pull * lam_target[..., None, :])
                moved = max(moved, float(abs(frame - frames[p]).max(initial=0)))
                frames[p] = frame
            if moved < 1e-3:
                break
        core: numpy.ndarray | float = 0.0
        for p in range(1, depth + 1):
            factor = frames[p] * lam_target[..., None, :] @ transpose(frames[p - 1])
            chord = factor - lam[..., :, None] * numpy.eye(rank)
            core = core + lam[..., :, None] ** (depth - p) * chord * lam[..., None, :] ** (p - 1)
        weight = lam_target[..., :, None] * transpose(frames[depth - 1])
        weight = weight * (lam ** (depth - 1))[..., None, :]
        left_null = (target.left - source.left @ last) @ weight
        weight = lam_target[..., :, None] * transpose(frames[1])
        weight = weight * (lam ** (depth - 1))[..., None, :]
        right_null = transpose((target.right - source.right @ first) @ weight)
        guesses.append(
            Blocks(
                core,
                left_null if left_null.shape[-2] > rank else None,
                right_null if right_null.shape[-1] > rank else None,
            )
        )
    return guesses


def _jacobian_of_chart(chart: Chart, pairs: _Pairs, dimension: int) -> numpy.ndarray:
    """Return the inverse Jacobian of a short geodesic's end, a straight line in the chart."""
    columns = pairs.map(lambda array: array[:, None])
    rank = pairs.core_weight.shape[-1]
    basis = numpy.eye(dimension)[None]
    ends = columns._replace(source=columns.target, source_nulls=columns.target_nulls)
    ends = ends._replace(
        core_weight=numpy.ones((rank, rank)), null_weight=numpy.ones(rank)
    )
    tangents = chart.pull_back(ends.tangent(basis), columns.source, columns.target)
    return transpose(columns.coordinates(tangents))


def _jacobian_by_differences(
    chart: Chart, pairs: _Pairs, u: numpy.ndarray, miss: numpy.ndarray, tolerance: numpy.ndarray
) -> numpy.ndarray:
    """Return the inverse Jacobian of the ends by the initial velocities."""
    size, dimension = u.shape
    step = 1e-6 * numpy.maximum(1e-2, _norm(u))[:, None, None]
    moved = (u[:, None, :] + step * numpy.eye(dimension)).reshape(-1, dimension)
    every = pairs.map(lambda array: numpy.repeat(array, dimension, axis=0))
    ends = _miss(chart, every, moved, numpy.repeat(tolerance, dimension))
    jacobian = transpose((ends.reshape(size, dimension, dimension) - miss[:, None, :]) / step)
    jacobian = numpy.where(numpy.isfinite(jacobian), jacobian, 0.0)
    return numpy.linalg.pinv(jacobian, rcond=1e-13)


def _solve(
    chart: Chart, pairs: _Pairs, u: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the initial velocities of geodesics to the second points, and what they miss.

    Broyden's method. The first Jacobian is that of the chart; where it does not contract,
    one by differences takes its place, and where that does not, the step is shortened.
    """
    size, dimension = u.shape
    u = u.copy()
    tolerance = numpy.full(size, 1e-8)
    miss = _miss(chart, pairs, u, tolerance)
    for _ in range(12):  # a guess that runs into the boundary is shortened
        lost = numpy.flatnonzero(~numpy.isfinite(miss).all(axis=1))
        if not len(lost):
            break
        u[lost] *= 0.7
        miss[lost] = _miss(chart, pairs.map(lambda a: a[lost]), u[lost], tolerance[lost])
    defect = _norm(miss)
    inverse = _jacobian_of_chart(chart, pairs, dimension)
    is_exact = numpy.zeros(size, dtype=bool)
    share = numpy.ones(size)
    for _ in range(_MOST_ITERATIONS):
        active = numpy.flatnonzero((defect > _GOAL) & numpy.isfinite(defect) & (share > 1e-4))
        if not len(active):
            break
        chosen = pairs.map(lambda a: a[active])
        step = -share[active, None] * (inverse[active] @ miss[active, :, None])[..., 0]
        # A long step leaves the range of the linear model.
        bound = 0.5 * _norm(u[active]) + 1e-3 * (_norm(u[active]) == 0) + defect[active]
        step *= numpy.minimum(1, bound / numpy.maximum(_norm(step), 1e-300))[:, None]
        tolerance = numpy.clip(1e-5 * defect[active], TOLERANCE, 1e-8)
        new = _miss(chart, chosen, u[active] + step, tolerance)
        new_defect = _norm(new)
        is_better = new_defect < defect[active]
        is_good = new_defect < 0.3 * defect[active]
        change = numpy.where(is_better[:, None], new - miss[active], 0.0)
        image = (inverse[active] @ change[..., None])[..., 0]
        bottom = numpy.einsum("bi,bi->b", step, image)
        safe = numpy.where(is_better & (abs(bottom) > 1e-300), bottom, numpy.inf)
        row = numpy.einsum("bi,bij->bj", step, inverse[active])
        inverse[active] += (step - image)[:, :, None] * (row / safe[:, None])[:, None, :]
        u[active] += numpy.where(is_better[:, None], step, 0.0)
        miss[active] = numpy.where(is_better[:, None], new, miss[active])
        defect[active] = numpy.where(is_better, new_defect, defect[active])
        # Round-off: no better, but as good as can be.
        is_round_off = ~is_better & (defect[active] < CONVERGED / 10)
        share[active] = numpy.where(
            is_round_off, 0.0, numpy.where(is_better, 1.0, numpy.where(
                is_exact[active], share[active] / 3, share[active]))
        )
        is_exact[active[is_better]] = False
        stale = active[~is_good & ~is_exact[active] & (share[active] > 0)]
        if len(stale):
            chosen = pairs.map(lambda a: a[stale])
            tolerance = numpy.clip(1e-5 * defect[stale], TOLERANCE, 1e-10)
            miss[stale] = _miss(chart, chosen, u[stale], tolerance)
            defect[stale] = _norm(miss[stale])
            inverse[stale] = _jacobian_by_differences(
                chart, chosen, u[stale], miss[stale], tolerance
            )
            is_exact[stale] = True
    return u, defect


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
    source, target = frames_of_rank(x, rank), frames_of_rank(y, rank)
    for frames in (source, target):
        check_positive(frames.sigma, rank)
    if rows == columns == rank:
        _check_components(x, y)
    unit = source.sigma[:, :1]
    source = source._replace(sigma=source.sigma / unit)
    target = target._replace(sigma=target.sigma / unit)
    chart = chart_of(rows, columns, rank, depth)
    pairs = _pairs(source, target, depth)
    guesses = _first_guesses(source, target, _DEEP if depth == numpy.inf else int(depth))
    starts = [pairs.coordinates(guess) for guess in guesses]
    best = numpy.full(len(x), numpy.inf)
    velocity = numpy.full((len(x), starts[0].shape[-1]), numpy.nan)
    residual = numpy.full(len(x), numpy.inf)
    for count, start in enumerate(starts):
        # A guess that was tried before leads where it led.
        is_new = numpy.ones(len(x), dtype=bool)
        for other in starts[:count]:
            is_new &= _norm(start - other) > 0.05 * _norm(other)
        tried = numpy.flatnonzero(is_new)
        if not len(tried):
            continue
        u, defect = _solve(chart, pairs.map(lambda a, k=tried: a[k]), start[tried])
        length = numpy.where(defect <= CONVERGED, _norm(u), numpy.inf)
        residual[tried] = numpy.minimum(residual[tried], defect)
        is_shorter = length < best[tried]
        best[tried[is_shorter]] = length[is_shorter]
        velocity[tried[is_shorter]] = u[is_shorter]
    is_found = numpy.isfinite(best)
    tangent = pairs.tangent(velocity)
    from dlngeo.core.frames import join

    result = unit[:, :, None] * join(tangent, source.left, source.right)
    scale = 1.0 if depth == numpy.inf else unit[:, 0] ** (1 / depth)
    length = numpy.where(is_found, best * scale, numpy.nan)
    return Connection(
        from_numpy(result.reshape(*batch, rows, columns), matrix),
        from_numpy(length.reshape(batch), matrix),
        residual.reshape(batch),
        is_found.reshape(batch),
    )


def _check_components(x: numpy.ndarray, y: numpy.ndarray) -> None:
    """Raise a ValueError if determinants have opposite signs."""
    apart = numpy.linalg.slogdet(x)[0] != numpy.linalg.slogdet(y)[0]
    if apart.any():
        raise ValueError(
            "no geodesic joins square matrices of full rank whose determinants have opposite "
            f"signs: that is so for {int(apart.sum())} of {len(x)} pairs."
        )


def _found(connection: Connection) -> Connection:
    missing = int((~connection.is_found).sum())
    if missing:
        raise RuntimeError(
            f"no geodesic was found for {missing} of {connection.is_found.size} pairs: connect() "
            "tells which; join them through a point in between."
        )
    return connection


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
    return _found(connect(matrix, point, depth, rank)).velocity


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
    return _found(connect(matrix, point, depth, rank)).length
