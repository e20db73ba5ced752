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
from typing import NamedTuple

import numpy

from dlngeo.intrinsic.finite_field import PRIMES, Echelon, Integers, matmul

Series = Callable[[int, numpy.random.Generator, int, int], Iterator[Integers]]
"""Of a prime, a generator, a number of covectors and an order: the coefficients of the ``y_i``.

Each has shape=[n_covectors, n_functions]; point, controls and covectors are drawn.
"""


class LieDimension(NamedTuple):
    """Dimension of a Lie algebra at a generic point, and whether it meets its upper bound."""

    dimension: int
    is_proved: bool


def lie_dimension(series: Series, bound: int, n_functions: int) -> LieDimension:
    """Return the dimension of the Lie algebra of gradient fields at a generic point.

    Parameters
    ----------
    series : callable
    bound : int
        Upper bound that is proved: the number of parameters less that of known laws.
    n_functions : int
        Number of fields. A single one commutes with itself.

    Returns
    -------
    dimension : LieDimension
    """
    if n_functions == 1:
        bound = min(bound, 1)
    found: list[int] = []
    for seed, prime in enumerate(itertools.cycle(PRIMES)):
        found.append(_rank(series, bound, n_functions, prime, seed))
        if found[-1] == bound:
            return LieDimension(bound, True)
        if found.count(max(found)) == 2:
            break
    return LieDimension(max(found), False)


def _rank(series: Series, bound: int, n_functions: int, prime: int, seed: int) -> int:
    """Return the rank of the coefficients, seen by as many covectors as it can be high."""
    order = bound // max(n_functions, 1) + 2
    while True:
        echelon = Echelon(bound, prime)
        for values in series(prime, numpy.random.default_rng(seed), bound, order):
            before = echelon.rank
            if echelon.add(values.T) in (before, bound):
                return echelon.rank
        order *= 2


def linear_network_series(widths: Sequence[int], bias: bool) -> Series:
    r"""Return the series of a linear network, ``φ(W) = W_N ⋯ W_1``, by chains of products.

    With biases, of ``φ = (W_N ⋯ W_1, Σ_p W_N ⋯ W_{p+1} b_p)``: the layers are the matrices
    ``[[W_p, b_p], [0, 1]]`` with a constant last row.
    """
    shapes = [(after + bias, before + bias) for before, after in itertools.pairwise(widths)]
    is_free = [numpy.ones(shape, dtype=numpy.int64) for shape in shapes]
    constant = [numpy.zeros(shape, dtype=numpy.int64) for shape in shapes]
    if bias:
        for free, one in zip(is_free, constant, strict=True):
            free[-1] = 0
            one[-1, -1] = 1
    depth, outputs = len(shapes), widths[-1]

    def series(
        prime: int, rng: numpy.random.Generator, n_covectors: int, order: int
    ) -> Iterator[Integers]:
        def empty(batch: int, rows: int, columns: int) -> Integers:
            return numpy.zeros((order + 1, batch, rows, columns), dtype=numpy.int64)

        def times(left: Integers, right: Integers, k: int) -> Integers:
            """Return coefficient k of a product of series."""
            return matmul(left[: k + 1], right[k::-1], prime).sum(0) % prime

        # A d before a name: its derivative along the covector, one for each of the batch.
        layers = [empty(1, *shape) for shape in shapes]
        d_layers = [empty(n_covectors, *shape) for shape in shapes]
        for p, shape in enumerate(shapes):
            layers[p][0] = rng.integers(prime, size=shape) * is_free[p] + constant[p]
            d_layers[p][0] = rng.integers(prime, size=(n_covectors, *shape)) * is_free[p]
        left, right = shapes[-1][0], shapes[0][1]
        forward = [empty(1, shape[1], right) for shape in shapes]
        d_forward = [empty(n_covectors, shape[1], right) for shape in shapes]
        forward[0][0] = numpy.eye(right, dtype=numpy.int64)
        backward = [empty(1, shape[0], right) for shape in shapes]
        d_backward = [empty(n_covectors, shape[0], right) for shape in shapes]
        backward[-1][:, 0, :outputs] = rng.integers(prime, size=(order + 1, outputs, right))
        last = depth - 1
        for k in range(order):
            for p in range(last):
                forward[p + 1][k] = times(layers[p], forward[p], k)
                d_forward[p + 1][k] = times(d_layers[p], forward[p], k)
                d_forward[p + 1][k] += times(layers[p], d_forward[p], k)
            d_product = times(d_layers[last], forward[last], k)
            d_product += times(layers[last], d_forward[last], k)
            yield d_product[:, :outputs].reshape(n_covectors, -1)
            for p in range(last, 0, -1):
                layer, d_layer = layers[p].swapaxes(-1, -2), d_layers[p].swapaxes(-1, -2)
                backward[p - 1][k] = times(layer, backward[p], k)
                d_backward[p - 1][k] = times(d_layer, backward[p], k)
                d_backward[p - 1][k] += times(layer, d_backward[p], k)
            inverse = pow(k + 1, -1, prime)
            for p in range(depth):
                before, d_before = forward[p].swapaxes(-1, -2), d_forward[p].swapaxes(-1, -2)
                velocity = times(backward[p], before, k)
                force = times(d_backward[p], before, k) + times(backward[p], d_before, k)
                layers[p][k + 1] = velocity * inverse % prime * is_free[p]
                d_layers[p][k + 1] = force * -inverse % prime * is_free[p]

    return series
