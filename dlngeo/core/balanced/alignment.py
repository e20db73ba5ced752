r"""Alignment of the orbits of two end-to-end matrices."""

import math
from collections.abc import Callable, Sequence

from dlngeo.core.base.arrays import Array, namespace, round_off, transpose
from dlngeo.core.base.scales import at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import Factors, layers_of, result_in_kind, vector_at
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames


def align(
    factors: Factors, base_factors: Factors, rank: int | None = None, max_sweeps: int = 10_000
) -> Factors:
    r"""Return the point of an orbit that is nearest to a base point in parameter space.

    .. math:: \min_R \sum_p \|R_p Λ R_{p-1}^T - B_p\|^2, \quad R_0 = Q_0, \; R_N = Q_N,

    over the frames ``R_p`` of the hidden layers, by sweeps of Procrustes steps,
    ``R_p = polar((B_p R_{p-1} + B_{p+1}ᵀ R_{p+1}) Λ)``, each the best one given its
    neighbours. The sweeps start from the frames of both points, and the nearer end is
    returned: a local minimum, at which ``A_p B_pᵀ + A_{p+1}ᵀ B_{p+1}`` is symmetric. The
    distance is the chordal one of parameter space, not the geodesic one.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors to align.
    base_factors : the same shapes
        Balanced factors ``B``.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.
    max_sweeps : int
        Bound on the number of sweeps.

    Returns
    -------
    aligned : like factors

    Raises
    ------
    ValueError
        If one of the points is not balanced of this rank.
    RuntimeError
        If frames still move by more than ``ε^{3/4}`` in the last sweep.

    References
    ----------
    THEORY 3.
    """
    layers = layers_of(factors)
    base = vector_at(layers, base_factors)
    # The frames are the same for all multiples.
    layers, base, exponent, _ = at_unit_scale(4, layers, base)
    source, target = balanced_frames(layers, rank), balanced_frames(base, rank)
    xp = namespace(*layers, *base)
    # One rotation of all frames of the base point brings its ends near those of the point.
    overlap = sum(transpose(target.frames[p]) @ source.frames[p] for p in (0, source.depth))
    rotation = polar_factor(target.lam[..., :, None] * overlap * source.lam[..., None, :])
    own = [near + 0 * far for near, far in zip(source.frames, target.frames, strict=True)]
    starts = (own, [own[0], *[frame @ rotation for frame in target.frames[1:-1]], own[-1]])
    lam, tolerance = source.lam[..., None, :], round_off(source.lam) ** 0.75

    def pull(p: int, before: Array, after: Array) -> Array:
        return (base[p - 1] @ before + transpose(base[p]) @ after) * lam

    ends = []
    for start in starts:
        frames, move = procrustes_sweeps(start, pull, tolerance, max_sweeps)
        if not move <= tolerance:
            raise RuntimeError(
                f"alignment has not converged after {max_sweeps} sweeps (last move {move:.1e}): "
                "allow more sweeps (max_sweeps); deep networks need many."
            )
        ends.append(Layers(BalancedFrames(tuple(frames), source.lam).layers))
    is_nearer = (ends[1].inner(base) > ends[0].inner(base))[..., None, None]
    nearer = ends[0].map(lambda a, b: xp.where(is_nearer, b, a), ends[1])
    return result_in_kind(nearer, factors, exponent)


def procrustes_sweeps(
    frames: Sequence[Array],
    pull: Callable[[int, Array, Array], Array],
    tolerance: float,
    max_sweeps: int,
) -> tuple[list[Array], float]:
    """Sweep over the hidden frames, each in turn the best one given its neighbours.

    Parameters
    ----------
    frames : sequence of array-like, shape=[..., d_p, r]
        Frames ``R_0, ..., R_N`` to start from, of which the two ends stay.
    pull : callable
        ``pull(p, before, after)`` with the neighbours of ``R_p``, shape=[..., d_p, r]: the best
        frame is its polar factor.
    tolerance : float
        Largest entry by which frames still move in the last sweep.
    max_sweeps : int

    Returns
    -------
    frames : list of array-like, shape=[..., d_p, r]
    move : float
        Largest entry by which they moved in the last sweep.
    """
    frames, move = list(frames), math.inf
    for _ in range(max_sweeps):
        move = 0.0
        for p in range(1, len(frames) - 1):
            frame = polar_factor(pull(p, frames[p - 1], frames[p + 1]))
            xp = namespace(frame)
            if 0 not in frame.shape:
                move = max(move, float(xp.max(xp.abs(frame - frames[p]))))
            frames[p] = frame
        if move <= tolerance:
            break
    return frames, move
