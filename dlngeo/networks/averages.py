r"""Mean and principal directions of networks, modulo rotations of their hidden layers.

The mean is that of end-to-end matrices in the depth metric, by geomstats. A velocity there has the
length of its horizontal lift to parameter space, where principal directions are the usual ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import geomstats.backend as gs
import numpy
from geomstats.learning.frechet_mean import FrechetMean
from sklearn.decomposition import PCA

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import host_array
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.depth_metric.submersion import horizontal_lift
from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.logarithm import log
from dlngeo.core.networks.factors import Factors
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices
from dlngeo.networks.comparison import comparable, output_bias_of
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.outcomes import Printed

_PRECISION = 1e-8
"""Of means, relative to the size of the factors."""

_MOST_STEPS = 500


def mean(
    networks: Sequence[Factors], *, rank: int | None = None, balance: bool = False
) -> LinearNetwork:
    """Return the Fréchet mean of balanced networks, modulo rotations of their hidden layers.

    It minimises the sum of the squared distances of the depth metric, at least among the networks
    around it; the bias is the mean of the biases.

    Parameters
    ----------
    networks : sequence of LinearNetwork or factors
        Of one depth and rank, from as many inputs to as many outputs.
    rank, balance
        As in `distance`.

    Returns
    -------
    mean : LinearNetwork
        Balanced, with hidden layers as wide as those of the first network, and turned as it is.

    Raises
    ------
    ValueError, RuntimeError
        As in `distance`; or if the iteration does not converge, as where networks are far apart.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import mean
    >>> float(round(mean([np.full((2, 1, 1), 1.0), np.full((2, 1, 1), 3.0)]).matrix[0, 0], 6))
    4.0

    References
    ----------
    THEORY 3.
    """
    read, rank = comparable(networks, rank, balance)
    return _mean(read, rank)


def _mean(networks: Sequence[LinearNetwork], rank: int) -> LinearNetwork:
    first = networks[0]
    matrices = numpy.stack([network.matrix for network in networks])
    centre = _mean_matrix(matrices, first.depth, rank)
    velocity = log(first.matrix, centre, first.depth, rank)
    factors = balanced_exp(first.factors, horizontal_lift(first.factors, velocity, rank), rank)
    bias = numpy.mean([output_bias_of(network) for network in networks], axis=0)
    return LinearNetwork(factors, [None] * (first.depth - 1) + [bias if bias.any() else None])


def _mean_matrix(matrices: Array, depth: int, rank: int) -> Array:
    rows, columns = matrices.shape[1:]
    determinant = None
    if rows == columns == rank:
        determinant = "positive" if numpy.linalg.det(matrices[0]) > 0 else "negative"
    space = FixedRankMatrices(rows, columns, rank, equip=False, determinant=determinant)
    space.equip_with_metric(DepthMetric, depth=depth)
    size = numpy.linalg.norm(matrices, 2, axis=(1, 2)).max() ** (1 / depth)
    points = gs.array(matrices)
    epsilon = (_PRECISION * size) ** 2 / space.dim
    estimator = FrechetMean(space).set(max_iter=_MOST_STEPS, epsilon=epsilon)
    centre = estimator.fit(points).estimate_
    slope = gs.mean(space.metric.log(points, centre), axis=0)
    if not float(space.metric.squared_norm(slope, centre)) <= 2 * (_PRECISION * size) ** 2:
        raise RuntimeError(
            f"the mean has not converged after {_MOST_STEPS} steps: networks are far apart; take "
            "the mean of fewer."
        )
    return to_numpy(centre)


@dataclass(frozen=True, eq=False)
class PrincipalDirections(Printed):
    """Directions in which networks differ the most from their mean.

    Attributes
    ----------
    mean : LinearNetwork
    directions : tuple of array, shape=[k, d_p, d_{p-1}]
        Orthonormal velocities at the factors of the mean, horizontal; the one along which the
        variance is largest first.
    variances : array, shape=[k]
        Along them, of ``n - 1`` degrees of freedom.
    ratios : array, shape=[k]
        Their parts of the whole variance.
    coordinates : array, shape=[n, k]
        Of the networks along the directions.
    """

    mean: LinearNetwork
    directions: tuple[Array, ...]
    variances: Array
    ratios: Array
    coordinates: Array

    def network(self, coordinates: Array) -> LinearNetwork:
        """Return the network at coordinates, shape=[k], on the geodesic from the mean.

        Raises
        ------
        ValueError
            If there are other numbers than directions, or the geodesic ends before.
        """
        values = host_array(coordinates, "the coordinates")
        if values.shape != self.variances.shape:
            raise ValueError(
                f"expected a coordinate for each of {len(self.variances)} directions, got shape "
                f"{values.shape}."
            )
        velocity = tuple(numpy.tensordot(values, v, axes=1) for v in self.directions)
        rank = self.mean.rank
        return LinearNetwork(balanced_exp(self.mean.factors, velocity, rank), self.mean.biases)


def principal_directions(
    networks: Sequence[Factors],
    n_components: int | None = None,
    *,
    rank: int | None = None,
    balance: bool = False,
) -> PrincipalDirections:
    r"""Return the principal directions of balanced networks at their mean.

    They are those of the velocities of the geodesics from the mean to the networks, in the depth
    metric. The biases do not count.

    Parameters
    ----------
    networks : sequence of LinearNetwork or factors
        Two or more, as in `mean`.
    n_components : int, optional
        How many directions; as many as there may be by default.
    rank, balance
        As in `distance`.

    Returns
    -------
    directions : PrincipalDirections

    Raises
    ------
    ValueError, RuntimeError
        As in `mean`; or if there are fewer networks than two, or directions than asked for.

    References
    ----------
    P. T. Fletcher et al., *Principal geodesic analysis*, 2004.
    """
    read, rank = comparable(networks, rank, balance)
    centre = _mean(read, rank)
    matrices = numpy.stack([network.matrix for network in read])
    velocities = log(centre.matrix, matrices, centre.depth, rank)
    lifts = horizontal_lift(centre.factors, velocities, rank)
    most = min(len(read) - 1, rank * (sum(centre.matrix.shape) - rank))
    n_components = most if n_components is None else n_components
    if not 1 <= n_components <= most:
        raise ValueError(
            f"expected 1 to {most} directions of {len(read)} networks, got {n_components}."
        )
    estimator = PCA(n_components, svd_solver="full")
    coordinates = estimator.fit_transform(pack(lifts))
    return PrincipalDirections(
        centre,
        unpack(estimator.components_, [w.shape for w in centre.factors]),
        estimator.explained_variance_,
        estimator.explained_variance_ratio_,
        coordinates,
    )
