r"""Langevin dynamics of end-to-end matrices and of singular values, in depth-root coordinates.

.. math:: dY = \big[-DY_X A_{N,X}(∇E) + \tfrac1β \mathrm{grad}\, S
               + \tfrac{κ}{β} Δ_g Y\big] dt + \sqrt{2κ/β}\, g^{-1/2} dB
          \quad \text{(Itô)},

of which `dlngeo.sampling.langevin_dynamics.brownian` holds the coefficients. A state carries the
frames of ``Y``, so that a step is an addition in the core, and a decomposition of the core.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.equation import Diverged, Equation

langevin_step: Callable | None = None
with contextlib.suppress(ImportError):  # Numba is an optional extra
    from dlngeo.sampling.langevin_dynamics.compiled import frame_product, langevin_step

COMPILED_UP_TO = 16
"""Largest rank for which the compiled step beats the calls of LAPACK."""


class ObservableState(NamedTuple):
    """State of chains of end-to-end matrices.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``; the values are in no order.
    n_reflections : array, shape=[chains]
        How often a step was reflected at the boundary.
    """

    left: numpy.ndarray
    lam: numpy.ndarray
    right: numpy.ndarray
    n_reflections: numpy.ndarray

    @property
    def root(self) -> SingularFrames:
        """The matrices ``Y`` in their frames."""
        return SingularFrames(self.left, self.lam, self.right)


class SmallFrames(SingularFrames):
    """Singular frames of small matrices, which a compiled loop multiplies faster than BLAS."""

    def with_values(self, values: numpy.ndarray) -> numpy.ndarray:
        """Return the matrix ``left · diag(values) · rightᵀ``."""
        return frame_product(self.left, values, self.right)


def observable_frames(root: SingularFrames, depth: int) -> SingularFrames:
    """Return ``X`` in the frames of ``Y``."""
    return root._replace(sigma=root.sigma**depth)


def root_frames(matrix: numpy.ndarray, equation: Equation) -> SingularFrames:
    """Return ``Y`` of matrices in frames.

    Values that a decomposition loses to round-off, of which some are zero and some are not from
    one LAPACK to the next, are lifted to the least that `EulerMaruyama.step` keeps.
    """
    frames = singular_frames(matrix, equation.rank)
    lam = numpy.maximum(frames.sigma ** (1 / equation.depth), equation.least)
    return SingularFrames(*map(numpy.ascontiguousarray, (frames.left, lam, frames.right)))


@dataclass(frozen=True)
class EulerMaruyama:
    r"""Euler–Maruyama in depth-root coordinates, of weak order one.

    .. math:: Δ_g = \tfrac1N Δ_Y + \text{squares of turns of the frames}

    Noise of the flat space of ``Y``, of variance ``1/N``, moves ``λ``; what the cometric has beyond
    it turns the frames, exactly orthogonally, so that it keeps ``λ``. No Itô drift is left
    (`dlngeo.sampling.langevin_dynamics.brownian.brownian_drift` is that of both), and none is
    unbounded at the boundary. Without energy and entropy ``λ`` has the right law at every step
    size.

    Where a singular value would change its sign the chain is *reflected*: it keeps the component
    of its ``det``.
    """

    equation: Equation
    step_size: float

    def init(self, matrix: numpy.ndarray) -> ObservableState:
        """Return the state at matrices, shape=[chains, m, n]."""
        root = root_frames(matrix, self.equation)
        return ObservableState(*root, numpy.zeros(len(matrix), dtype=int))

    def step(self, state: ObservableState, rng: numpy.random.Generator) -> ObservableState:
        """Return the state after a step."""
        equation, root = self.equation, state.root
        is_small = set(equation.widths) == {equation.rank} and equation.rank <= COMPILED_UP_TO
        is_compiled = is_small and langevin_step is not None
        if is_compiled:
            root = SmallFrames(*root)
        covector = equation.covector(observable_frames(root, equation.depth))
        scale = math.sqrt(2 * self.step_size * equation.kappa / equation.beta)
        if is_compiled:
            if equation.is_spectral:
                # Frames do not matter then, and in their own the gradient keeps its precision.
                identity = numpy.tile(numpy.eye(equation.rank), (len(covector), 1, 1))
                root, covector = (
                    root._replace(left=identity, right=identity),
                    diagonal_matrix(covector),
                )
            normals = rng.standard_normal(covector.shape)
            heat = self.step_size / equation.beta
            assert langevin_step is not None
            after = SingularFrames(
                *langevin_step(
                    *root, covector, normals, equation.depth, self.step_size, heat, scale
                )
            )
        else:
            after = self._moved(root, covector, scale, rng)
        check_bounds(abs(after.sigma).max() ** equation.depth)
        after, is_reflected = reflected(after)
        lam = numpy.maximum(after.sigma, equation.least)
        return ObservableState(after.left, lam, after.right, state.n_reflections + is_reflected)

    def _moved(
        self,
        root: SingularFrames,
        covector: numpy.ndarray,
        scale: float,
        rng: numpy.random.Generator,
    ) -> SingularFrames:
        equation, depth = self.equation, self.equation.depth
        normals = normal_blocks(root, rng)
        tangent = added(
            drift(equation, root, covector, self.step_size),
            times(normals, scale / math.sqrt(depth)),
        )
        turns = brownian.surplus_turns(root.sigma, depth, scale * normals.core)
        left, right = root.left @ rotation(turns[0]), root.right @ rotation(turns[1])
        after = moved(SingularFrames(left, root.sigma, right), tangent)
        if scale == 0 or depth == 1:
            return after
        angle = scale * math.sqrt(1 - 1 / depth) / numpy.maximum(abs(after.sigma), equation.least)
        left, right = (tilted(frame, angle, rng) for frame in (after.left, after.right))
        return SingularFrames(left, after.sigma, right)


def reflected(signed: SingularFrames) -> tuple[SingularFrames, numpy.ndarray]:
    """Return ``Y`` with positive values, and where it was reflected.

    That is where ``det`` has changed its sign: then the least of the values changes its own.
    """
    n_negative = numpy.bincount(numpy.nonzero(signed.sigma < 0)[0], minlength=len(signed.sigma))
    turned = numpy.flatnonzero(n_negative)
    is_reflected = n_negative % 2 == 1
    if len(turned):
        signs = numpy.where(signed.sigma[turned] < 0, -1.0, 1.0)
        least = numpy.argmin(abs(signed.sigma[turned]), axis=-1)
        signs[numpy.arange(len(turned)), least] *= numpy.where(is_reflected[turned], -1, 1)
        left = signed.left.copy()
        left[turned] *= signs[:, None, :]
        signed = signed._replace(left=left, sigma=abs(signed.sigma))
    return signed, is_reflected


def rotation(skew: numpy.ndarray) -> numpy.ndarray:
    """Return Cayley's rotation ``(I - A/2)^{-1} (I + A/2)``, the exponential to second order."""
    identity = numpy.eye(skew.shape[-1])
    return numpy.linalg.solve(identity - skew / 2, identity + skew / 2)


