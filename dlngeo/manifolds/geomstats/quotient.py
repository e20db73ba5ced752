"""The quotient of the balanced manifold by the orthogonal groups of the hidden layers."""

from collections.abc import Callable

import geomstats.backend as gs
from geomstats.geometry.fiber_bundle import FiberBundle
from geomstats.geometry.group_action import GroupAction
from geomstats.geometry.manifold import register_quotient

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import instance, real_array
from dlngeo.core.base.packing import unpack
from dlngeo.core.depth_metric import submersion as core
from dlngeo.core.geodesics.horizontal_alignment import align_horizontally
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.networks.network import act, differential, end_to_end
from dlngeo.manifolds.geomstats.balanced import BalancedManifold, BalancedMetric
from dlngeo.manifolds.geomstats.checks import check_shape, is_small
from dlngeo.manifolds.geomstats.door import CheckedArguments


class OrbitAction(GroupAction):
    r"""Action of ``O(d_1) × ... × O(d_{N-1})`` on balanced factors.

    .. math:: (g · W)_p = g_p W_p g_{p-1}^{-1}, \quad g_0 = g_N = I

    A group element is an array ``(N-1, d, d)`` if all widths are equal, otherwise the
    flat vector of the ``g_p`` one after the other.

    Parameters
    ----------
    space : BalancedManifold

    References
    ----------
    [MY25]; THEORY 1.
    """

    def __init__(self, space: BalancedManifold):
        self._space = instance(space, BalancedManifold, "the space")
        hidden = space.widths[1:-1]
        self.group_elem_shape: tuple[int, ...] = (
            (len(hidden), space.widths[0], space.widths[0])
            if space.point_ndim == 3
            else (sum(width**2 for width in hidden),)
        )

    def __call__(self, group_elem: Array, point: Array) -> Array:
        elements = self.to_matrices(group_elem)
        return self._space.from_factors(act(elements, self._space.to_factors(point)))

    def to_matrices(self, group_elem: Array) -> tuple[Array, ...]:
        """Return the matrices ``g_1, ..., g_{N-1}`` of a group element.

        Parameters
        ----------
        group_elem : array-like, shape=[..., *group_elem_shape]

        Returns
        -------
        matrices : tuple of array-like, shape=[..., d_p, d_p]
        """
        group_elem = real_array(group_elem, "the group element")
        if tuple(group_elem.shape[-len(self.group_elem_shape) :]) != self.group_elem_shape:
            raise ValueError(
                f"expected a group element of shape [..., *{self.group_elem_shape}], got "
                f"{tuple(group_elem.shape)}."
            )
        if self._space.point_ndim == 3:
            return tuple(group_elem[..., p, :, :] for p in range(group_elem.shape[-3]))
        return unpack(group_elem, [(width, width) for width in self._space.widths[1:-1]])


