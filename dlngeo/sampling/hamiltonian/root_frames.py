r"""Depth roots: the chart of square matrices of full rank in which the volume is Lebesgue's.

A matrix ``X = U Λ^N Vᵀ`` has the *depth root* ``Y = U Λ Vᵀ``. In the frames of ``Y`` a covector
``Π`` has the core ``π = Uᵀ Π V`` with symmetric part ``p`` and skew part ``k``, and the cometric
of the depth metric is

.. math:: H(Y, Π) = \tfrac12 \sum_{kl} \left( α_{kl} p_{kl}^2 + k_{kl}^2 / α_{kl} \right),
          \quad \tfrac1N ≤ α ≤ 1

(`dlngeo.core.geodesics.charts.depth_root_chart`). Each pair ``k < l`` contributes ``α_kl`` and its
inverse, so that the determinant of the cometric is that of the diagonal, ``α_kk = 1/N``: the volume
of ``g^N`` is

.. math:: dvol_{g^N} = N^{d/2} \, dY,

a multiple of Lebesgue's measure for every depth: the law ``e^{-βF} dvol`` has the density
``e^{-βF}`` here.

Matrices of full rank have two components, which meet where ``λ_d = 0``. A process on all of them
is one of all ``Y``: it crosses. A process that is reflected there is one of all ``Y``, folded:
where ``det Y`` has the other sign, the last column of ``U`` turns,
``X = U diag(λ_1^N, ..., -λ_d^N) Vᵀ``. The fold keeps Lebesgue's measure, and from depth two on
functions of ``X`` stay continuously differentiable across ``λ_d = 0``, as their slopes vanish
there like ``λ_d^{N-1}``. The price is a set of codimension two, ``λ_{d-1} = λ_d`` on the other
side, where it is ambiguous which column turns.

References
----------
Own derivation; THEORY 3, 4.
"""

from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import symmetric_part, transpose
from dlngeo.core.depth_metric.roots import cometric, force, kernels, weigh
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy, spectral_entropy_gradient


class RootFrames(NamedTuple):
    """Singular frames of depth roots ``Y``, and what they make of covectors, shape=[..., d, d].

    Attributes
    ----------
    frames : SingularFrames
        ``U``, ``λ`` and ``V``.
    signs : array, shape=[..., d]
        One, but minus one in the last place where the roots are folded.
    depth : int
        ``N``.
    """

    frames: SingularFrames
    signs: numpy.ndarray
    depth: int

    @classmethod
    def of(
        cls, root: numpy.ndarray, depth: int, is_folded: numpy.ndarray | bool = False
    ) -> "RootFrames":
        """Return the frames of depth roots.

        Parameters
        ----------
        root : array, shape=[..., d, d]
        depth : int
        is_folded : bool, or array of bool, shape=[...]
            Where ``X`` is read with the other sign of ``det``.
        """
        frames = singular_frames(root, root.shape[-1])
        signs = numpy.ones_like(frames.sigma)
        signs[..., -1] = numpy.where(is_folded, -1.0, 1.0)
        return cls(frames, signs, depth)

    def observable(self) -> numpy.ndarray:
        """Return ``X = U Λ^N Vᵀ``, folded."""
        return self.frames.with_values(self.signs * self.frames.sigma**self.depth)

    def pull_back(self, covector: numpy.ndarray) -> numpy.ndarray:
        """Return the gradient by ``Y`` of a function that has the gradient ``P`` by ``X``.

        Its core is that of ``P`` with the symmetric part multiplied by
        ``(φ_k - φ_l) / (λ_k - λ_l)`` and the skew part by ``(φ_k + φ_l) / (λ_k + λ_l)``, where
        ``φ = ±λ^N`` are the values of ``X`` (Daleckii and Krein): by ``h`` and ``g`` unless folded.
        """
        lam, sign = self.frames.sigma, self.signs[..., :, None]
        sums, g, h = kernels(lam, self.depth)
        is_mixed = sign != self.signs[..., None, :]
        gap = numpy.where(is_mixed, lam[..., :, None] - lam[..., None, :], sums)
        with numpy.errstate(divide="ignore", invalid="ignore"):  # where the fold is ambiguous
            by_symmetric = sign * numpy.where(is_mixed, g * sums / gap, h)
        by_skew = sign * numpy.where(is_mixed, h * gap / sums, g)
        return self._from_core(weigh(self._core(covector), by_symmetric, by_skew))

    def apply_cometric(self, covector: numpy.ndarray, power: float = 1) -> numpy.ndarray:
        """Return a covector with its index raised, or a power of the cometric applied to it.

        It multiplies the symmetric part of the core by ``α`` and divides the skew part by it; minus
        one is the metric.
        """
        alpha = cometric(self.frames.sigma, self.depth) ** power
        return self._from_core(weigh(self._core(covector), alpha, 1 / alpha))

    def kinetic_gradient(self, covector: numpy.ndarray) -> numpy.ndarray:
        r"""Return the gradient by ``Y`` of ``H(Y, Π)`` at fixed ``Π``.

        Its core has the symmetric part `force`, and the skew part
        ``-(w - wᵀ)_kl / (2 (λ_k + λ_l))`` with ``w = e πᵀ + πᵀ e``, where ``e = α ∘ p + k / α`` is
        the core of the velocity.
        """
        core = self._core(covector)
        symmetric = symmetric_part(core)
        skew = core - symmetric
        sums, g, h = kernels(self.frames.sigma, self.depth)
        velocity, back = weigh(core, g / h, h / g), transpose(core)
        twist = velocity @ back + back @ velocity
        slope = force(self.frames.sigma, symmetric / h, skew / g, self.depth)
        return self._from_core(slope - (twist - transpose(twist)) / (2 * sums))

    def entropy(self) -> numpy.ndarray:
        """Return the entropy ``S`` of networks whose layers are ``d`` wide, shape=[...]."""
        return spectral_entropy(*self._spectrum())

    def entropy_gradient(self) -> numpy.ndarray:
        """Return the gradient ``U diag(∂S/∂λ) Vᵀ`` of the entropy by ``Y``."""
        sigma, widths = self._spectrum()
        chain = self.depth * sigma ** (1 - 1 / self.depth)
        return self.frames.with_values(chain * spectral_entropy_gradient(sigma, widths))

    def _core(self, covector: numpy.ndarray) -> numpy.ndarray:
        return transpose(self.frames.left) @ covector @ self.frames.right

    def _from_core(self, core: numpy.ndarray) -> numpy.ndarray:
        return self.frames.left @ core @ transpose(self.frames.right)

    def _spectrum(self) -> tuple[numpy.ndarray, tuple[int, ...]]:
        # The entropy is regular where one λ vanishes, but its logarithms are not.
        sigma = numpy.maximum(self.frames.sigma**self.depth, numpy.finfo(float).tiny)
        return sigma, (sigma.shape[-1],) * (self.depth + 1)
