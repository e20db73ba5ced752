r"""What kernels of end-to-end matrices and of singular values share: depth-root coordinates.

.. math:: dY = \big[-DY_X A_{N,X}(∇E) + \tfrac1β \mathrm{grad}\, S
               + \tfrac{κ}{β} Δ_g Y\big] dt + \sqrt{2κ/β}\, g^{-1/2} dB
          \quad \text{(Itô)},

of which `dlngeo.sampling.langevin_dynamics.brownian` holds the coefficients. A state carries the
frames of ``Y``, so that a step is an addition in the core, and a decomposition of the core.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.base.optional import compiled_loop
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames, balanced_frames, singular_frames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.states import is_finite

COMPILED_UP_TO = 16
"""Largest rank for which compiled steps beat the calls of LAPACK."""


@dataclass(eq=False)
class FrameKernel:
    """What is alike in all kernels whose states hold frames, and values that ``σ`` goes by."""

    equation: Equation
    step_size: float

    def deviation(self, n_axes: int = 3) -> Any:
        """Return the deviation ``√(2hκ/β)`` of a step's noise, in a ``g``-orthonormal frame.

        It multiplies arrays of chains that have so many axes.
        """
        variance = 2 * self.step_size * self.equation.kappa * self.equation.temperature(n_axes)
        return variance**0.5

    def init(self, factors: Sequence[numpy.ndarray]) -> Any:
        """Return the state over factors, of which a matrix may be the only one."""
        raise NotImplementedError

    def step(self, state: Any, rng: numpy.random.Generator) -> Any:
        """Return the state after a step."""
        raise NotImplementedError

    def counts(self, state: Any) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        raise NotImplementedError

    def root(self, state: Any) -> SingularFrames:
        """Return the frames and their values, in no order."""
        raise NotImplementedError

    def observable(self, root: SingularFrames) -> SingularFrames:
        """Return ``X`` in the same frames."""
        raise NotImplementedError

    def frames(self, state: Any) -> SingularFrames:
        """Return end-to-end matrices in singular frames, with values in descending order."""
        left, sigma, right = self.observable(self.root(state))
        order = numpy.argsort(-sigma, axis=-1)
        return SingularFrames(
            numpy.take_along_axis(left, order[:, None], -1),
            numpy.take_along_axis(sigma, order, -1),
            numpy.take_along_axis(right, order[:, None], -1),
        )

    def factors(self, state: Any) -> Layers:
        """Return the matrices."""
        matrix = self.observable(self.root(state))
        return Layers((matrix.with_values(matrix.sigma),))


@dataclass(eq=False)
class MatrixKernel(FrameKernel):
    """What is alike in all kernels whose states hold ``Y = left · diag(lam) · rightᵀ``."""

    def is_bounded(self, lam: numpy.ndarray) -> numpy.ndarray:
        """Return where kernels of the depth metric, within the squares of ``σ``, are finite."""
        return is_finite(lam ** (2 * self.equation.depth))

    def initial_root(self, factors: Sequence[numpy.ndarray]) -> SingularFrames:
        """Return ``Y`` over factors.

        Values that a decomposition loses to round-off, of which some are zero and some are not
        from one LAPACK to the next, are lifted to the least that steps keep.
        """
        equation = self.equation
        if len(factors) == 1:
            left, sigma, right = singular_frames(factors[0], equation.rank)
            lam = sigma ** (1 / equation.depth)
        else:
            (right, *_, left), lam = balanced_frames(factors, equation.rank)
        lam = numpy.maximum(lam, equation.least)
        return SingularFrames(*map(numpy.ascontiguousarray, (left, lam, right)))

    def root(self, state: Any) -> SingularFrames:
        """Return ``Y`` in its frames; the values are in no order."""
        return SingularFrames(state.left, state.lam, state.right)

    def observable(self, root: SingularFrames) -> SingularFrames:
        """Return ``X`` in the frames of ``Y``."""
        return root._replace(sigma=root.sigma**self.equation.depth)

    def drift(self, root: SingularFrames, covector: numpy.ndarray) -> Blocks:
        """Return ``-grad F`` in depth-root coordinates, over a step, in frames."""
        down = self.descent(root, covector, self.step_size)
        rise = self.rise(root.sigma, self.step_size)
        return down._replace(core=down.core + diagonal_matrix(rise))

    def descent(self, root: SingularFrames, covector: numpy.ndarray, time: float) -> Blocks:
        """Return ``-grad F`` over a time, in frames, without the `rise`."""
        equation, lam, depth = self.equation, root.sigma, self.equation.depth
        slope = equation.blocks(covector, self.observable(root))
        down = time * brownian.descent(lam, slope, depth)
        entropic = time * equation.temperature(2) * brownian.entropic_drift(lam, depth)
        return down._replace(core=down.core + diagonal_matrix(entropic))

    def rise(self, lam: numpy.ndarray, time: float) -> numpy.ndarray:
        """Return how far the entropy of hidden layers wider than the rank lifts ``λ``."""
        equation = self.equation
        surplus = sum(width - equation.rank for width in equation.widths[1:-1])
        heat = time * equation.temperature(2)
        return brownian.radial_step(lam, heat * surplus / equation.depth)


def compiled_loops(equation: Equation, module: str, names: Sequence[str]) -> list[Callable] | None:
    """Return compiled loops for small square matrices of full rank, where there is Numba."""
    rank = equation.rank
    if set(equation.widths) != {rank} or rank > COMPILED_UP_TO:
        return None
    loops = [compiled_loop(module, name) for name in names]
    return None if None in loops else loops  # type: ignore[return-value]


def normal_blocks(root: SingularFrames, rng: numpy.random.Generator) -> Blocks:
    """Draw a standard normal tangent vector of the matrices of a rank, in frames."""
    n, rank = root.sigma.shape
    core = rng.standard_normal((n, rank, rank))
    left, right = (normal_null(frame, rng) for frame in (root.left, root.right))
    return Blocks(core, left, None if right is None else transpose(right))


def normal_null(frame: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray | None:
    """Draw standard normal columns in the complement of a frame, if it has one."""
    if frame.shape[-2] == frame.shape[-1]:
        return None
    ambient = rng.standard_normal(frame.shape)
    return ambient - frame @ (transpose(frame) @ ambient)


def bounded(tangent: Blocks) -> tuple[Blocks, numpy.ndarray]:
    """Return a tangent step that is zero for chains where it is not finite, and where it is."""
    is_bounded = is_finite(*tangent)
    return tangent.map(lambda block: numpy.where(is_bounded[:, None, None], block, 0)), is_bounded


def retract(root: SingularFrames, tangent: Blocks, *, orthographic: bool = False) -> SingularFrames:
    r"""Return ``Y`` after a tangent step, by a retraction of second order.

    .. math:: Y' = Q C O^T + Z_L O^T + Q Z_R + Z_L C^{-1} Z_R, \quad C = Λ + \text{core}.

    With the last term this is the orthographic retraction, whose displacement has the step as
    its tangent part; without it the nearest matrix of the rank is taken. Where matrices of the
    rank are an open set the values have the sign by which ``det`` changes.
    """
    core = diagonal_matrix(root.sigma) + tangent.core
    left, right = root.left, root.right
    if tangent.left_null is None and tangent.right_null is None:
        within = signed_frames(core)
        return SingularFrames(left @ within.left, within.sigma, right @ within.right)
    rank = core.shape[-1]
    identity = numpy.broadcast_to(numpy.eye(rank), core.shape)
    blocks, below = core, identity
    if tangent.right_null is not None:
        corner = numpy.linalg.inv(core) if orthographic else 0 * core
        right, across = _span(right, transpose(tangent.right_null))
        blocks = numpy.concatenate([core, identity], axis=-1) @ across
        below = numpy.concatenate([identity, corner], axis=-1) @ across
    if tangent.left_null is not None:
        left, down = _span(left, tangent.left_null)
        blocks = transpose(down) @ numpy.concatenate([blocks, below], axis=-2)
    within = singular_frames(blocks, rank)
    return SingularFrames(left @ within.left, within.sigma, right @ within.right)


def fold(signed: SingularFrames, is_confined: bool) -> tuple[SingularFrames, numpy.ndarray]:
    """Return ``Y`` with positive values, after a step through the boundary.

    A negative value is a positive one with a vector turned: the chain goes on with the other sign
    of ``det``. A confined chain is *reflected* there, where ``det`` has changed its sign: the least
    of the values changes its own, without its vector.

    Returns
    -------
    root : SingularFrames
    is_reflected : array of bool, shape=[chains]
    """
    is_negative = signed.sigma < 0
    is_reflected = numpy.zeros(len(is_negative), dtype=bool)
    crossed = numpy.flatnonzero(is_negative.any(axis=-1))
    if len(crossed):
        signs = numpy.where(is_negative[crossed], -1.0, 1.0)
        if is_confined:
            is_odd = signs.prod(axis=-1) < 0
            is_reflected[crossed] = is_odd
            least = numpy.argmin(abs(signed.sigma[crossed]), axis=-1)
            signs[numpy.arange(len(crossed)), least] *= numpy.where(is_odd, -1, 1)
        left = signed.left.copy()
        left[crossed] *= signs[:, None, :]
        signed = signed._replace(left=left, sigma=abs(signed.sigma))
    return signed, is_reflected


def rotation(skew: numpy.ndarray) -> numpy.ndarray:
    """Return Cayley's rotation ``(I - A/2)^{-1} (I + A/2)``, the exponential to second order."""
    identity = numpy.eye(skew.shape[-1])
    return numpy.linalg.solve(identity - skew / 2, identity + skew / 2)


def tilt(frame: numpy.ndarray, angle: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Tilt the vectors of a frame towards its null space by noise of the given deviations."""
    normals = normal_null(frame, rng)
    if normals is None:
        return frame
    normals = normals * angle[..., None, :]
    # The polar factor of Q + Z, whose Gram matrix is I + ZᵀZ.
    values, vectors = numpy.linalg.eigh(transpose(normals) @ normals)
    root = vectors / numpy.sqrt(1 + values)[..., None, :] @ transpose(vectors)
    return (frame + normals) @ root


def _span(frame: numpy.ndarray, null: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return a frame of the span of ``[Q, Z]``, and the rows of these columns in it."""
    span, triangle = numpy.linalg.qr(numpy.concatenate([frame, null], axis=-1))
    return span, transpose(triangle)


def signed_frames(core: numpy.ndarray) -> SingularFrames:
    """Return singular frames of square matrices; the last value has the sign of ``det``."""
    left, values, right = numpy.linalg.svd(core)
    sign = numpy.where(numpy.linalg.slogdet(core)[0] < 0, -1.0, 1.0)
    left[..., -1] *= sign[..., None]
    values[..., -1] *= sign
    return SingularFrames(left, values, transpose(right))
