r"""Logarithm of the metric of relaxed balanced networks, by shooting.

The first guess is the chord between factors of the two points, those of the second turned to be
near those of the first; where it does not lead to the second point, geodesics to points on the
chord are followed there. What is found is a geodesic, of which nothing says that it is the
shortest one.
"""

from collections.abc import Sequence

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, transpose
from dlngeo.core.geodesics.charts import check_components
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.core.numerics.shooting import CONVERGED, shoot
from dlngeo.core.relaxed.geodesics import checked_host, geodesic
from dlngeo.core.relaxed.metric import completed, relaxed_layers
from dlngeo.core.relaxed.strings import RelaxedNetwork

_SWEEPS = 30
_STAGES = 12
_MOST_STEPS = 100


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
    x, y = numpy.broadcast_arrays(*checked_host(network, matrix, point))
    shape = x.shape
    x, y = x.reshape(-1, *shape[-2:]), y.reshape(-1, *shape[-2:])
    if x.shape[-2] == x.shape[-1] == network.rank and not network.is_complete:
        check_components(x, y)
    unit = numpy.linalg.norm(x, 2, axis=(-2, -1))[:, None, None]
    unit = numpy.where(unit == 0, 1, unit)
    source = _tangent_basis(x, network.rank)
    layers = relaxed_layers(x, network)
    chord = [
        one - other
        for one, other in zip(_turned(relaxed_layers(y, network), layers), layers, strict=True)
    ]
    start = numpy.einsum("bmn,bimn->bi", differential(layers, chord) / unit, source)

    def shot(index: numpy.ndarray, u: numpy.ndarray, end: numpy.ndarray) -> tuple:
        target = _tangent_basis(end, network.rank)

        def miss(chosen: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray) -> Array:
            here = index[chosen]
            velocity = unit[here] * numpy.einsum("bi,bimn->bmn", u, source[here])
            ends = geodesic(x[here], velocity, network).at(1.0, tolerance / 10, _MOST_STEPS)
            gap = (ends.point - end[chosen]) / unit[here]
            return numpy.einsum("bmn,bimn->bi", gap, target[chosen])

        return shoot(miss, u, numpy.einsum("bimn,bjmn->bij", source[index], target))

    velocity, defect = shot(numpy.arange(len(x)), start, y)
    lost = numpy.flatnonzero(~(defect <= CONVERGED))
    if len(lost):
        u = start[lost] / _STAGES
        for stage in range(1, _STAGES + 1):
            moved = [
                w[lost] + stage / _STAGES * v[lost] for w, v in zip(layers, chord, strict=True)
            ]
            u, defect = shot(lost, u, end_to_end(moved))
            if not (defect <= CONVERGED).any():
                break
            # The geodesic goes on to where the next point is.
            u = u * (stage + 1) / stage if stage < _STAGES else u
        velocity[lost] = u
        missing = int((~(defect <= CONVERGED)).sum())
        if missing:
            raise RuntimeError(
                f"no geodesic was found for {missing} of {len(x)} pairs: join them through a "
                "point in between."
            )
    velocity = unit * numpy.einsum("bi,bimn->bmn", velocity, source)
    return from_numpy(velocity.reshape(shape), matrix)


def _turned(layers: Sequence[Array], base: Sequence[Array]) -> list[Array]:
    """Return factors in the same orbit of rotations, near other ones: by Procrustes steps."""
    rotations = [numpy.eye(layers[0].shape[-1]), *[numpy.eye(w.shape[-2]) for w in layers]]
    for p in range(1, len(layers)):
        rotations[p] = polar_factor(base[p - 1] @ rotations[p - 1] @ transpose(layers[p - 1]))
    for _ in range(_SWEEPS):
        for p in range(1, len(layers)):
            pull = base[p - 1] @ rotations[p - 1] @ transpose(layers[p - 1])
            pull = pull + transpose(base[p]) @ rotations[p + 1] @ layers[p]
            rotations[p] = polar_factor(pull)
    return [
        after @ layer @ transpose(before)
        for before, layer, after in zip(rotations[:-1], layers, rotations[1:], strict=True)
    ]


def _tangent_basis(matrix: numpy.ndarray, rank: int) -> numpy.ndarray:
    """Return orthonormal bases of tangent spaces of matrices of a rank, shape=[b, i, m, n]."""
    rows, columns = matrix.shape[-2:]
    if rank == min(rows, columns):
        basis = numpy.eye(rows * columns).reshape(-1, rows, columns)
        return numpy.broadcast_to(basis, (len(matrix), *basis.shape))
    frames = exact_frames(matrix, rank)
    left, right = completed(frames.left), completed(frames.right)
    tangent = [(k, l) for k in range(rows) for l in range(columns) if min(k, l) < rank]
    return numpy.stack([left[..., k, None] * right[..., None, :, l] for k, l in tangent], axis=1)
