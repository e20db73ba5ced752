"""Charts of parameter spaces and of spheres, in which tensors come by differentiation alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian

from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.gradient_noise.samples import SampleLosses
from tests.noisy_losses import waves


class UnitSphere:
    """The unit sphere, a submanifold of parameter space."""

    def nearest(self, x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def project(self, x, v):
        return v - np.sum(x * v, axis=-1, keepdims=True) * x

    def second_form(self, x, u, v):
        return -np.sum(u * v, axis=-1, keepdims=True) * x

    def weingarten(self, x, u, normal):
        return -np.sum(normal * x, axis=-1, keepdims=True) * u

    def basis(self, x):
        return np.linalg.svd(x[None])[2][1:]


def stereographic(q):
    """Return the point of the unit sphere with given coordinates."""
    square = anp.sum(q**2)
    return anp.concatenate([2 * q, anp.array([1 - square])]) / (1 + square)


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart of parameters, ``q ↦ x``, and the diffusion metric of waves in it.

    Attributes
    ----------
    place : callable
    losses : callable
    geometry : DiffusionGeometry
        Of the losses.
    start : array
        Coordinates of a point.
    """

    place: Callable
    losses: Callable
    geometry: DiffusionGeometry
    start: np.ndarray

    def _embed(self, q):
        """Return the graph ``(x, √(ε/n) (f - mean f))``."""
        x = self.place(q)
        losses = self.losses(x)
        heights = losses - anp.mean(losses)
        return anp.concatenate([x, (self.geometry.scale / len(losses)) ** 0.5 * heights])

    def loss(self, q):
        return anp.mean(self.losses(self.place(q)))

    def metric(self, q):
        moves = jacobian(self._embed)(q)
        return moves.T @ moves

    @cached_property
    def frame(self):
        """``∂x/∂q``, shape=[D, dim]."""
        return jacobian(self.place)

    def christoffels(self, q):
        """``Γ^k_{ij}``, ``k`` first."""
        slopes = jacobian(self.metric)(q)
        lowered = anp.einsum("lji->lij", slopes) + slopes - anp.einsum("ijl->lij", slopes)
        lowered = lowered / 2
        return anp.einsum("kl,lij->kij", anp.linalg.inv(self.metric(q)), lowered)

    def riemann(self, q):
        """``R^l_{kij} = dx^l(R(e_i, e_j) e_k)``."""
        symbols, slopes = self.christoffels(q), jacobian(self.christoffels)(q)
        rotation = np.einsum("ljki->lkij", slopes) + np.einsum("lim,mjk->lkij", symbols, symbols)
        return rotation - rotation.swapaxes(-1, -2)


def bent(q):
    """Return the point of the plane with given coordinates, on parabolas."""
    return anp.stack([q[0], q[1] + q[0] ** 2])


def chart_of(name, scale=0.8):
    """Return a chart of the plane or of the sphere."""
    size = 2 if name == "plane" else 3
    losses = waves(5, size)
    samples = SampleLosses((size,), losses)
    base = None if name == "plane" else UnitSphere()
    place = bent if name == "plane" else stereographic
    return Chart(place, losses, DiffusionGeometry(samples, scale, base), np.array([0.3, -0.5]))


CHART = pytest.mark.parametrize(
    "chart", [chart_of("plane"), chart_of("sphere")], ids=["plane", "sphere"]
)
