"""All polynomial laws up to a degree."""

import numpy as np
import pytest
import sympy

from dlngeo.intrinsic import (
    conservation_laws,
    conservation_laws_of,
    network_polynomials,
    polynomial_laws,
)
from dlngeo.intrinsic.conservation.polynomials import symbols_and_polynomials
from tests.intrinsic.networks import naive_lie_dimension, path_incidence

X, Y, Z = sympy.symbols("x y z")


def null_space_by_sympy(phi, variables, degree):
    """Return the dimension of the space of laws, from the coefficients of all conditions."""
    monomials = [m for m in sympy.itermonomials(variables, degree) if m != 1]
    polynomials = [p.as_expr() for p in symbols_and_polynomials(phi, variables)[1]]
    columns = []
    for monomial in monomials:
        column: dict = {}
        for place, entry in enumerate(polynomials):
            change = sum(sympy.diff(monomial, x) * sympy.diff(entry, x) for x in variables)
            for powers, coefficient in sympy.Poly(change, *variables).terms():
                column[place, powers] = coefficient
        columns.append(column)
    keys = sorted(set().union(*columns))
    matrix = sympy.polys.matrices.DomainMatrix(
        [
            [sympy.QQ.convert(column.get(key, sympy.Integer(0))) for key in keys]
            for column in columns
        ],
        (len(columns), len(keys)),
        sympy.QQ,
    )
    return len(monomials) - matrix.rank()


@pytest.mark.parametrize(
    ("widths", "kind", "bias", "degree"),
    [
        ((2, 2, 2), "linear", False, 2),
        ((1, 2, 2), "linear", False, 4),
        ((1, 1, 1, 1), "linear", False, 5),
        ((1, 2, 2, 1), "linear", False, 3),
        ((1, 2, 1), "linear", True, 3),
        ((1, 2, 1), "relu", True, 3),
    ],
    ids=str,
)
def test_all_are_found_and_are_functions_of_the_known_ones(widths, kind, bias, degree):
    phi, variables = network_polynomials(widths, kind, bias)
    quadratic = polynomial_laws(phi, variables)
    space = polynomial_laws(phi, variables, degree=degree, known=quadratic.laws.expressions)
    assert len(space.laws.names) == null_space_by_sympy(phi, variables, degree)
    laws = conservation_laws(widths, kind, bias)
    assert space.n_independent == laws.n_known
    assert space.n_further == 0
    # The quadratic ones are those of the network.
    assert len(quadratic.laws.names) == len(laws.known.names)
    theta = np.random.default_rng(0).normal(size=(60, len(variables)))
    known = np.column_stack([laws.known(theta)])
    fitted = np.linalg.lstsq(known, quadratic.laws(theta), rcond=None)[0]
    np.testing.assert_allclose(known @ fitted, quadratic.laws(theta), atol=1e-10)


def test_products_of_laws_are_laws():
    space = polynomial_laws([X * Y * Z], degree=4)
    # h, k, h², hk, k².
    assert len(space.laws.names) == 5
    assert space.n_independent == space.n_further == 2
    space = polynomial_laws([X * Y * Z], degree=4, known=[X**2 - Y**2])
    assert space.n_further == 1
    assert "1 go beyond" in space.status


def test_laws_of_high_degree_and_rational_coefficients():
    # ∇φ = (x², y²/3, ...): 1/x - 3/y is a law, no polynomial; x⁵ and y: see below.
    assert polynomial_laws([X**3 / 3 + Y**3 / 9], degree=4).laws.names == ()
    # φ = a x²/2 + b y²/2: x^p y^-q are laws; with opposite signs they are polynomials.
    space = polynomial_laws([3 * X**2 - 2 * Y**2], degree=5)
    assert space.laws.expressions == (X**2 * Y**3,)
    space = polynomial_laws([1001 * X + 999983 * Y + 7 * Z], degree=1)
    assert space.n_independent == 2
    for law in space.laws.expressions:
        slopes = [sympy.diff(law, v) for v in (X, Y, Z)]
        assert 1001 * slopes[0] + 999983 * slopes[1] + 7 * slopes[2] == 0


