r"""Strings: the structure of relaxed balanced networks.

Factors are *relaxed balanced* with offsets ``c`` if

.. math:: W_{p+1}^T W_{p+1} - W_p W_p^T = c_p I, \quad p = 1, ..., N-1.

With the shifts ``τ_p = Σ_{j ≥ p} c_j``, ``τ_N = 0``, they are a direct sum of *strings*: unit
vectors ``e_a, ..., e_b`` of successive layers with ``W_p e_{p-1} = √(m - τ_p) e_p``, that begin
at layer ``0`` or where ``m = τ_a`` and end at layer ``N`` or where ``m = τ_{b+1}``. The whole
ones, from ``0`` to ``N``, carry the singular values of ``X``,

.. math:: σ_k^2 = \prod_{p=1}^{N} (m_k - τ_p), \quad m_k ≥ \max_p τ_p,

and widths, offsets and rank tell how many there are of the others ([MPG25]; THEORY 6).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, is_traced, namespace, round_off
from dlngeo.core.base.checks import finite, several
from dlngeo.core.networks.factors import check_shape, check_widths

_NEWTON_STEPS = 25


class _String(NamedTuple):
    """Strings of a relaxed balanced network that are not whole.

    Attributes
    ----------
    first, last : int
        Layers ``a ≤ b`` from and to which they run.
    level : float
        Their ``m``.
    number : int
        How many there are.
    """

    first: int
    last: int
    level: float
    number: int


class RelaxedNetwork(NamedTuple):
    """What offsets, widths and rank tell about relaxed balanced factors.

    Made by `relaxed_network`.

    Attributes
    ----------
    widths : tuple of int
    rank : int
        Number of whole strings.
    shifts : tuple of float
        ``τ_1, ..., τ_N``; equal to the last bit where they are equal to round-off.
    strings : tuple of _String
        All the others.
    """

    widths: tuple[int, ...]
    rank: int
    shifts: tuple[float, ...]
    strings: tuple[_String, ...]

    @property
    def top(self) -> float:
        """Largest shift, the ``m`` of a singular value zero."""
        return max(self.shifts)

    @property
    def is_smooth(self) -> bool:
        """Whether the top is one shift only, so that ``m`` is a smooth function of ``σ²``."""
        return self.shifts.count(self.top) == 1

    @property
    def left_levels(self) -> set[float]:
        """The ``m`` of the left null vectors of ``X``."""
        return {string.level for string in self.strings if string.last == len(self.shifts)}

    @property
    def right_levels(self) -> set[float]:
        """The ``m`` of the right null vectors of ``X``."""
        return {string.level for string in self.strings if string.first == 0}

    @property
    def is_complete(self) -> bool:
        """Whether the metric is complete: matrices of lower rank are ordinary points of it."""
        return self.is_smooth and self.left_levels | self.right_levels <= {self.top}

    def scaled(self, factor: float) -> "RelaxedNetwork":
        """Return the network with offsets multiplied by a positive number."""
        strings = [string._replace(level=factor * string.level) for string in self.strings]
        shifts = [factor * shift for shift in self.shifts]
        return self._replace(shifts=tuple(shifts), strings=tuple(strings))

    def squares(self, sigma: Array) -> list[Array]:
        """Return ``m_k - τ_p``, the squared singular values of the factors, for each ``p``."""
        gaps = [self.top - shift for shift in self.shifts]
        excess = _excess(sigma, gaps)
        return [excess + gap for gap in gaps]


def _excess(sigma: Array, gaps: Sequence[float]) -> Array:
    """Return the root ``x ≥ 0`` of ``Π_p (x + δ_p) = σ²``, one of the ``δ`` being zero.

    Newton's method for ``log x``, of which the logarithm of the product is a convex function:
    from the right it converges at every scale. Leaving out ``x`` or ``δ_p`` of each factor
    bounds the root from above, the best time by a factor of at most ``2^N`` of the product.
    """
    xp = namespace(sigma)
    is_zero = sigma == 0
    target = 2 * xp.log(xp.where(is_zero, xp.ones_like(sigma), sigma))
    ordered = sorted(gaps)
    bounds = [
        (target - sum(math.log(gap) for gap in ordered[k:])) / k
        for k in range(ordered.count(0.0), len(ordered) + 1)
    ]
    y = functools.reduce(xp.minimum, bounds)
    for _ in range(_NEWTON_STEPS):
        x = xp.exp(y)
        miss = sum(y if gap == 0 else xp.log(x + gap) for gap in gaps) - target
        step = miss / sum(1.0 if gap == 0 else x / (x + gap) for gap in gaps)
        y = y - step
        # What is left is the square of the step.
        if not is_traced(sigma) and bool(xp.all(xp.abs(step) <= round_off(sigma) ** 0.5 / 4)):
            break
    return xp.where(is_zero, xp.zeros_like(y), xp.exp(y))


def relaxed_network(
    offsets: Sequence[float], widths: Sequence[int], rank: int | None = None
) -> RelaxedNetwork:
    r"""Return the strings of relaxed balanced factors.

    Parameters
    ----------
    offsets : sequence of float
        ``c_1, ..., c_{N-1}``.
    widths : sequence of int
        ``(d_0, ..., d_N)``.
    rank : int, optional
        Rank of ``X``, ``min(widths)`` by default.

    Returns
    -------
    network : RelaxedNetwork

    Raises
    ------
    ValueError
        If there are no relaxed balanced factors of these offsets, widths and rank.

    Notes
    -----
    Strings of level ``t`` fill the layers between two successive ``p`` with ``τ_p ≥ t``, or an
    end, and cannot end where ``τ_p > t``. Across the ``p`` with ``τ_p = t`` their number changes
    by ``d_p - d_{p-1}``, which fixes it. It must not be negative: a necessary and sufficient
    condition, of which ``c_p > 0 ⇒ d_p ≤ d_{p+1}`` and ``c_p < 0 ⇒ d_p ≤ d_{p-1}`` are cases.

    References
    ----------
    [MPG25]; own derivation; THEORY 6.
    """
    widths, rank = check_widths(widths, rank)
    offsets = check_offsets(offsets)
    if len(offsets) != len(widths) - 2:
        raise ValueError(
            f"a network of widths {widths} has {len(widths) - 2} hidden layers, each with one "
            f"offset; got {len(offsets)} offsets."
        )
    shifts = _shifts(offsets)
    depth = len(shifts)
    strings = []
    for level in sorted(set(shifts)):
        barriers = [p for p, shift in enumerate(shifts, start=1) if shift > level]
        for low, high in itertools.pairwise([0, *barriers, depth + 1]):
            breaks = [p for p in range(low + 1, high) if shifts[p - 1] == level]
            if not breaks:
                continue
            ends = [breaks[0] - 1, *breaks]
            if not barriers:
                base_width = rank
            else:
                # No string of this level reaches the barrier.
                kept = ends[0] if low > 0 else ends[-1]
                base_width = widths[kept]
                pairs = [(kept, p) for p in ends if widths[p] < base_width]
                if low > 0 and high <= depth and widths[ends[-1]] > base_width:
                    pairs.append((ends[-1], kept))
                _check_room(pairs, offsets, widths)
            for first, last, p in zip(
                [low, *breaks], [*[p - 1 for p in breaks], high - 1], ends, strict=True
            ):
                if widths[p] > base_width:
                    strings.append(_String(first, last, level, widths[p] - base_width))
    return RelaxedNetwork(widths, rank, shifts, tuple(strings))


def check_offsets(offsets: Sequence[float]) -> tuple[float, ...]:
    """Return offsets as finite floats; errors as in `several`."""
    try:
        return several(offsets, "offsets", finite, least=0)
    except ValueError as error:
        raise ValueError(
            "the offsets must be a sequence of N-1 numbers, one for each hidden layer, such as "
            f"(0.5,) for two factors: {error}"
        ) from error


def _shifts(offsets: Sequence[float]) -> tuple[float, ...]:
    """Return ``τ_1, ..., τ_N``, those equal that differ by round-off of the sums."""
    bound = 4 * len(offsets) * numpy.finfo(float).eps * max(map(abs, offsets), default=0.0)
    shifts = [0.0]
    for offset in reversed(offsets):
        shift = shifts[-1] + offset
        shifts.append(next((old for old in shifts if abs(old - shift) <= bound), shift))
    return tuple(reversed(shifts))


def _check_room(
    pairs: Sequence[tuple[int, int]], offsets: Sequence[float], widths: Sequence[int]
) -> None:
    """Raise a ValueError if there is a pair of a layer and a narrower one that it has to fit in."""
    for wide, narrow in pairs:
        raise ValueError(
            f"no factors of widths {widths} are relaxed balanced with offsets {offsets}: the "
            f"product of the factors between layers {min(wide, narrow)} and {max(wide, narrow)} "
            f"would keep all {widths[wide]} dimensions of layer {wide} (a positive "
            "W_{p+1}ᵀW_{p+1} = W_pW_pᵀ + c_p I, or a positive W_pW_pᵀ, has no kernel), but layer "
            f"{narrow} has only {widths[narrow]}. Widen layer {narrow}, or change the offsets."
        )


def intrinsic_network(
    offsets: Sequence[float],
    shape: tuple[int, int],
    widths: Sequence[int] | None = None,
    rank: int | None = None,
) -> RelaxedNetwork:
    """Return the strings over matrices of a shape, for which ``dφ dφ*`` is a function of ``X``.

    Parameters
    ----------
    offsets : sequence of float
        ``c_1, ..., c_{N-1}``.
    shape : tuple of int
        ``(d_N, d_0)``.
    widths : sequence of int, optional
        ``(d_0, ..., d_N)``; the hidden layers are as wide as the rank by default.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    network : RelaxedNetwork

    Raises
    ------
    ValueError
        As `relaxed_network` and `check_intrinsic`, or if the widths do not fit the shape.

    References
    ----------
    [MPG25]; THEORY 6.
    """
    offsets, (rows, columns) = check_offsets(offsets), check_shape(shape)
    if widths is None:
        hidden = min(rows, columns) if rank is None else rank
        widths = (columns, *[hidden] * len(offsets), rows)
    network = relaxed_network(offsets, widths, rank)
    if (network.widths[-1], network.widths[0]) != (rows, columns):
        raise ValueError(
            f"matrices of shape ({rows}, {columns}) need widths from {columns} to {rows}, in the "
            f"order in which data flow; got {network.widths}."
        )
    check_intrinsic(network)
    return network


def check_intrinsic(network: RelaxedNetwork) -> None:
    r"""Raise a ValueError where ``dφ dφ*`` is no function of ``X``, or training leaves the rank.

    The null vectors of one side must share one level: it is a property of the factors, not of
    ``X``, which of the null vectors has which. Between null vectors of the simple top level on
    both sides the kernel is ``q'(\max τ) > 0``, and the flow leaves matrices of the rank.
    """
    for side, levels in (("left", network.left_levels), ("right", network.right_levels)):
        if len(levels) > 1:
            values = ", ".join(f"{level:.4g}" for level in sorted(levels))
            raise ValueError(
                f"the intrinsic metric does not exist for widths {network.widths}, rank "
                f"{network.rank} and these offsets: null vectors on the {side} of X belong to "
                f"strings with different m ({values}), so that dφ dφ* is a function of the "
                "factors, but not of X. Make the layers beside the wide end as narrow as the "
                "rank, or change the offsets."
            )
    if network.is_smooth and network.top in network.left_levels & network.right_levels:
        raise ValueError(
            f"training with these offsets leaves the matrices of rank {network.rank}, as "
            f"{network.shifts.count(network.top)} factor alone vanishes on null vectors and the "
            f"widths {network.widths} have room for rank {min(network.widths)}: use that rank "
            "(matrices of lower rank are ordinary points there), hidden layers as narrow as the "
            "rank, or DepthMetric for the metric of depth one on a lower rank."
        )
