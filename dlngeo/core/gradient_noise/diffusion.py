r"""The diffusion metric ``g_ε = I + ε D`` of gradient noise, with its connection and curvature.

``D(x) = (1/n) Σ_s ∇f_s ∇f_sᵀ - ∇f ∇fᵀ`` is the covariance of the gradients of samples. The metric
is that of the graph of ``h_s = √(ε/n) (f_s - f)`` over parameter space
(`dlngeo.core.gradient_noise.graph_metric`), so first and second derivatives of the losses are all
it takes. On a submanifold of parameter space it is the restriction: the graph over the submanifold,
where gradients are projected and second derivatives gain the second fundamental form, ``w(u, v) =
(uᵀ ∇²h_s v + ⟨∇h_s, II(u, v)⟩)_s``.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy

from dlngeo.core.base.arrays import Array, eye, namespace
from dlngeo.core.base.scales import at_unit_scale
from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.gradient_noise.graph_metric import Differential, Products
from dlngeo.core.gradient_noise.samples import SampleLosses


class Submanifold(Protocol):
    """A submanifold of parameter space, in vectors, shape=[..., D]."""

    def nearest(self, x: Array) -> Array:
        """Return a point of the submanifold next to a point."""

    def project(self, x: Array, v: Array) -> Array:
        """Return the tangent part of a vector."""

    def second_form(self, x: Array, u: Array, v: Array) -> Array:
        """Return the second fundamental form ``II(u, v)``, a normal vector."""

    def weingarten(self, x: Array, u: Array, normal: Array) -> Array:
        """Return the tangent vector ``S`` with ``⟨S, v⟩ = ⟨normal, II(u, v)⟩``."""

    def basis(self, x: Array) -> Array:
        """Return an orthonormal basis of one tangent space, shape=[dim, D]."""


@dataclass(frozen=True, eq=False)
class DiffusionGeometry:
    """Geometry of ``g_ε`` in vectors of parameters, shape=[..., D].

    Attributes
    ----------
    samples : SampleLosses
    scale : float
        ``ε``.
    base : Submanifold, optional
        Where the parameters live; all of parameter space by default.
    """

    samples: SampleLosses
    scale: float
    base: Submanifold | None = None

    def differential(self, x: Array) -> Differential:
        """Return ``J``: a matrix if ``min(n, D)`` is small, else its products."""
        n = self.samples.count(x)
        if min(n, x.shape[-1]) <= graph_metric.DIRECT:
            return self.matrix(x)
        if self.samples.gradients is not None:
            rows = self.samples.matrix(x)
            return Products(
                lambda v: self._heights(graph_metric.push(rows, v)),
                lambda w: self._tangent(x, graph_metric.pull(rows, self._heights(w))),
            )
        return self.products(x)

    def products(self, x: Array) -> Products:
        """Return the products with ``J``, without the matrix."""
        return Products(
            lambda v: self._heights(self.samples.push(x, v)),
            lambda w: self._tangent(x, self.samples.pull(x, self._heights(w))),
        )

    def matrix(self, x: Array) -> Array:
        """Return the matrix ``J``, shape=[..., n, D]."""
        rows = self.samples.matrix(x)
        rows = self._factor(rows.shape[-2]) * (
            rows - namespace(rows).mean(rows, axis=-2, keepdims=True)
        )
        return self._tangent(x[..., None, :], rows)

    def hessians(self, x: Array) -> Array:
        """Return ``∇²h_s``, shape=[..., n, D, D], of few parameters."""
        xp, size = namespace(x), x.shape[-1]
        basis = eye(size, size, x)
        upper = numpy.triu_indices(size)
        pairs = [self.bend(x, basis[i], basis[j]) for i, j in zip(*upper, strict=True)]
        order = numpy.zeros((size, size), dtype=int)
        order[upper] = order.T[upper] = numpy.arange(len(pairs))
        rows = [xp.stack([pairs[k] for k in row], axis=-1) for row in order]
        return xp.stack(rows, axis=-1)

    def diffusion(self, x: Array, v: Array) -> Array:
        """Return ``D v``, the covariance of gradients times a vector, at any scale."""
        along = self.samples.push(x, v)
        weights = (along - namespace(along).mean(along, axis=-1, keepdims=True)) / along.shape[-1]
        return self._tangent(x, self.samples.pull(x, weights))

    def bend(self, x: Array, u: Array, v: Array, form: Array | None = None) -> Array:
        """Return ``w(u, v)``, shape=[..., n]; ``form`` is ``II(u, v)``, where it is known."""
        bent = self.samples.bend(x, u, v)
        if self.base is not None:
            form = self.base.second_form(x, u, v) if form is None else form
            bent = bent + self.samples.push(x, form)
        return self._heights(bent)

    def christoffel(
        self, x: Array, u: Array, v: Array, differential: Differential | None = None
    ) -> Array:
        """Return ``Γ(u, v)``, with which ``∇_u v = dv(u) + Γ(u, v)`` in parameter space."""
        differential = self.differential(x) if differential is None else differential
        form = None if self.base is None else self.base.second_form(x, u, v)
        symbol = graph_metric.pull_and_raise(differential, self.bend(x, u, v, form))
        return symbol if form is None else symbol - form

    def gradient(self, x: Array, differential: Differential | None = None) -> Array:
        """Return the gradient in ``g_ε`` of the loss ``f``, the mean over the samples."""
        n = self.samples.count(x)
        weights = 0 * eye(1, n, x)[0] + 1 / n
        covector = self._tangent(x, self.samples.pull(x, weights))
        differential = self.differential(x) if differential is None else differential
        return graph_metric.raise_index(differential, covector)

    def hessian(self, x: Array, v: Array, differential: Differential | None = None) -> Array:
        """Return ``∇_v grad f``, the Hessian in ``g_ε`` of the loss, as a tangent vector.

        ``⟨∇_v grad f, d⟩ = Σ_s a_s (vᵀ∇²f_s d + ⟨∇f_s, II(v, d)⟩)`` with the weights
        ``a = 1/n - √(ε/n) C J grad f``, ``C`` centring: second derivatives are enough.
        """
        differential = self.differential(x) if differential is None else differential
        slopes = graph_metric.push(differential, self.gradient(x, differential))
        weights = 1 / slopes.shape[-1] - self._heights(slopes)
        covector = self.samples.turn(x, weights, v)
        if self.base is not None:
            covector = self.base.project(x, covector)
            covector = covector + self.base.weingarten(x, v, self.samples.pull(x, weights))
        return graph_metric.raise_index(differential, covector)

    def curvature(self, x: Array, a: Array, b: Array, c: Array) -> Array:
        """Return ``R(a, b) c``."""
        differential = self.differential(x)
        plus = self._form(x, differential, b, c, a)
        minus = self._form(x, differential, a, c, b)
        return graph_metric.raise_index(differential, plus - minus)

    def _form(self, x: Array, differential: Differential, b: Array, c: Array, a: Array) -> Array:
        """Return the covector ``d ↦ ⟨II(b, c), II(a, d)⟩`` of the graph in ``ℝ^{D+n}``."""
        form = None if self.base is None else self.base.second_form(x, b, c)
        weights = graph_metric.normal_solve(differential, self.bend(x, b, c, form))
        weights = self._heights(weights)
        covector = self.samples.turn(x, weights, a)
        if self.base is None:
            return covector
        normal = form + self.samples.pull(x, weights)
        return self.base.project(x, covector) + self.base.weingarten(x, a, normal)

    def sectional_curvature(self, x: Array, a: Array, b: Array) -> Array:
        """Return the sectional curvature, zero for linearly dependent vectors."""
        xp = namespace(x, a, b)
        differential = self.differential(x)
        a, b, _, _ = at_unit_scale(2, a, b, axes=1)

        def product(u: Array, v: Array) -> Array:
            return graph_metric.inner_product(differential, u, v)[..., None]

        def unit(v: Array) -> Array:
            size = xp.sqrt(product(v, v))
            return v / xp.where(size == 0, xp.ones_like(size), size)

        a, b = unit(a), unit(b)
        rest = b - product(a, b) * a
        # What round-off leaves of dependent vectors spans no plane.
        spans = product(rest, rest) > (100 * xp.finfo(rest.dtype).eps) ** 2
        rest = unit(xp.where(spans, rest, xp.zeros_like(rest)))
        pairs = ((a, a), (rest, rest), (a, rest))
        first, second, mixed = (self.bend(x, u, v) for u, v in pairs)
        result = graph_metric.gauss(differential, first, second)
        result = result - graph_metric.gauss(differential, mixed, mixed)
        if self.base is None:
            return result
        first, second, mixed = (self.base.second_form(x, u, v) for u, v in pairs)
        return result + xp.sum(first * second - mixed * mixed, axis=-1)

    def _factor(self, n: int) -> float:
        return math.sqrt(self.scale / n)

    def _heights(self, w: Array) -> Array:
        """Centre and scale what belongs to samples; the map is its own transpose."""
        return self._factor(w.shape[-1]) * (w - namespace(w).mean(w, axis=-1, keepdims=True))

    def _tangent(self, x: Array, v: Array) -> Array:
        return v if self.base is None else self.base.project(x, v)
