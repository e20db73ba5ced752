r"""Lower bounds of the distance of the depth metric.

Each is the length of the image of a path under a map that does not lengthen; the largest counts.

- **Singular values**: ``‖f - f'‖`` with the flat coordinates ``f = √N σ^{1/N}``, or ``log σ``.
- **Layers**: a path lifts to balanced factors ``W_p = Q_p Λ Q_{p-1}^T``, each of which moves at
  least from the orbit of rotations of its start to that of its end: ``W_1`` and ``W_N`` by the
  distance of Bures and Wasserstein of ``(X^TX)^{1/N}`` and of ``(XX^T)^{1/N}``, the others by
  ``‖λ - λ'‖``. At depth two both turn together.
- **Cone**: scaling makes the metric a cone, ``g = dρ² + ρ² h/N``, ``ρ = ‖f‖``, and
  ``h ≥ dω²/N`` with the angle ``ω`` of depth-root coordinates, hence
  ``d² ≥ ρ² + ρ'² - 2 ρ ρ' \cos(ω/N)``.
- **Rank one** is a cone over two spheres, and its distance known, see
  `dlngeo.core.geodesics.search.turns`.
- **Infinite depth**: ``d² ≥ ‖\log σ - \log σ'‖² + d_{SO}(U V^T, U'V'^T)²``.

References
----------
Own derivation; THEORY 3.
"""

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.depth_metric.weights import flat_values
from dlngeo.core.geodesics.search.matchings import cones
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.rotations import rotation_log

CERTAIN = 1e-9
"""Part by which the length of a shortest path may exceed its lower bound, for round-off."""


def lower_bound(source: SingularFrames, target: SingularFrames, depth: float) -> numpy.ndarray:
    """Return a number that no path between matrices is shorter than, shape=[b].

    Parameters
    ----------
    source, target : SingularFrames
        Matrices of a rank, shape=[b, ...]; of determinants of equal signs, where they have some.
    depth : int or inf
    """
    before, after = (flat_values(frames.sigma, depth) for frames in (source, target))
    by_values = ((before - after) ** 2).sum(axis=-1)
    if depth == numpy.inf:
        here, there = (frames.left @ transpose(frames.right) for frames in (source, target))
        turn = rotation_log(transpose(here) @ there)
        return numpy.sqrt(by_values + (turn**2).sum(axis=(-2, -1)))
    rank = source.sigma.shape[-1]
    if rank == 1:
        return numpy.sqrt(_rank_one(source, target, depth))
    roots = [frames.with_values(values) for frames, values in ((source, before), (target, after))]
    if depth == 1:
        by_layers = ((roots[0] - roots[1]) ** 2).sum(axis=(-2, -1))
    else:
        # The transposes of W_1, and W_N, of both matrices.
        ends = [
            (here * before[..., None, :], there * after[..., None, :])
            for here, there in ((source.right, target.right), (source.left, target.left))
        ]
        groups = [ends] if depth == 2 else [[end] for end in ends]
        by_layers = sum(map(_between_orbits, groups)) / depth + (1 - 2 / depth) * by_values
    radii = [numpy.linalg.norm(root, axis=(-2, -1)) for root in roots]
    directions = [root / radius[:, None, None] for root, radius in zip(roots, radii, strict=True)]
    chord = numpy.linalg.norm(directions[0] - directions[1], axis=(-2, -1))
    angle = 2 * numpy.arcsin(numpy.minimum(chord / 2, 1)) / depth
    by_cone = (radii[0] - radii[1]) ** 2 + 4 * radii[0] * radii[1] * numpy.sin(angle / 2) ** 2
    return numpy.sqrt(numpy.maximum(numpy.maximum(by_values, by_layers), by_cone))


def _between_orbits(pairs: list[tuple[numpy.ndarray, numpy.ndarray]]) -> numpy.ndarray:
    """Return the least ``Σ ‖A - B R‖²`` over rotations ``R``, of matrices ``[b, m, r]``."""
    rotation = polar_factor(sum(transpose(there) @ here for here, there in pairs))
    return sum(((here - there @ rotation) ** 2).sum(axis=(-2, -1)) for here, there in pairs)


def _rank_one(source: SingularFrames, target: SingularFrames, depth: float) -> numpy.ndarray:
    """Return squared distances of matrices of rank one."""
    squares = cones(source, target, depth)[..., 0, 0]
    for here, there in ((source.left, target.left), (source.right, target.right)):
        if here.shape[-2] == 1:
            # There is no way from one side of a line to the other.
            is_same = here[..., 0, 0] * there[..., 0, 0] > 0
            squares = numpy.where([is_same, ~is_same], squares, numpy.inf)
    return squares.min(axis=0)
