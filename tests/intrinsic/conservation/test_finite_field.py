"""Linear algebra modulo a prime, against Python's integers and SymPy."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from sympy.polys.matrices import DomainMatrix

from dlngeo.intrinsic.conservation.finite_field import PRIMES, TERMS, Echelon, fraction_of, matmul

PRIME = PRIMES[0]


def test_primes_and_room_for_sums():
    assert all(sympy.isprime(prime) for prime in PRIMES)
    assert len(set(PRIMES)) == len(PRIMES)
    assert TERMS * max(PRIMES) ** 2 < 2**63


@pytest.mark.parametrize("inner", [1, 5, TERMS, TERMS + 1, 700])
def test_products(inner):
    rng = np.random.default_rng(inner)
    left = rng.integers(PRIME, size=(2, 3, inner))
    right = rng.integers(PRIME, size=(inner, 4))
    left[0], right[:, 0] = PRIME - 1, PRIME - 1  # the largest sums
    exact = (left.astype(object) @ right.astype(object)) % PRIME
    np.testing.assert_array_equal(matmul(left, right, PRIME), exact)


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (9, 5), (12, 12)], ids=str)
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_ranks_and_null_spaces(shape, missing):
    rng = np.random.default_rng(missing)
    inner = max(min(shape) - missing, 0)
    matrix = rng.integers(-9, 9, size=(shape[0], inner)) @ rng.integers(
        -9, 9, size=(inner, shape[1])
    )
    expected = DomainMatrix(matrix.tolist(), shape, sympy.ZZ).convert_to(sympy.QQ).rank()
    echelon = Echelon(shape[1], PRIME)
    ranks = [echelon.add(part) for part in np.array_split(matrix, 3)]
    assert ranks == sorted(ranks)
    assert echelon.rank == expected
    np.testing.assert_array_equal(echelon.rows[:, echelon.pivots], np.eye(expected, dtype=int))
    kernel = echelon.null_space()
    assert len(kernel) == shape[1] - expected
    assert not (matrix @ kernel.T % PRIME).any()
    assert echelon.add(matrix) == expected


def test_fractions():
    modulus = PRIMES[0] * PRIMES[1]
    for fraction in (Fraction(0), Fraction(-7), Fraction(22, 7), Fraction(-355, 113)):
        residue = fraction.numerator * pow(fraction.denominator, -1, modulus) % modulus
        assert fraction_of(residue, modulus) == fraction
    # Most residues have no small fraction.
    rng = np.random.default_rng(0)
    found = [fraction_of(int(residue), PRIME) for residue in rng.integers(PRIME, size=100)]
    assert None in found
