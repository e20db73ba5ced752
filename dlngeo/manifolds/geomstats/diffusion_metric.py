"""The diffusion metric of stochastic gradient descent, as a geomstats metric."""

import functools
import math
from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
import numpy
from geomstats.geometry.base import VectorSpace
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.product_manifold import ProductManifold

from dlngeo.core.balanced.submanifold import weingarten_map
from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import generator, integer, nonnegative
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.gradient_noise import geodesics, graph_metric
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.gradient_noise.samples import Losses, SampleLosses
from dlngeo.manifolds.geomstats.balanced import BalancedManifold
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.geodesic_metric import GeodesicMetric, kernel


class DiffusionMetric(GeodesicMetric):
    r"""Metric of parameter space that bends paths where gradients are noisy.

    .. math:: g_ε = I + ε D, \quad
              D(x) = \frac1n \sum_{s=1}^{n} ∇f_s ∇f_s^T - ∇f ∇f^T, \quad
              f = \frac1n \sum_s f_s

    It is the metric of the graph ``x ↦ (x, √(ε/n) (f_s(x) - f(x))_s)``, and flat where the noise
    is constant, or ``ε = 0``. Everything is made of per-sample gradients and Hessian-vector
    products; no ``D × D`` matrix is formed unless one is asked for.

    On a `BalancedManifold` it is the restriction to balanced factors. They have no coordinates:
    tensors of the connection, with ``D`` the number of entries of a point, are a
    NotImplementedError there.

    Geodesics raise a ValueError if they cannot be continued, because the losses cease to be finite
    or balanced factors reach the boundary. `log` starts from the chord: among several geodesics it
    finds one that is near to it, not always the shortest.

    Parameters
    ----------
    space : Euclidean, Matrices, ProductManifold of these, or BalancedManifold
        Parameters as a vector or a matrix; factors of a network one after the other.
    sample_losses : callable, optional
        ``f(x)``, the ``n`` losses at a point, shape=[*point_shape] to [n]: written with
        autograd.numpy under geomstats' numpy and autograd backends, with PyTorch under its
        own. A function of JAX serves NumPy points.
    scale : float
        ``ε ≥ 0``.
    sample_gradients : callable, optional
        ``∇f_s(x)``, shape=[n, *point_shape], in place of automatic differentiation.
    sample_hvp : callable, optional
        ``∇²f_s(x) v``, shape=[n, *point_shape], of ``(x, v)``. Without it and without losses
        there are inner products, but no geodesics and no curvature.
    n_samples : int, optional
        Number of samples. If given, the functions take an array of their indices as last
        argument and return those alone.
    batch_size : int, optional
        Number of samples, drawn without replacement, from which ``D`` is estimated without
        bias; `resample` draws others. It needs ``n_samples``.
    rng : numpy.random.Generator or int, optional
        For the minibatch.

    Raises
    ------
    ValueError
        If the space is another one or an argument does not fit. The methods raise it if the
        losses cannot be differentiated, or are NaN or infinite.

    References
    ----------
    [FCS20]; THEORY 7 (curvature by the equation of Gauss); see `dlngeo.core.gradient_noise`.
    """

    _log = kernel(geodesics.log)
    _transport = kernel(geodesics.parallel_transport)
    _curvature = kernel(DiffusionGeometry.curvature)

    def __init__(
        self,
        space: Manifold,
        sample_losses: Losses | None = None,
        scale: float = 1.0,
        *,
        sample_gradients: Losses | None = None,
        sample_hvp: Losses | None = None,
        n_samples: int | None = None,
        batch_size: int | None = None,
        rng: numpy.random.Generator | int | None = None,
    ):
        self.scale = nonnegative(scale, "the scale")
        base = _BalancedBase(space) if isinstance(space, BalancedManifold) else None
        if base is None and not _is_linear(space):
            raise ValueError(
                "the diffusion metric lives on spaces of parameters (Euclidean, Matrices, products "
                "of them) and on BalancedManifold, of which the second fundamental form is known; "
                f"got {type(space).__name__}."
            )
        super().__init__(space=space)
        samples = SampleLosses(space.shape, sample_losses, sample_gradients, sample_hvp, n_samples)
        self.geometry = DiffusionGeometry(samples, self.scale, base)
        self._all, self._rng = samples, generator(rng)
        self._batch_size = None if batch_size is None else integer(batch_size, "batch_size", 2)
        if self._batch_size is not None:
            if samples.n_samples is None or self._batch_size > samples.n_samples:
                raise ValueError(
                    "a minibatch of at least two samples needs their number, and functions that "
                    "take indices: give n_samples= of at least batch_size, got "
                    f"n_samples={n_samples} and batch_size={batch_size}."
                )
            self.resample()

    def resample(self) -> None:
        """Draw another minibatch: from now on the metric is another estimate.

        Raises
        ------
        ValueError
            If the metric is that of all samples.
        """
        size, n = self._batch_size, self._all.n_samples
        if size is None or n is None:
            raise ValueError("the metric is that of all samples: give batch_size= for minibatches.")
        chosen = self._rng.choice(n, size, replace=False)
        # The covariance of a sample of a finite population, without bias.
        factor = size / (size - 1) * (n - 1) / n
        self.geometry = DiffusionGeometry(
            self._all.subset(chosen), factor * self.scale, self.geometry.base
        )

    # Between points of the space and flat arrays.

    def _flat(self, *arrays: Array) -> list[Array]:
        for array in arrays:
            check_shape(array, self._space.shape)
        ndim, size = self._space.point_ndim, math.prod(self._space.shape)
        return [1.0 * gs.reshape(a, (*a.shape[: a.ndim - ndim], size)) for a in arrays]

    def _to_shape(self, array: Array) -> Array:
        return gs.reshape(array, (*array.shape[:-1], *self._space.shape))

    def _apply(self, function: Callable, *arrays: Array, **options: Any) -> Array:
        return self._to_shape(function(self.geometry, *self._flat(*arrays), **options))

    # Parameter spaces have no boundary.

    def _exp(self, point: Array, velocity: Array, on_boundary: str) -> Array:
        return self._apply(geodesics.exp, point, velocity)

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        return lambda times: self._apply(
            geodesics.positions, point, velocity, times=to_numpy(times)
        )

    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        """Return ``aᵀ b + ε Cov_s(⟨∇f_s, a⟩, ⟨∇f_s, b⟩)``, shape=[...]."""
        x, a = self._flat(base_point, tangent_vec_a)
        b = a if tangent_vec_b is tangent_vec_a else self._flat(tangent_vec_b)[0]
        first, of_first = at_unit_scale(2, a, axes=1)
        second, of_second = (first, of_first) if b is a else at_unit_scale(2, b, axes=1)
        product = graph_metric.inner_product(self.geometry.products(x), first, second)
        return at_scale(product, of_first + of_second, "the inner product", axes=0)

    def flat(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the covector ``g v``.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        cotangent_vec : array-like, shape=[..., *point_shape]
        """
        x, v = self._flat(base_point, tangent_vec)
        return self._to_shape(graph_metric.lower_index(self.geometry.products(x), v))

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        x, p = self._flat(base_point, euclidean_gradient)
        if self.geometry.base is not None:
            p = self.geometry.base.project(x, p)
        return self._to_shape(graph_metric.raise_index(self.geometry.differential(x), p))

    def diffusion(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return ``D v``, the covariance of the gradients times a vector.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        cotangent_vec : array-like, shape=[..., *point_shape]
        """
        return self._apply(DiffusionGeometry.diffusion, base_point, tangent_vec)

    def metric_matrix(self, base_point: Array) -> Array:
        """Return the matrix ``g``, shape=[..., D, D]; of balanced factors, one on normals."""
        return graph_metric.metric_matrix(self.geometry.matrix(*self._flat(base_point)))

    def log_volume_density(self, base_point: Array) -> Array:
        """Return ``½ log det g``, from the smaller of the matrices of ``n`` or ``D`` rows.

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        log_density : array-like, shape=[...]
        """
        return graph_metric.log_volume_density(self.geometry.matrix(*self._flat(base_point)))

    def inner_product_derivative_matrix(self, base_point: Array) -> Array:
        """Return ``∂_k g_ij``, shape=[..., D, D, D], ``k`` last."""
        return self._tensor(graph_metric.metric_derivative, base_point)

    def christoffels(self, base_point: Array) -> Array:
        """Return the Christoffel symbols ``Γ^k_ij``, shape=[..., D, D, D], ``k`` first."""
        return self._tensor(graph_metric.christoffels, base_point)

    def riemann_tensor(self, base_point: Array) -> Array:
        """Return ``R_{ijk}^l = dx^l(R(e_j, e_k) e_i)``, shape=[..., D, D, D, D]."""
        return self._tensor(graph_metric.riemann_tensor, base_point)

    def _tensor(self, tensor: Callable[[Array, Array], Array], base_point: Array) -> Array:
        if self.geometry.base is not None:
            raise NotImplementedError(
                "tensors of the connection need coordinates of the space, and balanced factors "
                "are coordinates of parameter space: take christoffel_action or curvature, "
                "which act on tangent vectors."
            )
        (x,) = self._flat(base_point)
        return tensor(self.geometry.matrix(x), self.geometry.hessians(x))

    def christoffel_action(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return ``Γ(a, b) = ε g^{-1} Cov_s(∇f_s, aᵀ∇²f_s b)``; geodesics are ``ẍ = -Γ(ẋ, ẋ)``.

        Of balanced factors it is ``Γ - II(a, b)``, with what the geodesics of parameter space
        lack to stay there.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        symbol : array-like, shape=[..., *point_shape]
        """
        return self._apply(DiffusionGeometry.christoffel, base_point, tangent_vec_a, tangent_vec_b)

    def geodesic_equation(self, state: Array) -> Array:
        """Return velocity and acceleration of a geodesic.

        Parameters
        ----------
        state : array-like, shape=[..., 2, *point_shape]
            Point and velocity.

        Returns
        -------
        rates : array-like, shape=[..., 2, *point_shape]
        """
        state = check_shape(state, (2, *self._space.shape))
        axis = -self._space.point_ndim - 1
        point, velocity = (gs.take(state, i, axis=axis) for i in (0, 1))
        return gs.stack([velocity, -self.christoffel_action(velocity, velocity, point)], axis=axis)

    def sectional_curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        arrays = self._flat(base_point, tangent_vec_a, tangent_vec_b)
        return self.geometry.sectional_curvature(*arrays)


def _is_linear(space: Manifold) -> bool:
    """Tell whether all arrays of the shape are points."""
    if isinstance(space, ProductManifold):
        return all(_is_linear(factor) for factor in space.factors)
    return isinstance(space, VectorSpace) and space.dim == math.prod(space.shape)


class _BalancedBase:
    """The balanced manifold as a submanifold in flat arrays, shape=[..., D]."""

    def __init__(self, space: BalancedManifold):
        self._space = space

    def _apply(self, function: Callable, *arrays: Array) -> Array:
        points = [gs.reshape(a, (*a.shape[:-1], *self._space.shape)) for a in arrays]
        result = function(*points)
        ndim = self._space.point_ndim
        size = math.prod(self._space.shape)
        return gs.reshape(result, (*result.shape[: result.ndim - ndim], size))

    def nearest(self, x: Array) -> Array:
        return self._apply(self._space.projection, x)

    def project(self, x: Array, v: Array) -> Array:
        return self._apply(self._space.to_tangent, v, x)

    def second_form(self, x: Array, u: Array, v: Array) -> Array:
        return self._apply(self._space.second_fundamental_form, u, v, x)

    def weingarten(self, x: Array, u: Array, normal: Array) -> Array:
        shape_operator = functools.partial(self._space.apply, weingarten_map, rank=self._space.rank)
        return self._apply(shape_operator, x, u, normal)

    def basis(self, x: Array) -> Array:
        return self._apply(self._space.tangent_basis, x)
