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


def transported(
    chain: Chain, prime: int, point: Integers, covectors: Integers, controls: Integers
) -> Iterator[Integers]:
    """Yield the coefficients of the ``y_i``, each of shape=[n_covectors, n_functions].

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

    def empty(batch: int, shape: tuple[int, ...]) -> Integers:
        return numpy.zeros((order + 1, batch, *shape), dtype=numpy.int64)

    def times(left: Integers, right: Integers, k: int) -> Integers:
        """Return coefficient k of a product of series."""
        left, right = left[: k + 1], right[k::-1]
        terms = matmul(left, right, prime) if is_matrix else left * right % prime
        return terms.sum(0)

    def adjoint(series: Integers) -> Integers:
        return series.swapaxes(-1, -2) if is_matrix else series

    def collected(values: Integers, sums: scipy.sparse.csr_array) -> Integers:
        return (sums @ (values % prime).reshape(len(values), -1).T).T

    shapes = [factor.shape for factor in chain.factors]
    befores = [(s[-1], shapes[0][-1]) if is_matrix else s for s in shapes]
    afters = [(s[0], shapes[0][-1]) if is_matrix else s for s in shapes]
    by_function = _sums(chain.functions, chain.n_functions)
    by_parameter = [_sums(factor, chain.n_parameters + 2) for factor in chain.factors]
    weights = (chain.weights % prime).astype(numpy.int64)

    # A d before a name: the derivative along a covector, one for each of the batch.
    state, d_state = (empty(n, (chain.n_parameters + 2,)) for n in (1, len(covectors)))
    state[0, :, : chain.n_parameters] = point
    state[0, :, chain.n_parameters] = 1
    d_state[0, :, : chain.n_parameters] = covectors
    # Products of the factors before one, and of the controls and those behind it.
    forward, d_forward = ([empty(n, s) for s in befores] for n in (1, len(covectors)))
    forward[0][0] = numpy.eye(shapes[0][-1], dtype=numpy.int64) if is_matrix else 1
    backward, d_backward = ([empty(n, s) for s in afters] for n in (1, len(covectors)))
    backward[last][:-1, 0] = controls[:, chain.functions] * weights % prime
    factors, d_factors = ([empty(n, s) for s in shapes] for n in (1, len(covectors)))
    for k in range(order):
        for p, places in enumerate(chain.factors):
            factors[p][k], d_factors[p][k] = state[k][:, places], d_state[k][:, places]
        for p in range(last):
            forward[p + 1][k] = times(factors[p], forward[p], k) % prime
            change = times(d_factors[p], forward[p], k) + times(factors[p], d_forward[p], k)
            d_forward[p + 1][k] = change % prime
        change = times(d_factors[last], forward[last], k)
        change += times(factors[last], d_forward[last], k)
        yield collected(change % prime * weights, by_function) % prime
        for p in range(last, 0, -1):
            factor, d_factor = adjoint(factors[p]), adjoint(d_factors[p])
            backward[p - 1][k] = times(factor, backward[p], k) % prime
            change = times(d_factor, backward[p], k) + times(factor, d_backward[p], k)
            d_backward[p - 1][k] = change % prime
        for p in range(last + 1):
            before, d_before = adjoint(forward[p]), adjoint(d_forward[p])
            change = times(backward[p], before, k)
            state[k + 1] += collected(change, by_parameter[p])
            change = times(d_backward[p], before, k) + times(backward[p], d_before, k)
            d_state[k + 1] -= collected(change, by_parameter[p])
        inverse = pow(k + 1, -1, prime)
        for series in (state, d_state):
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
    return _certified(lambda prime, seed: _rank(chain, bound, prime, seed), bound)


def jacobian_rank(chain: Chain) -> int:
    """Return the rank of the gradients at a generic point."""
    bound = min(chain.n_parameters, chain.n_functions)

    def rank(prime: int, seed: int) -> int:
        point, covectors = _drawn(chain, prime, numpy.random.default_rng(seed), bound)
        return Echelon(bound, prime).add(pairings(chain, prime, point, covectors).T)

    return _certified(rank, bound).dimension


def _certified(rank: Callable[[int, int], int], bound: int) -> LieDimension:
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
        point, covectors = _drawn(chain, prime, rng, bound)
        controls = rng.integers(prime, size=(order, chain.n_functions))
        for values in transported(chain, prime, point, covectors, controls):
            before = echelon.rank
            if echelon.add(values.T) in (before, bound):
                return echelon.rank
        order *= 2


def _drawn(
    chain: Chain, prime: int, rng: numpy.random.Generator, n_covectors: int
) -> tuple[Integers, Integers]:
    """Return a random point and covectors."""
    size = chain.n_parameters
    return rng.integers(prime, size=size), rng.integers(prime, size=(n_covectors, size))


def pairings(chain: Chain, prime: int, point: Integers, covectors: Integers) -> Integers:
    """Return the products of covectors with the gradients, shape=[n_covectors, n_functions]."""
    no_controls = numpy.zeros((1, chain.n_functions), dtype=numpy.int64)
    return next(transported(chain, prime, point, covectors, no_controls))
