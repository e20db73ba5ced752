"""The fibre of a network over an end-to-end matrix, as a geomstats manifold."""

from collections.abc import Sequence
from typing import Any

import geomstats.backend as gs
from geomstats.vectorization import get_batch_shape

from dlngeo.core.base.arrays import Array, round_off, transpose
from dlngeo.core.base.checks import in_batch, real_array
from dlngeo.core.fibres import fibre as core
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import check_widths, widths_of
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.networks.network import act, end_to_end
from dlngeo.manifolds.geomstats.checks import is_small
from dlngeo.manifolds.geomstats.door import check_library
from dlngeo.manifolds.geomstats.embedded import gaussian
from dlngeo.manifolds.geomstats.factor_space import FactorSpace, FrobeniusMetric
from dlngeo.manifolds.geomstats.homogeneous_norm import HomogeneousNorm


class Fibre(FactorSpace):
    r"""Fibre of a deep linear network: all the factors of one matrix, balanced or not.

    Factors ``W_p`` of shapes ``(d_p, d_{p-1})``, ``p = 1, ..., N``, with

    .. math:: W_N \cdots W_1 = X, \quad \mathrm{rank}(X) = \min_p d_p.

    It is a closed manifold, of dimension ``Σ_p d_p d_{p-1} - r (d_0 + d_N - r)``; over a matrix
    of lower rank it would be singular. A point is an array ``(N, d, d)`` or a flat vector, as
    of the `BalancedManifold`; `to_factors` and `from_factors` translate.

    Parameters
    ----------
    matrix : array-like, shape=[d_N, d_0]
        End-to-end matrix ``X``.
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.
    equip : bool
        If True, equip with the `FibreMetric`.

    Raises
    ------
    ValueError
        If the matrix does not fit the widths, or has a lower rank than the smallest one, or
        the depth is one.

    References
    ----------
    [LM25]; THEORY 5.
    """

    def __init__(self, matrix: Array, widths: Sequence[int], equip: bool = True):
        widths, self.rank = check_widths(widths)
        matrix = real_array(matrix, "the matrix")
        check_library(matrix, "the matrix")
        if tuple(matrix.shape) != (widths[-1], widths[0]):
            raise ValueError(
                f"the widths {widths} need one matrix of shape ({widths[-1]}, {widths[0]}), got "
                f"{tuple(matrix.shape)}."
            )
        if len(widths) == 2:
            raise ValueError(
                f"the fibre of a network of depth 1 is a single point: give hidden widths too, got "
                f"{widths}."
            )
        sigma = gs.linalg.svd(matrix, compute_uv=False)
        if not sigma[self.rank - 1] > round_off(sigma) * sigma[0]:
            raise ValueError(
                f"the fibre over a matrix of rank below the smallest width {self.rank} is singular "
                "and no manifold: take a matrix of full rank or smaller widths. The projections of "
                "dlngeo.core.fibres.fibre are defined at every point, and the orbit of a point by "
                "dlngeo.core.networks.network.act."
            )
        self.matrix = matrix
        super().__init__(widths, core.fibre_dimension(widths), equip)

    @classmethod
    def through(cls, factors: Any, equip: bool = True) -> "Fibre":
        """Return the fibre through factors.

        Parameters
        ----------
        factors : array-like, shape=[N, d, d], or sequence of shape=[d_p, d_{p-1}]
        equip : bool
            If True, equip with the `FibreMetric`.

        Returns
        -------
        fibre : Fibre

        Raises
        ------
        ValueError
            If the end-to-end matrix has a lower rank than the smallest width.
        """
        return cls(end_to_end(factors), widths_of(factors), equip=equip)

    @staticmethod
    def default_metric() -> type["FibreMetric"]:
        return FibreMetric

    def _fulfils(self, point: Array, atol: float) -> Array:
        defect = end_to_end(self.to_factors(point)) - self.matrix
        return is_small(defect, self.matrix, atol, 2)

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a velocity of the factors orthogonally on ``ker dφ`` (THEORY 5)."""
        return self.apply(core.tangent_projection, base_point, vector)

    def to_normal(self, vector: Array, base_point: Array) -> Array:
        """Project a velocity of the factors orthogonally on ``range dφ*`` (THEORY 5).

        Parameters
        ----------
        vector : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        normal_vec : array-like, shape=[..., *point_shape]
        """
        return self.apply(core.normal_projection, base_point, vector)

    def projection(self, point: Array) -> Array:
        """Move factors near the fibre to it by Newton's method, in steps of least norm.

        Raises
        ------
        ValueError
            If the steps do not converge.

        References
        ----------
        See `dlngeo.core.fibres.fibre.project_to_fibre`.
        """
        moved = self.apply(lambda factors: core.project_to_fibre(factors, self.matrix), point)
        is_reached = self._fulfils(moved, round_off(moved) ** 0.5)
        if not gs.all(is_reached):
            raise ValueError(
                f"Newton's method did not reach the fibre{in_batch(~is_reached)}: start nearer to "
                "it (random_point)."
            )
        return moved

    def regularize(self, point: Array) -> Array:
        """Correct the round-off of factors in the fibre, as `projection` does."""
        return self.projection(point)

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Move balanced factors by random elements of the general linear groups.

        Gaussian matrices between the null spaces of the layers, which ``X`` does not see, are
        added before: without them the points would all be in the orbit of the balanced ones.
        ``bound`` is that on the logarithms of the singular values of the group elements.
        """
        batch_shape = () if n_samples == 1 else (n_samples,)
        frames = exact_frames(self.matrix, self.rank)
        layers = []
        ends = {0: frames.right, self.depth: frames.left}
        for p, layer in enumerate(factors_over(frames, self.widths), start=1):
            noise = gaussian(n_samples, *layer.shape)
            for side, width in ((p, layer.shape[0]), (p - 1, layer.shape[1])):
                frame = ends.get(side, gs.eye(width, self.rank))
                null = gs.eye(width) - frame @ transpose(frame)
                noise = null @ noise if side == p else noise @ null
            layers.append(layer + noise)
        elements = []
        for width in self.widths[1:-1]:
            left, right = (polar_factor(gaussian(n_samples, width, width)) for _ in range(2))
            logarithms = bound * (2 * gs.random.rand(*batch_shape, width) - 1)
            elements.append((left * gs.exp(logarithms)[..., None, :]) @ right)
        return self.from_factors(act(elements, tuple(layers)))


