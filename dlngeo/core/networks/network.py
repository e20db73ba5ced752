r"""The network: factors, end-to-end matrix, moment map, group action, balancing.

A deep linear network has factors ``W_p`` of shape ``(d_p, d_{p-1})``, ``p = 1, ..., N``, and
the end-to-end matrix ``X = φ(W) = W_N ... W_1``. Its moment map is conserved by every
gradient flow; the general linear groups of the hidden layers act on the factors and keep
``X``.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from dlngeo.core.base.arrays import Array, in_precision_of, namespace, transpose
from dlngeo.core.base.checks import check_batches, invertible
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.base.scales import (
    HIGHEST_DEGREE,
    Exponent,
    at_scale,
    at_unit_scale,
    relative_units,
)
from dlngeo.core.networks.factors import (
    Factors,
    checked_matrix,
    is_network,
    is_stack,
    layers_of,
    matrices_of,
    result_in_kind,
    vector_at,
)


def end_to_end(factors: Factors) -> Array:
    r"""Return the end-to-end matrix ``X = φ(W) = W_N ... W_1``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    end_to_end : array-like, shape=[..., d_N, d_0]
        Of a network with biases, that of its linear part.

    Raises
    ------
    ValueError
        If it is out of the floating-point range; errors of the factors as everywhere.

    References
    ----------
    [Men24]; THEORY 1.
    """
    layers = layers_of(factors.factors if is_network(factors) else factors)
    return at_scale(*product_in_units(layers), "the end-to-end matrix")


def product_in_units(layers: Sequence[Array]) -> tuple[Array, Exponent]:
    """Return the end-to-end matrix of layers in units of their own, and the exponent of it."""
    layers, exponents = layer_units(layers)
    product, total = layers[0], sum(exponents)
    is_deep = len(layers) > HIGHEST_DEGREE  # else the units of the layers keep products in range
    for layer in layers[1:]:
        product = _product(layer, product)
        if is_deep:
            product, exponent = at_unit_scale(1, product)
            total = total + exponent
    return product, total


def layer_units(layers: Sequence[Array]) -> tuple[tuple[Array, ...], list[Exponent]]:
    """Return layers in units of their own, in which products of them are homogeneous."""
    both = at_unit_scale(len(layers), *layers)
    return both[: len(layers)], list(both[len(layers) :])


def _along(
    exponents: list[Exponent], vectors: Sequence[Sequence[Array]]
) -> tuple[list[tuple[Array, ...]], Exponent]:
    """Return velocities in units of the layers and of their own, and the sum of the latter."""
    pairs = [relative_units(vector, exponents) for vector in vectors]
    return [unit for unit, _ in pairs], sum(own for _, own in pairs)


def _product(left: Array, right: Array) -> Array:
    """Return a product that may be much larger than its factors."""
    batch = max(left.shape[:-2], right.shape[:-2], key=len)
    check_numbers(
        (*batch, left.shape[-2], right.shape[-1]),
        "a product of layers",
        "take layers that are less wide where others are narrow",
    )
    return left @ right


def output_bias(layers: Sequence[Array], biases: Sequence[Array | None]) -> Array | None:
    """Return the bias ``Σ_p W_{>p} b_p`` at the output, shape=[d_N]; None if no layer has one."""
    total: Any = None
    for layer, bias in zip(layers, biases, strict=True):
        carried = None if total is None else layer @ total
        total = carried if bias is None else bias if carried is None else carried + bias
    return total


Expansion = dict[frozenset[int], Any]
"""Coefficients of a product of ``W_p + Σ_i t_i V_{i,p}``, by the set of the ``t_i``.

