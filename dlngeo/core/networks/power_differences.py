r"""Divided differences of powers, by doubling: what sums over the layers come to.

A sum over ``N`` layers of products of powers is a divided difference of ``x^N`` or of one of its
relatives. Along the binary digits of ``N`` it is found in ``O(log N)`` steps, ``m → 2m`` and
``m → m + 1``, by the rules of products. Of positive arguments all terms are positive: nothing
cancels where these are equal or tiny.

================================================= ==================== ==========================
symbol                                            name                 shape
================================================= ==================== ==========================
``h_kl = Σ_{i+j=N-1} x_k^i y_l^j``                `first_difference`   any that broadcast
``H_klm = Σ_{a+b+c=N-2} x_k^a x_l^b x_m^c``       `second_difference`  [..., r] to [..., r, r, r]
``E_klm``, of ``λ``                               `mixed_difference`   [..., r] to [..., r, r, r]
mean and variance of ``j`` under weights ``ρ^j``  `geometric_law`      [...] to [...]
================================================= ==================== ==========================

References
----------
THEORY 3 (own derivation).
"""

from collections.abc import Iterator
from typing import NamedTuple

from dlngeo.core.base.arrays import Array, namespace


def doublings(number: int) -> Iterator[tuple[int, bool]]:
    """Yield the ``m`` on the way from two to a number; with each, whether ``2m`` is the next.

    Otherwise ``m + 1`` is.
    """
    reached = 2
    for place, digit in enumerate(f"{number:b}"[1:]):
        if place:
            yield reached, True
            reached *= 2
        if digit == "1":
            yield reached, False
            reached += 1


def _following(difference: Array, x: Array, y: Array, reached: int, doubles: bool) -> Array:
    """Return ``h^{(2m)} = h^{(m)} (x^m + y^m)``, or ``h^{(m+1)} = x h^{(m)} + y^m``."""
    if doubles:
        return difference * (x**reached + y**reached)
    return x * difference + y**reached


def first_difference(x: Array, y: Array, number: int) -> Array:
    r"""Return ``(x^N - y^N) / (x - y) = \sum_{i+j=N-1} x^i y^j``.

    Parameters
    ----------
    x, y : array-like
        Arguments, of shapes that broadcast.
    number : int
        ``N ≥ 1``.
    """
    difference = x + y
    if number == 1:
        return namespace(difference).ones_like(difference)
    for reached, doubles in doublings(number):
        difference = _following(difference, x, y, reached, doubles)
    return difference


def second_difference(x: Array, number: int) -> Array:
    r"""Return the second divided differences of ``x^N``.

    .. math:: H_{klm} = \sum_{a+b+c=N-2} x_k^a x_l^b x_m^c, \quad
              H^{(2m)}_{klm} = H^{(m)}_{klm} (x_k^m + x_m^m) + h^{(m)}_{kl} h^{(m)}_{lm}, \quad
              H^{(m+1)}_{klm} = H^{(m)}_{klm} x_m + h^{(m)}_{kl}

    Parameters
    ----------
    x : array-like, shape=[..., r]
    number : int
        ``N ≥ 1``.

    Returns
    -------
    second_difference : array-like, shape=[..., r, r, r]
    """
    row, column, last = x[..., :, None], x[..., None, :], x[..., None, None, :]
    second = (1.0 if number > 1 else 0.0) + 0 * (row[..., None] * column[..., None] * last)
    first = row + column
    for reached, doubles in doublings(number):
        if doubles:
            powers = row[..., None] ** reached + last**reached
            second = second * powers + first[..., :, :, None] * first[..., None, :, :]
        else:
            second = second * last + first[..., :, :, None]
        first = _following(first, row, column, reached, doubles)
    return second


def mixed_difference(lam: Array, number: int) -> Array:
    r"""Return the complete homogeneous polynomials of products of two pairs of values.

    .. math:: E_{klm} = \sum_{a+b+c+d=N-2}
              (λ_k λ_l)^a (λ_m^2)^b (λ_k λ_m)^c (λ_l λ_m)^d

    It is the divided difference of ``h^{(N)}(w, z)`` as a function of ``w + z`` between the pairs
    ``λ_kλ_l, λ_m²`` and ``λ_kλ_m, λ_lλ_m``, whose products are equal and whose sums are apart by
    ``(λ_k - λ_m)(λ_l - λ_m) = 2ε``. Mean ``F`` and ``E``, half the difference in units of ``ε``,
    are multiplied like numbers ``f = F + εE``, and so are those of ``w^m + z^m``, ``g = G + εH``,

    .. math:: G^{(m)} = \tfrac12 (λ_k^m + λ_m^m)(λ_l^m + λ_m^m), \quad
              H^{(m)} = h^{(m)}_{km} h^{(m)}_{lm}, \quad
              f^{(2m)} = f^{(m)} g^{(m)}, \quad
              f^{(m+1)} = \tfrac12 \left(g^{(m)} + (G^{(1)} + ε) f^{(m)}\right).

    Parameters
    ----------
    lam : array-like, shape=[..., r]
    number : int
        ``N ≥ 1``.

    Returns
    -------
    mixed_difference : array-like, shape=[..., r, r, r]
    """
    row, column = lam[..., :, None], lam[..., None, :]

    def product(pairs: Array) -> Array:
        return pairs[..., :, None, :] * pairs[..., None, :, :]

    first = row + column
    sums, square = product(first) / 2, product(row - column) ** 2 / 4
    mean, half = sums, (1.0 if number > 1 else 0.0) + 0 * sums
    for reached, doubles in doublings(number):
        both, slope = product(row**reached + column**reached) / 2, product(first)
        if doubles:
            mean, half = mean * both + square * half * slope, mean * slope + half * both
        else:
            mean, half = (
                (both + sums * mean + square * half) / 2,
                (slope + mean + sums * half) / 2,
            )
        first = _following(first, row, column, reached, doubles)
    return half


class GeometricLaw(NamedTuple):
    """The law on ``j = 0, ..., N-1`` with weights ``ρ^j``.

    Attributes
    ----------
    mean, variance : array-like
        Of ``j``.
    excess : array-like
        ``N mean - 2 variance``, where these cancel to first order in ``ρ`` for ``N = 2``.
    """

    mean: Array
    variance: Array
    excess: Array


def geometric_law(ratio: Array, number: int) -> GeometricLaw:
    """Return the geometric law of a ratio ``0 ≤ ρ ≤ 1`` on ``N`` numbers.

    That on ``2m`` numbers is the sum of the one on ``m`` and of ``m`` times an independent number
    that is zero or one; that on ``m + 1`` is zero, or one more than that on ``m``.
    """
    if number == 1:
        zero = 0 * ratio
        return GeometricLaw(zero, zero, zero)
    total = 1 + ratio
    mean = ratio / total
    variance, excess = mean / total, 2 * mean**2
    for reached, doubles in doublings(number):
        power = ratio**reached
        if doubles:
            share = power / (1 + power)
            excess = reached * mean + excess + 2 * (reached * share) ** 2
            mean = mean + reached * share
            variance = variance + reached**2 * share / (1 + power)
            total = total * (1 + power)
        else:
            following = 1 + ratio * total
            share, after = ratio * total / following, 1 + mean
            excess = share * (reached + after + excess - 2 * after**2 / following)
            variance = share * (variance + after**2 / following)
            mean, total = share * after, following
    return GeometricLaw(mean, variance, excess)
