"""Polynomial maps from functions and expressions, and what is none."""

import numpy as np
import pytest
import sympy

from dlngeo.intrinsic import conservation_laws_of
from dlngeo.intrinsic.conservation.polynomials import monomial_chain, symbols_and_polynomials


def test_functions_and_expressions_are_the_same():
    def phi(theta):
        return (theta[4:].reshape(2, 2) @ theta[:4].reshape(2, 2)).ravel()

    by_function = conservation_laws_of(phi, 8)
    assert (by_function.n_laws, by_function.n_parameters) == (3, 8)
    x = sympy.symbols("x:8")
    known = [x[4] ** 2 + x[6] ** 2 - x[0] ** 2 - x[1] ** 2]
    checked = conservation_laws_of(sympy.Matrix(phi(np.array(x))), x, known=known)
    assert (checked.n_laws, checked.n_known, checked.complete) == (3, 1, False)
    assert "1 of 3" in checked.status
    twice = conservation_laws_of(phi, x, known=[known[0], known[0] ** 2])
    assert twice.n_known == 1


X, Y = sympy.symbols("x y")


MAPS: dict = {
    "exponential": ((lambda t: np.exp(t), 2), "no polynomial"),
    "maximum": ((lambda t: np.maximum(t, 0), 2), "no polynomial"),
    "absolute value": ((lambda t: [abs(t[0])], 2), "no polynomial"),
    "quotient": (([X / Y],), "no polynomial"),
    "root": (([sympy.sqrt(2) * X],), "rational"),
    "power": (([X**0.5],), "no polynomial"),
    "other variable": (([X * Y], (X,)), "all its variables"),
    "NaN": (([sympy.nan], 1), "no polynomial"),
    "infinite": (([X + sympy.oo],), "no polynomial"),
    "nothing": (([],), "at least one entry"),
    "no variable": (([3],), "at least one entry"),
    "none": ((None, 2), "SymPy expressions"),
    "text": (("a b",), "SymPy expressions"),
    "comparison": (([X > Y],), "SymPy expressions"),
    "function alone": ((lambda t: t,), "variables"),
    "no variables": (([X], 0), "positive integer"),
    "names": (([X], ("x",)), "symbols"),
    "twice": (([X], (X, X)), "different"),
}


@pytest.mark.parametrize("case", MAPS)
def test_refused_maps(case):
    arguments, message = MAPS[case]
    with pytest.raises(ValueError, match=message):
        conservation_laws_of(*arguments)


def test_what_is_no_law_is_refused():
    with pytest.raises(ValueError, match="not conserved"):
        conservation_laws_of([X * Y], known=[X**2 + Y**2])
    assert conservation_laws_of([X * Y], known=[X**2 - Y**2]).complete


def test_one_symbol_is_a_map():
    assert conservation_laws_of(X).n_laws == 0
    assert monomial_chain(symbols_and_polynomials(X)[1]).n_parameters == 1