class OrbitBundle(CheckedArguments, FiberBundle):
    r"""Bundle of orbits ``φ: M_r → 𝔐_r`` over the end-to-end matrices.

    The Frobenius metric above and the depth metric ``g^N`` below make it a Riemannian
    submersion.

    Parameters
    ----------
    total_space : BalancedManifold
        Equipped with an `OrbitAction`.

    References
    ----------
    [MY25]; THEORY 3.
    """

    _total_space: BalancedManifold

    def riemannian_submersion(self, point: Array) -> Array:
        """Return the end-to-end matrix, shape=[..., d_N, d_0]."""
        return end_to_end(self._total_space.to_factors(point))

    def lift(self, point: Array) -> Array:
        """Return balanced factors of a matrix.

        Parameters
        ----------
        point : array-like, shape=[..., d_N, d_0]

        Returns
        -------
        lift : array-like, shape=[..., *point_shape]

        Raises
        ------
        ValueError
            If the matrix has another rank.
        """
        space = self._total_space
        check_shape(point, (space.widths[-1], space.widths[0]))
        exact_frames(point, space.rank)  # another rank has no lift here: an error
        return space.from_factors(factorize(point, space.depth, space.widths, space.rank))

    def tangent_riemannian_submersion(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the velocity of the end-to-end matrix.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        velocity : array-like, shape=[..., d_N, d_0]
        """
        space = self._total_space
        return differential(space.to_factors(base_point), space.to_factors(tangent_vec))

    def horizontal_lift(
        self,
        tangent_vec: Array,
        base_point: Array | None = None,
        fiber_point: Array | None = None,
    ) -> Array:
        """Lift a tangent vector of the base to a horizontal vector.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., d_N, d_0]
        base_point : array-like, shape=[..., d_N, d_0], optional
            Point of the base; `lift` gives the point of the fibre.
        fiber_point : array-like, shape=[..., *point_shape], optional

        Returns
        -------
        horizontal_vec : array-like, shape=[..., *point_shape]

        Raises
        ------
        ValueError
            If neither point is given.
        """
        if fiber_point is None:
            if base_point is None:
                raise ValueError("give a base_point or a fiber_point: got neither.")
            fiber_point = self.lift(base_point)
        return self._apply(
            lambda factors, rank: core.horizontal_lift(factors, tangent_vec, rank), fiber_point
        )

    def horizontal_projection(self, tangent_vec: Array, base_point: Array) -> Array:
        return self._apply(core.horizontal_projection, base_point, tangent_vec)

    def vertical_projection(self, tangent_vec: Array, base_point: Array) -> Array:
        return self._apply(core.vertical_projection, base_point, tangent_vec)

    def is_horizontal(self, tangent_vec: Array, base_point: Array, atol: float = gs.atol) -> Array:
        vertical = self.vertical_projection(tangent_vec, base_point)
        return is_small(vertical, tangent_vec, atol, self._total_space.point_ndim)

    def is_vertical(self, tangent_vec: Array, base_point: Array, atol: float = gs.atol) -> Array:
        horizontal = self.horizontal_projection(tangent_vec, base_point)
        return is_small(horizontal, tangent_vec, atol, self._total_space.point_ndim)

    def integrability_tensor(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return O'Neill's tensor ``A_X Y`` (THEORY 3)."""
        return self._apply(core.integrability_tensor, base_point, tangent_vec_a, tangent_vec_b)

    def integrability_tensor_derivative(
        self,
        horizontal_vec_x: Array,
        horizontal_vec_y: Array,
        nabla_x_y: Array,
        tangent_vec_e: Array,
        nabla_x_e: Array,
        base_point: Array,
    ) -> tuple[Array, Array]:
        """Return ``∇_X (A_Y E)`` and ``A_Y E``, for fields with the given derivatives.

        References
        ----------
        O'Neill 1966; see `dlngeo.core.depth_metric.submersion`.
        """
        space = self._total_space
        fields = horizontal_vec_x, horizontal_vec_y, nabla_x_y, tangent_vec_e, nabla_x_e
        point, x, y, nabla_y, e, nabla_e = map(space.to_factors, (base_point, *fields))
        derivative, value = core.integrability_tensor_derivative(
            point, x, y, nabla_y, e, nabla_e, space.rank
        )
        return space.from_factors(derivative), space.from_factors(value)

    def align(self, point: Array, base_point: Array) -> Array:
        """Return the point of the orbit to which a horizontal geodesic leads from a base point.

        It is the end of the lift of the shortest geodesic that is found between their end-to-end
        matrices, where the logarithm is horizontal and distances are those of the base.

        Raises
        ------
        ValueError
            If determinants of the end-to-end matrices have opposite signs: no path joins them.
        """
        return self._apply(align_horizontally, point, base_point)

    def _apply(self, kernel: Callable, *points: Array) -> Array:
        return self._total_space.apply(kernel, *points, rank=self._total_space.rank)


register_quotient(
    Space=BalancedManifold,
    Metric=BalancedMetric,
    GroupAction=OrbitAction,
    FiberBundle=OrbitBundle,
)
