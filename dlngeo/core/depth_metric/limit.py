r"""The operator ``A_{∞,X}`` of the metric at infinite depth, and its derivatives.

There are no layers to differentiate through. In frames, with ``x = σ^2``, the first divided
differences of the weights in one of their arguments are

.. math:: \frac{r_{kl} - r_{ml}}{x_k - x_m} = \frac{H_{kml}}{r_{km}},

which the squares ``XX^T`` and ``X^TX`` meet from the left and from the right; see
`dlngeo.core.depth_metric.weights` for ``r`` and ``H``.
"""

from dlngeo.core.base.arrays import Array, symmetric_part, transpose
from dlngeo.core.base.checks import check_range
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.depth_metric.weights import LimitWeights
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import exact_frames, singular_frames


def _jvp(arguments: tuple, result: Array, tangents: tuple, is_inverse: bool) -> Array:
    (matrix, vector), (velocity, change) = arguments, tangents
    if is_inverse:
        return scale_in_limit(matrix, change - _change(matrix, result, velocity), is_inverse=True)
    moved = scale_in_limit(matrix, change, is_inverse=False)
    return moved + _change(matrix, vector, velocity)


def _vjp(arguments: tuple, result: Array, cotangent: Array, is_inverse: bool) -> tuple:
    matrix, vector = arguments
    pulled = scale_in_limit(matrix, cotangent, is_inverse=is_inverse)
    if is_inverse:
        return -_slope(matrix, result, pulled), pulled
    return _slope(matrix, vector, cotangent), pulled


@primitive(static=("is_inverse",), jvp=_jvp, vjp=_vjp)
def scale_in_limit(matrix: Array, vector: Array, is_inverse: bool) -> Array:
    """Return ``A_∞(P)`` of a matrix, or ``A_∞^{-1}(Z)``; both have first derivatives."""
    matrix, vector, up, exponent = at_unit_scale(2, matrix, vector)
    frames = exact_frames(matrix, matrix.shape[-1])
    weights = LimitWeights(frames.sigma)
    check_range(weights.core, divides=is_inverse)
    blocks = frames.split(vector)
    scaled = weights.lower_index(blocks) if is_inverse else weights.raise_index(blocks)
    return at_scale(frames.join(scaled), exponent + (-2 if is_inverse else 2) * up, "the vector")


@primitive()
def _change(matrix: Array, covector: Array, velocity: Array) -> Array:
    """Return the derivative of ``A_∞(P)`` along a velocity of ``X``, at fixed ``P``."""
    frames = singular_frames(matrix, matrix.shape[-1])
    sigma, weights = frames.sigma, LimitWeights(frames.sigma)
    core, moved = frames.split(covector).core, frames.split(velocity).core
    left = 2 * symmetric_part(moved * sigma[..., None, :]) / weights.core
    right = 2 * symmetric_part(sigma[..., :, None] * moved) / weights.core
    return frames.join(Blocks(weights.contract(left, core) + weights.contract(core, right)))


@primitive()
def _slope(matrix: Array, covector: Array, cotangent: Array) -> Array:
    """Return the gradient by ``X`` of ``⟨C, A_∞(P)⟩``, the adjoint of `_change`."""
    frames = singular_frames(matrix, matrix.shape[-1])
    sigma, weights = frames.sigma, LimitWeights(frames.sigma)
    core, pulled = frames.split(covector).core, frames.split(cotangent).core
    left, right = (
        weights.contract(pulled, transpose(core)),
        weights.contract(transpose(core), pulled),
    )
    slope = symmetric_part(left / weights.core) * sigma[..., None, :]
    slope = slope + sigma[..., :, None] * symmetric_part(right / weights.core)
    return frames.join(Blocks(2 * slope))