class FibreMetric(FrobeniusMetric):
    """Metric that a fibre inherits from parameter space.

    In it the gradient of ``½‖W‖²`` gives the balancing flow of uniform rate.

    Parameters
    ----------
    space : Fibre

    References
    ----------
    [LM25]; THEORY 5.
    """


class GroupMetric(HomogeneousNorm):
    r"""Group metric on a fibre, ``⟨ξ_a(W), ξ_{a'}(W)⟩ = Σ_p tr(a_pᵀ a'_p)``.

    With the elements ``a, a'`` of least norm, symmetric and skew parts alike. It is defined
    on velocities along the orbit of the general linear groups: on all tangent vectors where the
    orbit is open in the fibre, as it always is unless two neighbouring layers, the ends included,
    are both wider than the rank. In it the gradient of ``½‖W‖²`` gives the flow of the squared
    moment map.

    Parameters
    ----------
    space : Fibre

    References
    ----------
    [LM25]; THEORY 5; see `dlngeo.core.fibres.fibre`.
    """

    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        """Return the inner product of two tangent vectors.

        Raises
        ------
        ValueError
            If a vector is not tangent to the orbit.
        """
        space = self._space
        vector = space.to_factors(tangent_vec_a)
        is_same = tangent_vec_b is tangent_vec_a
        other = vector if is_same else space.to_factors(tangent_vec_b)
        product = core.group_inner_product(space.to_factors(base_point), vector, other)
        batch_shape = get_batch_shape(space.point_ndim, tangent_vec_a, tangent_vec_b, base_point)
        return gs.broadcast_to(product, batch_shape)

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return the gradient of a function, from its gradient in parameter space.

        Parameters
        ----------
        euclidean_gradient : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        gradient : array-like, shape=[..., *point_shape]
        """
        return self._space.apply(core.group_gradient, base_point, euclidean_gradient)
