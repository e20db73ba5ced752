r"""Alignment of the orbits of two end-to-end matrices."""

from collections.abc import Sequence
from itertools import pairwise

from dlngeo.core.base.arrays import Array, namespace, round_off, transpose
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import Factors, check_same_shapes, in_kind, layers_of
from dlngeo.core.networks.frames import balanced_frames


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
    layers, base = layers_of(factors), layers_of(base_factors)
    check_same_shapes(layers, base)
    source, target = balanced_frames(layers, rank), balanced_frames(base, rank)
    xp = namespace(*layers, *base)
    # One rotation of all frames of the base point brings its ends near those of the point.
    overlap = sum(transpose(target.frames[p]) @ source.frames[p] for p in (0, source.depth))
    rotation = polar_factor(target.lam[..., :, None] * overlap * source.lam[..., None, :])
    ends = source.frames[0] + 0 * target.frames[0], source.frames[-1] + 0 * target.frames[-1]
    starts = (
        [near + 0 * far for near, far in zip(source.frames, target.frames, strict=True)],
        [ends[0], *[frame @ rotation for frame in target.frames[1:-1]], ends[1]],
    )
    settled = [_settle(list(start), source.lam, base, max_sweeps) for start in starts]
    overlaps = [_overlap(layers, base) for layers in settled]
    nearer = (overlaps[1] > overlaps[0])[..., None, None]
    return in_kind([xp.where(nearer, b, a) for a, b in zip(*settled, strict=True)], factors)


def _settle(frames: list[Array], lam: Array, base: Sequence[Array], max_sweeps: int) -> list[Array]:
    """Sweep Procrustes steps over the hidden frames until none moves."""
    xp = namespace(*frames, *base)
    tolerance = round_off(lam) ** 0.75
    for _ in range(max_sweeps):
        moved = 0.0
        for p in range(1, len(base)):
            pull = base[p - 1] @ frames[p - 1] + transpose(base[p]) @ frames[p + 1]
            frame = polar_factor(pull * lam[..., None, :])
            if 0 not in frame.shape:
                moved = max(moved, float(xp.max(xp.abs(frame - frames[p]))))
            frames[p] = frame
        if moved <= tolerance:
            return [
                after * lam[..., None, :] @ transpose(before) for before, after in pairwise(frames)
            ]
    raise RuntimeError(
        f"alignment has not converged after {max_sweeps} sweeps (last move {moved:.1e}): "
        "allow more sweeps (max_sweeps); deep networks need many."
    )


def _overlap(layers: Sequence[Array], base: Sequence[Array]) -> Array:
    xp = namespace(*layers, *base)
    return sum(xp.sum(a * b, axis=(-2, -1)) for a, b in zip(layers, base, strict=True))