def test_laws_that_are_no_polynomials_are_not_found():
    phi, variables = network_polynomials((1, 2, 2, 1))
    space = polynomial_laws(phi, variables, degree=4)
    assert space.n_independent == conservation_laws_of(phi, variables).n_laws - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degree": 0}, "positive integer"),
        ({"degree": 1.5}, "positive integer"),
        ({"degree": 80}, "lower the degree"),
        ({"known": [X]}, "not conserved"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        polynomial_laws([X * Y], **arguments)


def test_coefficients_that_are_too_large():
    with pytest.raises(ValueError, match="small integer coefficients"):
        polynomial_laws([X * 3**90 + Y * 2**140], degree=1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(1, 1, 1), (2, 3, 2), (1, 2, 2, 1), (3, 2, 2, 2)], ids=str)
def test_relu_paths_as_polynomials(widths, bias):
    phi, variables = network_polynomials(widths, "relu", bias)
    exponents = [sympy.Poly(path, *variables).monoms()[0] for path in phi]
    assert sorted(exponents) == sorted(map(tuple, path_incidence(widths, bias).astype(int)))
    incoming: dict = {}
    outgoing: dict = {}
    for symbol in variables:
        name, *place = str(symbol).split("_")
        layer = int(name[1:])
        incoming.setdefault((layer, place[0]), []).append(symbol)
        if name[0] == "w":
            outgoing.setdefault((layer - 1, place[1]), []).append(symbol)
    hidden = [key for key in incoming if key[0] < len(widths) - 1]
    known = [sum(x**2 for x in incoming[key]) - sum(x**2 for x in outgoing[key]) for key in hidden]
    general = conservation_laws_of(phi, variables, known=known)
    laws = conservation_laws(widths, "relu", bias)
    assert (general.n_known, general.n_laws) == (laws.n_known, laws.n_laws)
    assert general.complete
    assert general.is_proved
    theta = np.random.default_rng(0).normal(size=(2, len(variables)))
    np.testing.assert_allclose(general.known(theta), laws.known(theta), rtol=1e-12)
    np.testing.assert_allclose(
        general.known.magnitudes(theta), laws.known.magnitudes(theta), rtol=1e-12
    )


def test_one_polynomial_has_all_but_one_law():
    """A single field has ``D - 1`` local integrals, whatever it is."""
    x, y, z = sympy.symbols("x y z")
    laws = conservation_laws_of([x**3 * y + 5 * z**2 + x * y * z / 7 + sympy.Rational(1, 3)])
    assert (laws.n_parameters, laws.n_laws, laws.lie_algebra_dimension) == (3, 2, 1)
    assert laws.is_proved


@pytest.mark.parametrize(
    ("phi", "n_variables", "dimension"),
    [
        (lambda t: [t[0], t[1]], 3, 2),  # commuting fields
        (lambda t: [t[0] + t[1] ** 2, t[2]], 3, 2),  # involutive, with one law
        (lambda t: [t[0], t[0] * t[1] * t[2] * t[3]], 4, 2),
        (lambda t: [t[0] + t[1] * t[2], t[2] + t[3] ** 2 * t[4], t[0] ** 5], 5, 4),
        # Its law 1/x_2 - 1/x_3 is no symmetry by linear maps, as those of networks are.
        (lambda t: [t[0], t[0] * t[1] + t[2] ** 3 + t[3] ** 3], 4, 3),
        # Heisenberg's algebra one step further, where every bracket adds one direction.
        (lambda t: [t[0], t[1] + t[0] * t[2] + t[0] ** 2 * t[3] + t[0] ** 3 * t[4]], 5, 5),
        (lambda t: [2**40 * t[0] * t[1], t[1] * t[2] / 3**30], 3, 2),
    ],
)
def test_polynomials_against_naive_brackets(phi, n_variables, dimension):
    polynomials = symbols_and_polynomials(phi, n_variables)[1]
    laws = conservation_laws_of(phi, n_variables)
    naive = naive_lie_dimension(polynomials)
    assert laws.lie_algebra_dimension == naive
    assert naive == dimension
    assert laws.n_laws == n_variables - naive


def test_constants_are_conserved_by_nothing_and_everything():
    laws = conservation_laws_of([sympy.Integer(3)], 4)
    assert (laws.n_laws, laws.lie_algebra_dimension) == (4, 0)