def drift(
    equation: Equation, root: SingularFrames, covector: numpy.ndarray, step_size: float
) -> Blocks:
    """Return ``-grad F`` in depth-root coordinates, over a step, in frames."""
    lam, depth = root.sigma, equation.depth
    slope = equation.blocks(covector, root)
    heat = step_size / equation.beta
    surplus = sum(width - equation.rank for width in equation.widths[1:-1])
    entropic = heat * brownian.entropic_drift(lam, depth)
    entropic = entropic + brownian.radial_step(lam, heat * surplus / depth)
    down = times(brownian.descent(lam, slope, depth), step_size)
    return down._replace(core=down.core + diagonal_matrix(entropic))


def normal_blocks(root: SingularFrames, rng: numpy.random.Generator) -> Blocks:
    """Draw a standard normal tangent vector of the matrices of a rank, in frames."""
    n, rank = root.sigma.shape
    core = rng.standard_normal((n, rank, rank))
    left, right = (_normal_null(frame, rng) for frame in (root.left, root.right))
    return Blocks(core, left, None if right is None else transpose(right))


def _normal_null(frame: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray | None:
    """Draw standard normal columns in the complement of a frame, if it has one."""
    if frame.shape[-2] == frame.shape[-1]:
        return None
    ambient = rng.standard_normal(frame.shape)
    return ambient - frame @ (transpose(frame) @ ambient)


def times(blocks: Blocks, factor: float) -> Blocks:
    """Return a multiple of a tangent vector."""
    return Blocks(*[None if block is None else factor * block for block in blocks[:3]])


def added(one: Blocks, other: Blocks) -> Blocks:
    """Return the sum of tangent vectors."""
    return Blocks(*[None if a is None else a + b for a, b in zip(one[:3], other[:3], strict=True)])


def tilted(
    frame: numpy.ndarray, angle: numpy.ndarray, rng: numpy.random.Generator
) -> numpy.ndarray:
    """Tilt the vectors of a frame towards its null space by noise of the given deviations."""
    normals = _normal_null(frame, rng)
    if normals is None:
        return frame
    normals = normals * angle[..., None, :]
    # The polar factor of Q + Z, whose Gram matrix is I + ZᵀZ.
    values, vectors = numpy.linalg.eigh(transpose(normals) @ normals)
    root = vectors / numpy.sqrt(1 + values)[..., None, :] @ transpose(vectors)
    return (frame + normals) @ root


def moved(root: SingularFrames, tangent: Blocks, *, orthographic: bool = False) -> SingularFrames:
    r"""Return ``Y`` after a tangent step, by a retraction of second order.

    .. math:: Y' = Q C O^T + Z_L O^T + Q Z_R + Z_L C^{-1} Z_R, \quad C = Λ + \text{core}.

    With the last term this is the orthographic retraction, whose displacement has the step as
    its tangent part; without it the nearest matrix of the rank is taken. Where matrices of the
    rank are an open set the values have the sign by which ``det`` changes.
    """
    core = diagonal_matrix(root.sigma) + tangent.core
    for block in (core, tangent.left_null, tangent.right_null):
        if block is not None:
            check_bounds(block)
    left, right = root.left, root.right
    if tangent.left_null is None and tangent.right_null is None:
        turn, values, other = signed_frames(core)
        return SingularFrames(left @ turn, values, right @ other)
    rank = core.shape[-1]
    identity = numpy.broadcast_to(numpy.eye(rank), core.shape)
    blocks, below = core, identity
    if tangent.right_null is not None:
        corner = numpy.linalg.inv(core) if orthographic else 0 * core
        right, across = _spanned(right, transpose(tangent.right_null))
        blocks = numpy.concatenate([core, identity], axis=-1) @ across
        below = numpy.concatenate([identity, corner], axis=-1) @ across
    if tangent.left_null is not None:
        left, down = _spanned(left, tangent.left_null)
        blocks = transpose(down) @ numpy.concatenate([blocks, below], axis=-2)
    within = singular_frames(blocks, rank)
    return SingularFrames(left @ within.left, within.sigma, right @ within.right)


def check_bounds(array: numpy.ndarray | numpy.floating) -> None:
    """Raise `Diverged` if an entry is not finite."""
    if not numpy.isfinite(array).all():
        raise Diverged("the matrices leave every bound: take a smaller step_size.")


def _spanned(frame: numpy.ndarray, null: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return a frame of the span of ``[Q, Z]``, and the rows of these columns in it."""
    span, triangle = numpy.linalg.qr(numpy.concatenate([frame, null], axis=-1))
    return span, transpose(triangle)


def signed_frames(core: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return singular frames and values of square matrices; the last has the sign of ``det``."""
    left, values, right = numpy.linalg.svd(core)
    sign = numpy.where(numpy.linalg.slogdet(core)[0] < 0, -1.0, 1.0)
    left[..., -1] *= sign[..., None]
    values[..., -1] *= sign
    return left, values, transpose(right)
