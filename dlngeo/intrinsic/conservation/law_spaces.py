r"""Conservation laws of a polynomial map: their count, and all that are polynomials of a degree.

The conditions ``⟨∇h, ∇φ_i⟩ = 0`` are linear in the coefficients of ``h``. Their null space is found
modulo primes from random points, lifted to the rationals, and then checked exactly. A null space
modulo a prime is at least as large as the rational one; so where all of its lifts are laws, they
are all the laws there are.

References
----------
[MGP23]; THEORY 6.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import sympy

from dlngeo.core.base.checks import integer
from dlngeo.intrinsic.conservation.finite_field import BLOCK, PRIMES, Echelon, Integers, fraction_of
from dlngeo.intrinsic.conservation.laws import ConservationLaws, count_laws
from dlngeo.intrinsic.conservation.lie_algebra import (
    Chain,
    jacobian_rank,
    lie_dimension,
    pairings,
)
from dlngeo.intrinsic.conservation.polynomials import (
    Map,
    PolynomialLaws,
    Variables,
    check_laws,
    is_conserved,
    monomial_chain,
    symbols_and_polynomials,
)

LARGEST = 2000
"""Number of monomials up to which laws are sought: about a minute."""


def conservation_laws_of(
    phi: Map, variables: Variables = None, *, known: Any = ()
) -> ConservationLaws:
    """Count the conservation laws of a polynomial map ``φ``; needs SymPy.

    Parameters
    ----------
    phi : callable, or SymPy expressions
        Polynomials with rational coefficients. A function takes an array of the variables,
        shape=[D], and returns an array or a sequence of sums and products of them.
    variables : int, or sequence of SymPy symbols, optional
        Their number, or themselves in the order of the parameters. By default the symbols of the
        expressions, sorted by name.
    known : like phi
        Laws that are known, which are checked.

    Returns
    -------
    laws : ConservationLaws

    Raises
    ------
    ValueError
        If ``φ`` is not polynomial, or a law that is given as known is none.
    """
    symbols, polynomials = symbols_and_polynomials(phi, variables)
    laws = check_laws(known, symbols, polynomials)
    n_known = jacobian_rank(monomial_chain(laws.polynomials)) if laws.expressions else 0
    bound = len(symbols) - n_known
    return count_laws(
        len(symbols), lie_dimension(monomial_chain(polynomials), bound), n_known, laws
    )


@dataclass(frozen=True, eq=False)
class PolynomialLawSpace:
    """The polynomial laws of a map up to a degree.

    Attributes
    ----------
    laws : PolynomialLaws
        A basis of their linear space, products of laws among them; without constants.
    degree : int
    n_independent : int
        Number of functionally independent ones.
    n_further : int
        Number of laws that are functionally independent of the known ones and of each other: zero
        if all are functions of the known laws, locally.
    status : str
    """

    laws: PolynomialLaws
    degree: int
    n_independent: int
    n_further: int
    status: str


def polynomial_laws(
    phi: Map, variables: Variables = None, *, degree: int = 2, known: Any = ()
) -> PolynomialLawSpace:
    """Return all polynomial laws up to a degree, and how many go beyond the known ones.

    Parameters
    ----------
    phi : callable, or SymPy expressions
        Polynomials with rational coefficients, as in `dlngeo.intrinsic.conservation_laws_of`.
    variables : int, or sequence of SymPy symbols, optional
    degree : int
        Largest degree of the laws, at least one.
    known : like phi
        Laws that are known, which are checked.

    Returns
    -------
    space : PolynomialLawSpace

    Raises
    ------
    ValueError
        If ``φ`` is not polynomial, a known law is none, or there are too many monomials.
    """
    symbols, polynomials = symbols_and_polynomials(phi, variables)
    given = check_laws(known, symbols, polynomials)
    degree = integer(degree, "the degree")
    n_monomials = math.comb(len(symbols) + degree, degree) - 1
    if n_monomials > LARGEST:
        raise ValueError(
            f"laws of degree {degree} in {len(symbols)} variables have {n_monomials} monomials, "
            f"more than {LARGEST}: lower the degree, or take a smaller map."
        )
    chain = monomial_chain(polynomials)
    factors = [
        list(product) + [len(symbols)] * (degree - size)
        for size in range(1, degree + 1)
        for product in itertools.combinations_with_replacement(range(len(symbols)), size)
    ]
    found = _lift_null_space(chain, numpy.array(factors), symbols, polynomials)
    laws = PolynomialLaws(found, symbols)
    n_known, n_independent, n_all = (
        jacobian_rank(monomial_chain(group)) if group else 0
        for group in (given.polynomials, found, given.polynomials + found)
    )
    further = n_all - n_known
    return PolynomialLawSpace(
        laws=laws,
        degree=degree,
        n_independent=n_independent,
        n_further=further,
        status=f"{len(found)} linearly independent laws up to degree {degree}, {n_independent} of "
        f"them functionally independent; {further} go beyond the {n_known} known ones.",
    )


def _lift_null_space(
    chain: Chain,
    factors: numpy.ndarray,
    symbols: Sequence[sympy.Symbol],
    polynomials: Sequence[sympy.Poly],
) -> tuple[sympy.Poly, ...]:
    """Return the rational null space of the conditions, from as many primes as it takes."""
    residues, modulus, pivots = None, 1, None
    for seed, prime in enumerate(PRIMES):
        echelon = _conditions(chain, factors, prime, numpy.random.default_rng(seed))
        basis = echelon.null_space().astype(object)
        if pivots is None or set(pivots) != set(echelon.pivots):
            # The first prime, or one of the two is unlucky: the higher rank is right.
            if pivots is not None and len(pivots) > len(echelon.pivots):
                continue
            residues, modulus, pivots = basis, prime, echelon.pivots
        else:  # the Chinese remainder of both
            step = (basis - residues) * pow(modulus, -1, prime) % prime
            residues, modulus = residues + modulus * step, modulus * prime
        laws = [_law(row, modulus, factors, symbols) for row in residues]
        kept = [law for law in laws if law is not None and is_conserved(law, polynomials)]
        if len(kept) == len(laws):
            return tuple(kept)
    raise ValueError(
        f"the coefficients of the laws are too large to be found modulo {len(PRIMES)} primes: "
        "scale the variables so that φ has small integer coefficients."
    )


def _conditions(
    chain: Chain, factors: numpy.ndarray, prime: int, rng: numpy.random.Generator
) -> Echelon:
    """Return the conditions on the coefficients of a law, modulo a prime.

    They are complete as soon as random points give no new one.
    """
    echelon, before = Echelon(len(factors), prime), -1
    n_points = -(-BLOCK // chain.n_functions)
    while echelon.rank > before:
        before = echelon.rank
        rows = []
        for point in rng.integers(prime, size=(n_points, chain.n_parameters)):
            gradients = _monomial_gradients(factors, point, prime)
            rows.append(pairings(chain, prime, point, gradients).T)
        echelon.add(numpy.vstack(rows))
    return echelon


def _monomial_gradients(factors: numpy.ndarray, point: Integers, prime: int) -> Integers:
    """Return the gradients of monomials at a point, shape=[m, D]."""
    values = numpy.append(point, 1)[factors]
    gradients = numpy.zeros((len(factors), len(point) + 1), dtype=numpy.int64)
    rows = numpy.arange(len(factors))
    for place in range(factors.shape[1]):
        product = numpy.ones(len(factors), dtype=numpy.int64)
        for j, column in enumerate(values.T):
            if j != place:
                product = product * column % prime
        gradients[rows, factors[:, place]] += product
    return gradients[:, :-1] % prime


def _law(
    row: numpy.ndarray, modulus: int, factors: numpy.ndarray, symbols: Sequence[sympy.Symbol]
) -> sympy.Poly | None:
    """Return the law with coefficients of the given residues, as integers, if there is one."""
    terms = {}
    for residue, product in zip(row, factors, strict=True):
        if residue:
            coefficient = fraction_of(int(residue), modulus)
            if coefficient is None:
                return None
            powers = numpy.bincount(product, minlength=len(symbols) + 1)[:-1]
            terms[tuple(map(int, powers))] = sympy.Rational(
                coefficient.numerator, coefficient.denominator
            )
    law = sympy.Poly(terms, *symbols, domain="QQ").clear_denoms()[1]
    return -law if law.LC() < 0 else law
