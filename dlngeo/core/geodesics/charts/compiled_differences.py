r"""Compiled divided differences of powers, in lanes; needs Numba (extra ``fast``).

The recursions of `dlngeo.core.networks.power_differences`, of the values on the diagonal of ``s``:
at every number ``m`` on the way to the depth ``powers`` hold ``λ_k^m``, shape=[r], and
``differences`` hold ``h^{(m)}_kl``, shape=[r, r], all of them in lanes. The way begins at two or
three, so that these depths cost what their formulas do.
"""

import numpy

from dlngeo.core.geodesics.charts.compiled_matrices import compiled


@compiled
def numbers_up_to(depth):
    """Return the numbers on the way to the depth, by ``m → 2m`` and ``m → m + 1``."""
    numbers = [depth]
    while numbers[-1] > 3:
        last = numbers[-1]
        numbers.append(last // 2 if last % 2 == 0 else last - 1)
    return numpy.array(numbers[::-1])


@compiled
def first_differences(s, numbers, powers, differences):
    """Set powers and first differences at all numbers."""
    rank, lanes, start = s.shape[0], s.shape[2], numbers[0]
    for k in range(rank):
        for e in range(lanes):
            one = s[k, k, e]
            powers[0, k, e] = one if start == 1 else one * one if start == 2 else one * one * one
        for step in range(len(numbers) - 1):
            for e in range(lanes):
                power = powers[step, k, e]
                doubles = numbers[step + 1] == 2 * numbers[step]
                powers[step + 1, k, e] = power * (power if doubles else s[k, k, e])
        for l in range(k + 1):
            for e in range(lanes):
                one, other = s[k, k, e], s[l, l, e]
                if start < 3:
                    differences[0, k, l, e] = one + other if start == 2 else 1.0
                else:
                    differences[0, k, l, e] = one * (one + other) + other * other
            for step in range(len(numbers) - 1):
                doubles = numbers[step + 1] == 2 * numbers[step]
                for e in range(lanes):
                    left, right = powers[step, k, e], powers[step, l, e]
                    difference = differences[step, k, l, e]
                    if doubles:
                        difference *= left + right
                    else:
                        difference = s[k, k, e] * difference + right
                    differences[step + 1, k, l, e] = difference
            for step in range(len(numbers)):
                for e in range(lanes):
                    differences[step, l, k, e] = differences[step, k, l, e]


@compiled
def mixed_differences(k, l, s, numbers, powers, differences, mean, half):
    """Set ``half`` to ``E_klm`` for all ``m``, shape=[r], in lanes; ``mean`` is room to work in."""
    rank, lanes, start = s.shape[0], s.shape[2], numbers[0]
    for m in range(rank):
        for e in range(lanes):
            one, other, last = s[k, k, e], s[l, l, e], s[m, m, e]
            half[m, e] = start - 1.0 if start < 3 else (one + last) * (other + last)
        if len(numbers) == 1:
            continue
        for e in range(lanes):
            one, other, last = s[k, k, e], s[l, l, e], s[m, m, e]
            gap, sums = (one - last) * (other - last), 0.5 * (one + last) * (other + last)
            both = 0.5 * (one * one + last * last) * (other * other + last * last)
            mean[e] = sums if start == 2 else 0.5 * (both + sums * sums + 0.25 * gap * gap)
        for step in range(len(numbers) - 1):
            doubles = numbers[step + 1] == 2 * numbers[step]
            for e in range(lanes):
                one, other, last = s[k, k, e], s[l, l, e], s[m, m, e]
                power = powers[step, m, e]
                both = 0.5 * (powers[step, k, e] + power) * (powers[step, l, e] + power)
                slope = differences[step, k, m, e] * differences[step, l, m, e]
                gap, sums = (one - last) * (other - last), 0.5 * (one + last) * (other + last)
                square, f, g = 0.25 * gap * gap, mean[e], half[m, e]
                if doubles:
                    mean[e] = f * both + square * g * slope
                    half[m, e] = f * slope + g * both
                else:
                    mean[e] = 0.5 * (both + sums * f + square * g)
                    half[m, e] = 0.5 * (slope + f + sums * g)
