r"""Dimension of the Lie algebra that the gradients of a polynomial map generate.

Let ``g_i = ∇φ_i`` be the gradients of the entries of ``φ``, and ``Lie`` their Lie algebra under
the bracket ``[u, v] = J_u v - J_v u``, evaluated at a generic point ``x_0``. No bracket of it is
formed. Drive the system along all the fields at once,

.. math:: \dot x = \sum_i u_i(t) g_i(x), \quad \dot p = -H(x)\, p, \quad
          H = \sum_i u_i(t) ∇^2φ_i(x), \quad y_i(t) = ⟨p(t), g_i(x(t))⟩,

with random series ``u_i(t)``: ``x`` is a curve, ``p`` a covector that its flow transports, and
``y_i(t) = ⟨p_0, v_i(t)⟩`` where ``v_i(t)`` is the field ``g_i`` pulled back to ``x_0``.

**Theorem.** For generic ``x_0`` and ``u`` the coefficients of ``v_i(t)`` span ``Lie(x_0)``. As
soon as one more coefficient of all the ``v_i`` adds nothing to their span, it is the whole.

*Proof.* The coefficients are the iterates of ``D = Σ_j u_{j+1} ∂/∂u_j + [Σ_i u_i g_i, ·]`` (up to
the sign) on the fields, with ``u_0, u_1, ...`` the derivatives of ``u``; they lie in ``Lie``. Over
the field ``F`` of rational functions of ``x_0, u_0, u_1, ...`` their span ``S`` is a fixed space
as soon as it stops to grow once, by the rule of Leibniz. Then ``D S ⊆ S``. If the reduced echelon
basis ``b`` of ``S`` held ``u_m`` and no later derivative, ``D b`` would hold ``u_{m+1}`` only in
``u_{m+1} ∂b/∂u_m``, so that ``∂b/∂u_m`` is in ``S``; but it vanishes at the pivots, hence is zero:
``S`` does not depend on ``u`` at all. Then ``[Σ_i u_i g_i, b] ∈ S`` for all values of ``u_0``:
``S`` is closed under the bracket with every ``g_i``, contains them, and so is ``F · Lie``.

All is done modulo a prime, exactly: the rank that is found at any point is a proved lower bound
of the generic dimension; that it is no higher is certain where it meets an upper bound, and
otherwise certified by two random points modulo two primes.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import scipy.sparse

from dlngeo.intrinsic.conservation.finite_field import PRIMES, Echelon, Integers, matmul


@dataclass(frozen=True, eq=False)
class Chain:
    r"""A polynomial map as a product of factors, whose entries are parameters, one or zero.

    The factors are matrices, or vectors that are multiplied entry by entry; the product is
    ``F_N ⋯ F_1``, and a function is the weighted sum of those of its entries that belong to it.

    Attributes
    ----------
    n_parameters, n_functions : int
    factors : tuple of array of int
        Of every entry of ``F_1, ..., F_N``, the parameter; ``n_parameters`` stands for one, and
        ``n_parameters + 1`` for zero.
    functions : array of int
        The function to which an entry of the product belongs.
    weights : array of int
        Its weight.
    """

    n_parameters: int
    n_functions: int
    factors: tuple[numpy.ndarray, ...]
    functions: numpy.ndarray
    weights: numpy.ndarray


def network_chain(widths: Sequence[int], bias: bool) -> Chain:
    r"""Return the map of a linear network, ``φ(W) = W_N ⋯ W_1``.

    With biases ``φ = (W_N ⋯ W_1, Σ_p W_N ⋯ W_{p+1} b_p)``: the factors are the matrices
    ``[[W_p, b_p], [0, 1]]``, and the last row of the product belongs to no function.
    """
    n_parameters = sum((before + bias) * after for before, after in itertools.pairwise(widths))
    factors, start = [], 0
    for before, after in itertools.pairwise(widths):
        factor = start + numpy.arange(after * before).reshape(after, before)
        start += after * before
        if bias:
            column = start + numpy.arange(after)[:, None]
            constant = numpy.full((1, before + 1), n_parameters + 1)
            constant[0, -1] = n_parameters
            factor = numpy.vstack([numpy.hstack([factor, column]), constant])
            start += after
        factors.append(factor)
    rows, columns = widths[-1], widths[0] + bias
    functions = numpy.arange(rows * columns).reshape(rows, columns)
    weights = numpy.ones_like(functions)
    if bias:
        functions, weights = (numpy.pad(array, ((0, 1), (0, 0))) for array in (functions, weights))
    return Chain(n_parameters, rows * columns, tuple(factors), functions, weights)


class _Dual(NamedTuple):
    """Coefficients of a series in ``t``, and of its derivatives along covectors.

    Attributes
    ----------
    value : array of int, shape=[order + 1, 1, ...]
    change : array of int, shape=[order + 1, n_covectors, ...]
    """

    value: Integers
    change: Integers

    def adjoint(self) -> "_Dual":
        """Transpose every coefficient."""
        return _Dual(*(series.swapaxes(-1, -2) for series in self))


def pairing_series(
    chain: Chain, prime: int, point: Integers, covectors: Integers, controls: Integers
) -> Iterator[Integers]:
    r"""Yield the coefficients of the ``y_i``, each of shape=[n_covectors, n_functions].

    With the weights ``ω`` of the entries, the derivative along a covector of

    ============================== ============ =========================================
    symbol                         name         shape of a coefficient, after the batch
    ============================== ============ =========================================
    ``(x, 1, 0)``                  state        [n_parameters + 2]
    ``F_p(x)``                     factors[p]   as the factor
    ``F_{p-1} ⋯ F_1``              forward[p]   [columns of F_p, columns of F_1]
    ``(F_N ⋯ F_{p+1})^T ω u``      backward[p]  [rows of F_p, columns of F_1]
    ============================== ============ =========================================

    is carried along; that of ``ẋ = Σ_p (backward[p] forward[p]^T)``, collected by parameters, is
    ``-ṗ``. Factors that are vectors are multiplied entry by entry and have no transpose.

    Parameters
    ----------
    chain : Chain
    prime : int
    point : array of int, shape=[n_parameters]
    covectors : array of int, shape=[n_covectors, n_parameters]
    controls : array of int, shape=[order, n_functions]
        Coefficients of the ``u_i``; there are as many of the ``y_i``.
    """
    order, last = len(controls), len(chain.factors) - 1
    is_matrix = chain.functions.ndim == 2

    def zeros(shape: tuple[int, ...]) -> _Dual:
        sizes = 1, len(covectors)
        return _Dual(*(numpy.zeros((order + 1, n, *shape), dtype=numpy.int64) for n in sizes))

    def convolve(left: Integers, right: Integers, k: int) -> Integers:
        """Return coefficient k of a product of series."""
        left, right = left[: k + 1], right[k::-1]
        terms = matmul(left, right, prime) if is_matrix else left * right % prime
        return terms.sum(0)

    def multiply(left: _Dual, right: _Dual, k: int) -> _Dual:
        """Return coefficient k of a product, and its derivatives."""
        change = convolve(left.change, right.value, k) + convolve(left.value, right.change, k)
        return _Dual(convolve(left.value, right.value, k) % prime, change % prime)

    def store(series: _Dual, k: int, coefficient: Sequence[Integers]) -> None:
        series.value[k], series.change[k] = coefficient

    def adjoint(series: _Dual) -> _Dual:
        return series.adjoint() if is_matrix else series

    def add_up(values: Integers, sums: scipy.sparse.csr_array) -> Integers:
        return (sums @ values.reshape(len(values), -1).T).T

    shapes = [factor.shape for factor in chain.factors]
    by_function = _sums(chain.functions, chain.n_functions)
    by_parameter = [_sums(factor, chain.n_parameters + 2) for factor in chain.factors]
    weights = (chain.weights % prime).astype(numpy.int64)

    state = zeros((chain.n_parameters + 2,))
    state.value[0, :, : chain.n_parameters] = point
    state.value[0, :, chain.n_parameters] = 1
    state.change[0, :, : chain.n_parameters] = covectors
    factors = [zeros(shape) for shape in shapes]
    width = shapes[0][-1]
    forward = [zeros((s[-1], width) if is_matrix else s) for s in shapes]
    forward[0].value[0] = numpy.eye(width, dtype=numpy.int64) if is_matrix else 1
    backward = [zeros((s[0], width) if is_matrix else s) for s in shapes]
    backward[last].value[:-1, 0] = controls[:, chain.functions] * weights % prime
    for k in range(order):
        for p, places in enumerate(chain.factors):
            store(factors[p], k, [entries[k][:, places] for entries in state])
        for p in range(last):
            store(forward[p + 1], k, multiply(factors[p], forward[p], k))
        change = multiply(factors[last], forward[last], k).change
        yield add_up(change * weights % prime, by_function) % prime
        for p in range(last, 0, -1):
            store(backward[p - 1], k, multiply(adjoint(factors[p]), backward[p], k))
        for p in range(last + 1):
            rate = multiply(backward[p], adjoint(forward[p]), k)
            state.value[k + 1] += add_up(rate.value, by_parameter[p])
            state.change[k + 1] -= add_up(rate.change, by_parameter[p])
        inverse = pow(k + 1, -1, prime)
        for series in state:
            series[k + 1] = series[k + 1] % prime * inverse % prime
            series[k + 1, :, chain.n_parameters :] = 0


def _sums(places: numpy.ndarray, size: int) -> scipy.sparse.csr_array:
    """Return the matrix that adds up the entries of an array that have the same place."""
    entries = numpy.ones(places.size, dtype=numpy.int64)
    shape = size, places.size
    return scipy.sparse.csr_array((entries, (places.ravel(), numpy.arange(places.size))), shape)


class LieDimension(NamedTuple):
    """Dimension of a Lie algebra at a generic point.

    Attributes
    ----------
    dimension : int
    is_proved : bool
        Whether it meets its upper bound; otherwise it is certified by random points.
    """

    dimension: int
    is_proved: bool


def lie_dimension(chain: Chain, bound: int | None = None) -> LieDimension:
    """Return the dimension of the Lie algebra of gradient fields at a generic point.

    Parameters
    ----------
    chain : Chain
    bound : int, optional
        Upper bound that is proved: the number of parameters less that of known laws.

    Returns
    -------
    dimension : LieDimension
    """
    bound = chain.n_parameters if bound is None else bound
    if chain.n_functions == 1:  # a single field commutes with itself
        bound = min(bound, 1)
    return _certify(lambda prime, seed: _rank(chain, bound, prime, seed), bound)


def jacobian_rank(chain: Chain) -> int:
    """Return the rank of the gradients at a generic point."""
    bound = min(chain.n_parameters, chain.n_functions)

    def rank(prime: int, seed: int) -> int:
        point, covectors = _draw(chain, prime, numpy.random.default_rng(seed), bound)
        return Echelon(bound, prime).add(pairings(chain, prime, point, covectors).T)

    return _certify(rank, bound).dimension


def _certify(rank: Callable[[int, int], int], bound: int) -> LieDimension:
    """Return a rank that meets its bound, or that is the highest at two points and primes."""
    found: list[int] = []
    for seed, prime in enumerate(itertools.cycle(PRIMES)):
        found.append(rank(prime, seed))
        if found[-1] == bound:
            return LieDimension(bound, True)
        if found.count(max(found)) == 2:
            break
    return LieDimension(max(found), False)


def _rank(chain: Chain, bound: int, prime: int, seed: int) -> int:
    """Return the rank of the coefficients, seen by as many covectors as it can be high."""
    order = bound // max(chain.n_functions, 1) + 2
    while True:
        rng = numpy.random.default_rng(seed)
        echelon = Echelon(bound, prime)
        point, covectors = _draw(chain, prime, rng, bound)
        controls = rng.integers(prime, size=(order, chain.n_functions))
        for values in pairing_series(chain, prime, point, covectors, controls):
            before = echelon.rank
            if echelon.add(values.T) in (before, bound):
                return echelon.rank
        order *= 2


def _draw(
    chain: Chain, prime: int, rng: numpy.random.Generator, n_covectors: int
) -> tuple[Integers, Integers]:
    """Return a random point and covectors."""
    size = chain.n_parameters
    return rng.integers(prime, size=size), rng.integers(prime, size=(n_covectors, size))


def pairings(chain: Chain, prime: int, point: Integers, covectors: Integers) -> Integers:
    """Return the products of covectors with the gradients, shape=[n_covectors, n_functions]."""
    no_controls = numpy.zeros((1, chain.n_functions), dtype=numpy.int64)
    return next(pairing_series(chain, prime, point, covectors, no_controls))
