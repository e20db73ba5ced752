r"""Polynomial maps with rational coefficients: from functions or SymPy, to tables of monomials."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import sympy

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import flag, integer, real_array
from dlngeo.intrinsic.conservation.lie_algebra import Chain
from dlngeo.intrinsic.conservation.network_laws import Laws, check_network, check_size

Map = Any
"""A polynomial map: a function of an array of symbols, or SymPy expressions."""
Variables = Any
"""Their number, or a sequence of SymPy symbols; None for the symbols in the map, sorted by name."""


def symbols_and_polynomials(
    phi: Map, variables: Variables = None
) -> tuple[tuple[sympy.Symbol, ...], list[sympy.Poly]]:
    """Return the variables and the entries of a map, as polynomials over the rationals.

    Raises
    ------
    ValueError
        If an entry is no polynomial in the variables with rational coefficients.
    """
    if variables is not None and not isinstance(variables, Sequence):
        variables = integer(variables, "the number of variables", most=10**4)
        variables = sympy.symbols(f"x:{variables}")
    if variables is not None:
        variables = tuple(variables)
        is_symbol = [isinstance(variable, sympy.Symbol) for variable in variables]
        if not variables or not all(is_symbol) or len(set(variables)) < len(variables):
            raise ValueError(
                f"variables must be a positive number or different SymPy symbols, got {variables}."
            )
    if callable(phi) and not isinstance(phi, sympy.Basic):
        if variables is None:
            raise ValueError("give the variables of a function, or their number.")
        try:
            phi = phi(numpy.array(variables, dtype=object))
        except (TypeError, AttributeError) as error:
            raise ValueError(
                "φ cannot be evaluated on symbols, so that it seems to be no polynomial: use sums "
                f"and products only. ({error})"
            ) from error
    try:
        entries = [sympy.sympify(e) for e in numpy.ravel(numpy.array(phi, dtype=object))]
    except sympy.SympifyError as error:
        raise ValueError(f"φ must give SymPy expressions, got {error.expr!r}.") from error
    if not all(isinstance(entry, sympy.Expr) for entry in entries):
        raise ValueError(f"φ must give SymPy expressions, got {entries}.")
    if variables is None:
        free = set().union(*(entry.free_symbols for entry in entries))
        variables = tuple(sorted(free, key=str))
    if not entries or not variables:
        raise ValueError("φ needs at least one entry and one variable.")
    return variables, [_polynomial(entry, variables) for entry in entries]


def _polynomial(entry: sympy.Expr, symbols: tuple[sympy.Symbol, ...]) -> sympy.Poly:
    try:
        return sympy.Poly(entry, *symbols, domain="QQ")
    except (sympy.PolynomialError, sympy.CoercionFailed) as error:
        raise ValueError(
            f"{entry} is no polynomial in {', '.join(map(str, symbols))} with rational "
            "coefficients: give one, with all its variables."
        ) from error


def monomial_chain(polynomials: Sequence[sympy.Poly]) -> Chain:
    """Return polynomials as one sum of monomials, each a product of as many factors.

    They are multiplied by a common denominator; constant terms, which have no gradient, are left
    out.
    """
    n_variables = len(polynomials[0].gens)
    functions, weights, products = [], [], []
    for place, polynomial in enumerate(polynomials):
        for exponents, coefficient in polynomial.clear_denoms(convert=True)[1].terms():
            if any(exponents):
                functions.append(place)
                weights.append(int(coefficient))
                products.append([j for j, e in enumerate(exponents) for _ in range(e)])
    degree = max(map(len, products), default=1)
    factors = numpy.full((degree, len(products)), n_variables)
    for term, product in enumerate(products):
        factors[: len(product), term] = product
    return Chain(
        n_variables,
        len(polynomials),
        tuple(factors),
        numpy.array(functions, dtype=int),
        numpy.array(weights, dtype=object),  # of any size, until a prime is known
    )


def check_laws(
    known: Map, symbols: Sequence[sympy.Symbol], polynomials: Sequence[sympy.Poly]
) -> "PolynomialLaws":
    """Return polynomial laws of a map, after an exact check of ``⟨∇h, ∇φ_i⟩ = 0``.

    Raises
    ------
    ValueError
        If one is not conserved.
    """
    is_empty = not callable(known) and not len(numpy.ravel(numpy.array(known, dtype=object)))
    laws = [] if is_empty else symbols_and_polynomials(known, symbols)[1]
    for law in laws:
        if not is_conserved(law, polynomials):
            raise ValueError(f"{law.as_expr()} is not conserved: it is no law of this map.")
    return PolynomialLaws(tuple(laws), tuple(symbols))


def is_conserved(law: sympy.Poly, polynomials: Sequence[sympy.Poly]) -> bool:
    """Tell whether ``⟨∇h, ∇φ_i⟩`` is the zero polynomial for every ``i``."""
    return all(
        sum((law.diff(x) * phi.diff(x) for x in law.gens), start=0 * law).is_zero
        for phi in polynomials
    )


@dataclass(frozen=True, eq=False)
class PolynomialLaws(Laws):
    """Laws that are polynomials.

    Attributes
    ----------
    polynomials : tuple of SymPy polynomials
    variables : tuple of SymPy symbols
        The parameters, in their order.
    """

    polynomials: tuple[sympy.Poly, ...]
    variables: tuple[sympy.Symbol, ...]

    @property
    def expressions(self) -> tuple[sympy.Expr, ...]:
        """The laws as SymPy expressions."""
        return tuple(law.as_expr() for law in self.polynomials)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.expressions))

    def __call__(self, parameters: Array) -> Array:
        """Return the values of the laws.

        Parameters
        ----------
        parameters : array-like, shape=[..., D]

        Returns
        -------
        values : array-like, shape=[..., n]

        Raises
        ------
        ValueError
            If there are not as many parameters as variables.
        """
        return self._values(parameters, self.polynomials)

    def magnitudes(self, parameters: Array) -> Array:
        positive = [
            sympy.Poly({powers: abs(c) for powers, c in law.terms()}, *law.gens)
            for law in self.polynomials
        ]
        return self._values(namespace(parameters).abs(parameters), positive)

    def _values(self, parameters: Array, polynomials: Sequence[sympy.Poly]) -> Array:
        parameters = real_array(parameters, "the parameters")
        check_size(parameters, len(self.variables))
        expressions = [polynomial.as_expr() for polynomial in polynomials]
        function = sympy.lambdify(self.variables, expressions, modules=[], cse=True)
        values = function(*(parameters[..., j] for j in range(len(self.variables))))
        if not values:
            return parameters[..., :0]
        return namespace(parameters).stack(values, -1)


def network_polynomials(
    widths: Sequence[int], kind: str = "linear", bias: bool = False
) -> tuple[tuple[sympy.Expr, ...], tuple[sympy.Symbol, ...]]:
    """Return the map ``φ`` of a small network and its variables, as SymPy expressions.

    Parameters
    ----------
    widths : sequence of int
    kind : str
        "linear": the entries of the end-to-end matrix, and of the end-to-end bias; "relu": the
        products of the parameters along every path that ends at an output.
    bias : bool

    Returns
    -------
    phi : tuple of SymPy expressions
    variables : tuple of SymPy symbols
        ``W_1, b_1, W_2, b_2, ...``, row by row.

    Raises
    ------
    ValueError
        If the widths are not those of a network.
    """
    widths = check_network(widths, kind)
    variables: list[sympy.Symbol] = []

    def symbols_of(name: str, shape: tuple[int, ...]) -> numpy.ndarray:
        symbols = [
            sympy.Symbol(f"{name}_{'_'.join(str(i + 1) for i in index)}")
            for index in numpy.ndindex(*shape)
        ]
        variables.extend(symbols)
        return numpy.array(symbols, dtype=object).reshape(shape)

    flag(bias, "bias")
    # Of every neuron, the terms of the map from each of the inputs, and from the biases last.
    inputs = [[[sympy.Integer(int(i == j))] for i in range(widths[0])] for j in range(widths[0])]
    terms = [[*row, []] for row in inputs]
    for p, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        weight = symbols_of(f"w{p}", (after, before))
        shift = symbols_of(f"b{p}", (after,) if bias else (0,))
        terms = [
            [
                [weight[i, j] * t for j in range(before) for t in terms[j][source] if t != 0]
                for source in range(widths[0] + 1)
            ]
            for i in range(after)
        ]
        for neuron, b in zip(terms, shift, strict=False):
            neuron[-1].append(b)
    entries = [source for neuron in terms for source in neuron if source]
    if kind == "relu":
        return tuple(itertools.chain.from_iterable(entries)), tuple(variables)
    return tuple(sympy.Add(*entry) for entry in entries), tuple(variables)