The empty product is the coefficient None: the identity.
"""


def compose(left: Any, right: Any) -> Any:
    """Return ``left @ right``, where None is the identity."""
    if left is None or right is None:
        return right if left is None else left
    return left @ right


def _extend(
    product: Expansion, layer: Array, vectors: Sequence[Array], from_left: bool
) -> Expansion:
    """Multiply an expansion by the expansion of one more layer."""
    extended: Expansion = {}
    for taken, matrix in product.items():
        terms = [(taken, layer)]
        terms += [(taken | {i}, v) for i, v in enumerate(vectors) if i not in taken]
        for subset, factor in terms:
            term = compose(factor, matrix) if from_left else compose(matrix, factor)
            extended[subset] = extended[subset] + term if subset in extended else term
    return extended


def partial_products(
    layers: Sequence[Array], *vectors: Sequence[Array]
) -> tuple[list[Expansion], list[Expansion]]:
    """Return the expansions of ``W_{<p}`` and ``W_{>p}`` for ``p = 1, ..., N``."""
    along = list(zip(*vectors, strict=True)) if vectors else [()] * len(layers)
    steps = list(zip(layers, along, strict=True))
    before: list[Expansion] = [{frozenset(): None}]
    for layer, moves in steps[:-1]:
        before.append(_extend(before[-1], layer, moves, from_left=True))
    after: list[Expansion] = [{frozenset(): None}]
    for layer, moves in reversed(steps[1:]):
        after.append(_extend(after[-1], layer, moves, from_left=False))
    return before, after[::-1]


def differential(factors: Factors, *vectors: Factors) -> Array:
    r"""Return the differential of the end-to-end map, of first or higher order.

    .. math:: dφ_W(V) = \sum_p W_{>p} V_p W_{<p}, \quad
              D^kφ_W(V_1, ..., V_k) = \left.\frac{∂^k}{∂t_1 \cdots ∂t_k}\right|_0
              φ(W + t_1 V_1 + \cdots + t_k V_k)

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    vectors : the same shapes, one or more
        Velocities ``V_i`` of the factors.

    Returns
    -------
    velocity : array-like, shape=[..., d_N, d_0]

    Raises
    ------
    ValueError
        If a vector does not have the shapes of the factors.

    References
    ----------
    THEORY 1, 3.
    """
    layers = layers_of(factors)
    directions = [vector_at(layers, vector) for vector in vectors]
    layers, exponents = layer_units(layers)
    directions, of_vectors = _along(exponents, directions)
    product: Expansion = {frozenset(): None}
    for layer, *moves in zip(layers, *directions, strict=True):
        product = _extend(product, layer, moves, from_left=True)
    everything = frozenset(range(len(directions)))
    if everything not in product:  # more directions than layers: a polynomial of degree N
        return 0 * end_to_end(layers)
    return at_scale(product[everything], sum(exponents) + of_vectors, "the differential")


def adjoint_differential(factors: Factors, covector: Array, *vectors: Factors) -> Factors:
    r"""Return the adjoint differential of the end-to-end map, or a derivative of it.

    .. math:: dφ_W^*(P)_p = W_{>p}^T P W_{<p}^T

    With ``P = ∇E(X)`` it is the gradient of the loss ``L(W) = E(φ(W))``. Further vectors
    ``V_1, ..., V_k`` give its derivative along them at fixed ``P``: the gradient by ``V``
    of ``⟨P, D^{k+1}φ(V, V_1, ..., V_k)⟩``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    covector : array-like, shape=[..., d_N, d_0]
        Matrix ``P``.
    vectors : the same shapes as factors, any number
        Velocities ``V_i`` of the factors.

    Returns
    -------
    gradient : like factors

    Raises
    ------
    ValueError
        If a vector does not have the shapes of the factors.

    References
    ----------
    THEORY 1.
    """
    layers = layers_of(factors)
    covector = checked_matrix(covector, (layers[-1].shape[-2], layers[0].shape[-1]), layers[0])
    directions = [vector_at(layers, vector) for vector in vectors]
    layers, exponents = layer_units(layers)
    directions, of_vectors = _along(exponents, directions)
    covector, of_covector = at_unit_scale(1, covector)
    everything = frozenset(range(len(directions)))
    gradient = []
    for layer, before, after in zip(layers, *partial_products(layers, *directions), strict=True):
        terms = [
            compose(adjoint(after[everything - taken]), compose(covector, adjoint(matrix)))
            for taken, matrix in before.items()
            if everything - taken in after
        ]
        gradient.append(sum(terms, start=0 * layer))
    total = sum(exponents) + of_vectors + of_covector
    return result_in_kind(gradient, factors, [total - k for k in exponents])


def adjoint(matrix: Any) -> Any:
    """Return the transposed matrix, where None is the identity."""
    return None if matrix is None else transpose(matrix)


def moment_map(factors: Factors) -> Factors:
    r"""Return the moment map, conserved by every gradient flow of a loss ``E(φ(W))``.

    .. math:: μ_p(W) = W_{p+1}^T W_{p+1} - W_p W_p^T, \quad p = 1, ..., N-1

    A network with biases ``b_p`` keeps ``μ_p(W) - b_p b_pᵀ``, which is what it gets.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    moments : array-like, shape=[..., N-1, d, d], or tuple of shape=[..., d_p, d_p]
        Zero on the balanced manifold.

    References
    ----------
    [ACH18]; [LM25]; [MGP23] for biases; THEORY 1.
    """
    layers = layers_of(factors.factors if is_network(factors) else factors)
    biases = factors.biases[:-1] if is_network(factors) else [None] * (len(layers) - 1)
    columns = [None if bias is None else bias[..., :, None] for bias in biases]
    known = [column for column in columns if column is not None]
    units, exponent = at_unit_scale(2, (*layers, *known))
    layers, rest = units[: len(layers)], iter(units[len(layers) :])
    moments = [
        _product(transpose(following), following) - _product(layer, transpose(layer))
        for layer, following in itertools.pairwise(layers)
    ]
    for p, column in enumerate(columns):
        if column is not None:
            unit = next(rest)
            moments[p] = moments[p] - unit * transpose(unit)
    if not moments:
        return factors[..., :0, :, :] if is_stack(factors) else ()
    return result_in_kind(moments, factors, 2 * exponent)


def act(group_element: Factors, factors: Factors) -> Factors:
    r"""Act with ``g`` in ``GL(d_1) × ... × GL(d_{N-1})`` on the factors.

    .. math:: (g · W)_p = g_p W_p g_{p-1}^{-1}, \quad g_0 = g_N = I

    The end-to-end matrix stays; the orthogonal subgroup also keeps the moment map zero.

    Parameters
    ----------
    group_element : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    factors : like factors

    Raises
    ------
    ValueError
        If a matrix of the group element is singular, or does not fit its hidden layer.

    References
    ----------
    [LM25]; THEORY 1.
    """
    layers = list(layers_of(factors))
    elements = hidden_matrices(group_element, layers, "group element")
    layers, exponents = map(list, layer_units(layers))
    for p, element in enumerate(elements):
        unit, exponent = at_unit_scale(2, element)
        layers[p] = unit @ layers[p]
        layers[p + 1] = _times_inverse(layers[p + 1], unit, p + 1)
        exponents[p] = exponents[p] + exponent
        exponents[p + 1] = exponents[p + 1] - exponent
    return result_in_kind(layers, factors, exponents)


def _times_inverse(layer: Array, element: Array, place: int) -> Array:
    """Return ``W_{p+1} g_p^{-1}``, by a solve with the transposed matrix."""
    with invertible(element, f"group element {place}"):
        solution = namespace(element, layer).linalg.solve(transpose(element), transpose(layer))
    return transpose(solution)


def infinitesimal_action(algebra_element: Factors, factors: Factors) -> Factors:
    r"""Return the velocity of the group action.

    .. math:: ξ_a(W)_p = a_p W_p - W_p a_{p-1}, \quad a_0 = a_N = 0

    Parameters
    ----------
    algebra_element : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Skew matrices ``a`` give the vertical fields of the balanced manifold, and
        symmetric ones, up to the sign, its normal fields.
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    velocity : like factors

    References
    ----------
    THEORY 1.
    """
    layers = layers_of(factors)
    elements = hidden_matrices(algebra_element, layers, "algebra element")
    layers, of_layers = at_unit_scale(2, layers)
    if not elements:
        return result_in_kind(action_on_layers((), layers), factors)
    elements, of_elements = at_unit_scale(2, elements)
    velocity = action_on_layers(elements, layers)
    return result_in_kind(velocity, factors, of_layers + of_elements)


def action_on_layers(elements: Sequence[Array], layers: Sequence[Array]) -> list[Array]:
    """Return what `infinitesimal_action` does, without its checks."""
    velocity = []
    for p, layer in enumerate(layers):
        v = namespace(layer).zeros_like(layer) if len(layers) == 1 else 0
        if p < len(elements):
            v = v + elements[p] @ layer
        if p > 0:
            v = v - layer @ elements[p - 1]
        velocity.append(v)
    return velocity


def hidden_matrices(matrices: Factors, layers: Sequence[Array], name: str) -> tuple[Array, ...]:
    """Return one square matrix for each hidden layer, checked against the widths."""
    if len(layers) == 1:
        return ()
    elements = matrices_of(matrices, name)
    expected = [layer.shape[-2] for layer in layers[:-1]]
    shapes = [tuple(element.shape[-2:]) for element in elements]
    if shapes != [(width, width) for width in expected]:
        raise ValueError(
            f"the {name} needs square matrices of the hidden widths {expected}, "
            f"got shapes {shapes}."
        )
    check_batches((layers[0], elements[0]), f"the factors and the {name}")
    return tuple(in_precision_of(layers[0], element) for element in elements)
