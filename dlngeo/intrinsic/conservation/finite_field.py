r"""Linear algebra over a prime field, in 64-bit integers.

A rank modulo a prime at an integer point is at most the generic rank over the rationals, so that
it proves a lower bound; at random points it is equal, but for a share of about degree/prime.
"""

import math
from fractions import Fraction

import numpy

Integers = numpy.ndarray
"""An array of int64, with entries from zero to the prime minus one."""

PRIMES = (268435399, 268435367, 268435361, 268435337, 268435331, 268435313)
"""The largest primes below ``2^28``: 127 products of residues add up without overflow."""
TERMS = 127
BLOCK = 64
"""Number of rows that are eliminated one by one, before they meet the others in a product."""


def matmul(left: Integers, right: Integers, prime: int) -> Integers:
    """Return the product of (stacks of) matrices of residues."""
    inner = left.shape[-1]
    if inner <= TERMS:
        return left @ right % prime
    parts = (slice(start, start + TERMS) for start in range(0, inner, TERMS))
    return sum((left[..., s] @ right[..., s, :]) % prime for s in parts) % prime


class Echelon:
    """A space of row vectors modulo a prime, in reduced echelon form, that grows.

    Parameters
    ----------
    n_columns : int
    prime : int

    Attributes
    ----------
    rows : array of int, shape=[rank, n_columns]
    pivots : list of int
        Column of the leading one of each row.
    """

    def __init__(self, n_columns: int, prime: int):
        self.prime = prime
        self.rows = numpy.zeros((0, n_columns), dtype=numpy.int64)
        self.pivots: list[int] = []

    @property
    def rank(self) -> int:
        """Dimension of the space."""
        return len(self.pivots)

    def add(self, vectors: Integers) -> int:
        """Add the span of vectors, shape=[n, n_columns], and return the rank."""
        for start in range(0, len(vectors), BLOCK):
            if self.rank == vectors.shape[1]:
                break
            self._add_block(vectors[start : start + BLOCK] % self.prime)
        return self.rank

    def _add_block(self, block: Integers) -> None:
        prime = self.prime
        block = (block - matmul(block[:, self.pivots], self.rows, prime)) % prime
        kept, pivots = [], []
        for row in range(len(block)):
            places = numpy.flatnonzero(block[row])
            if places.size:
                pivot = int(places[0])
                lead = block[row] * pow(int(block[row, pivot]), -1, prime) % prime
                block = (block - block[:, pivot, None] * lead) % prime
                block[row] = lead
                kept.append(row)
                pivots.append(pivot)
        new = block[kept]
        old = (self.rows - matmul(self.rows[:, pivots], new, prime)) % prime
        self.rows = numpy.vstack([old, new])
        self.pivots += pivots

    def null_space(self) -> Integers:
        """Return a basis of the vectors that all rows annihilate, in echelon form.

        Each has a one in its own free column and zeros in the other free ones.
        """
        n_columns = self.rows.shape[1]
        free = numpy.setdiff1d(numpy.arange(n_columns), self.pivots)
        basis = numpy.zeros((len(free), n_columns), dtype=numpy.int64)
        basis[numpy.arange(len(free)), free] = 1
        basis[:, self.pivots] = -self.rows[:, free].T % self.prime
        return basis


def fraction_of(residue: int, modulus: int) -> Fraction | None:
    """Return the fraction of small numerator and denominator with a residue, if there is one.

    References
    ----------
    Wang's rational reconstruction: the continued fraction of residue/modulus, cut half way.
    """
    bound = math.isqrt(modulus // 2)
    before, after = (modulus, 0), (residue % modulus, 1)
    while after[0] > bound:
        quotient = before[0] // after[0]
        before, after = (
            after,
            (before[0] - quotient * after[0], before[1] - quotient * after[1]),
        )
    numerator, denominator = after
    if denominator == 0 or abs(denominator) > bound:
        return None
    return Fraction(numerator, denominator)
