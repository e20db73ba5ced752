r"""Path-lifting of ReLU networks, and its Jacobian products without enumerating paths.

The path-lifting collects the products of the weights along all paths from an input or a bias to
an output,

.. math:: φ(θ)_p = \prod_{e ∈ p} θ_e, \quad R_θ(x) = A(x, θ) φ(θ),

where ``A(x, θ)`` depends on which neurons are active only. For two vectors of edges ``θ`` and ``w``

.. math:: \langle φ(θ), φ(w) \rangle = F(θ ∘ w), \quad F(m) = \sum_p \prod_{e ∈ p} m_e,

and ``F`` is one pass through the network with the weights ``m``: a product of matrices. All inner
products of path-liftings and of their derivatives are values and derivatives of ``F``. The rows
of ``A(x, θ)`` are path-liftings too, of ``w_e = x_i`` at an input times the activity at the head.

Functions take a `ReluNetwork` and its parameters ``θ``, shape=[..., D], of any library. ``paths``,
shape=[P, length], are some of ``network.paths``, all by default. Shapes that do not fit and entries
that are NaN or infinite are refused by a ValueError.

Sources: [MPG25]; [MGP23]; THEORY 6. Passes instead of paths are an own derivation.
"""

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy, transpose
from dlngeo.core.base.checks import check_batches, in_range, positive, real_array
from dlngeo.core.base.memory import check_numbers
from dlngeo.intrinsic.relu.layered_graph import join
from dlngeo.intrinsic.relu.relu_network import ReluNetwork, check_network

MOST_ENTRIES = 100_000_000
"""Number of entries above which the Jacobian is not formed."""


def lift(network: ReluNetwork, parameters: Array, paths: numpy.ndarray | None = None) -> Array:
    r"""Return the path-lifting ``φ(θ)``, entry by entry.

    Returns
    -------
    lifted : array-like, shape=[..., P]
        Products of the weights along the paths, unchanged if a neuron's incoming weights and
        bias are multiplied by a positive number and its outgoing ones divided by it.

    Raises
    ------
    ValueError
        If there are too many paths to enumerate.
    """
    edges = check_network(network).edge_vector(network.check_parameters(parameters))
    weights = edges[..., network.paths if paths is None else paths]
    product = weights[..., 0]
    for step in range(1, weights.shape[-1]):
        product = product * weights[..., step]
    return in_range(product, "the path-lifting")


def jacobian(
    network: ReluNetwork, parameters: Array, paths: numpy.ndarray | None = None
) -> numpy.ndarray:
    r"""Return the Jacobian ``∂φ(θ)``, or its rows for some paths.

    Returns
    -------
    jacobian : array, shape=[..., P, D]
        On the host.

    Raises
    ------
    ValueError
        If the matrix is too large to form.
    """
    parameters = check_network(network).check_parameters(parameters)
    paths = network.paths if paths is None else paths
    size = len(paths) * network.n_parameters
    if size > MOST_ENTRIES:
        raise ValueError(
            f"the Jacobian of {len(paths)} paths by {network.n_parameters} parameters is too large "
            "to form: name fewer paths, or take pullback and jacobian_product."
        )
    weights = to_numpy(network.edge_vector(parameters))[..., paths]
    # Products of the other weights, without division: of those before times those after.
    others = numpy.ones_like(weights)
    others[..., 1:] = numpy.cumprod(weights[..., :-1], axis=-1)
    others[..., :-1] *= numpy.cumprod(weights[..., :0:-1], axis=-1)[..., ::-1]
    result = numpy.zeros((*parameters.shape[:-1], len(paths), network.n_parameters))
    rows, steps = numpy.nonzero((paths >= 0) & (paths < network.n_parameters))
    result[..., rows, paths[rows, steps]] = others[..., rows, steps]
    return result


def inner_product(network: ReluNetwork, parameters: Array, other: Array) -> Array:
    r"""Return ``⟨φ(θ), φ(θ')⟩`` by one pass, without enumerating paths.

    Returns
    -------
    product : array-like, shape=[...]
    """
    parameters, other = _together(network, parameters, other)
    product = _edges(network, parameters) * _edges(network, other)
    return in_range(_path_sum(network, product), "the product")


def path_norm(network: ReluNetwork, parameters: Array, order: float = 1.0) -> Array:
    r"""Return the path norm ``‖φ(θ)‖_q`` by one pass, without enumerating paths.

    Parameters
    ----------
    order : float
        ``q``, positive.

    Returns
    -------
    norm : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the order is not positive and finite.
    """
    order = positive(order, "the order")
    edges = _edges(network, parameters)
    return in_range(_path_sum(network, abs(edges) ** order) ** (1 / order), "the norm")


def pullback(network: ReluNetwork, parameters: Array, other: Array) -> Array:
    r"""Return ``∂φ(θ)ᵀ φ(w)``, by a pass forward and a pass backward.

    .. math:: ∂φ(θ)^T φ(w) = w ∘ ∇F(θ ∘ w)

    Of ``θ ∘ θ`` and ones it is the diagonal of ``∂φ(θ)ᵀ ∂φ(θ)``.

    Parameters
    ----------
    other : array-like, shape=[..., D]
        ``w``.

    Returns
    -------
    covector : array-like, shape=[..., D]
    """
    parameters, other = _together(network, parameters, other)
    weights = _edges(network, other)
    matrices = network.matrices(_edges(network, parameters) * weights)
    values, adjoints = _passes(network, matrices)
    pulled = weights[..., : network.n_parameters] * network.by_edges(values, adjoints)
    return in_range(pulled, "the covector")


def jacobian_product(
    network: ReluNetwork, parameters: Array, vector: Array, at: Array | None = None
) -> Array:
    r"""Return ``∂φ(θ')ᵀ ∂φ(θ) v``, by two passes forward and two backward.

    .. math:: ∂φ(θ')^T ∂φ(θ) v = v ∘ ∇F(m) + θ ∘ ∇^2F(m)[θ' ∘ v], \quad m = θ ∘ θ'

    With ``θ' = θ`` it is the pullback of the metric of paths, and times ``u`` the inner product
    ``⟨∂φ(θ')u, ∂φ(θ)v⟩``.

    Parameters
    ----------
    vector : array-like, shape=[..., D]
        ``v``.
    at : array-like, shape=[..., D], optional
        ``θ'``, by default ``θ``.

    Returns
    -------
    covector : array-like, shape=[..., D]
    """
    parameters, vector = _together(network, parameters, vector)
    edges = _edges(network, parameters)
    others = edges if at is None else _edges(network, _together(network, parameters, at)[1])
    change = others * network.edge_vector(vector, numpy.zeros(len(network.fixed)))
    matrices, changes = network.matrices(edges * others), network.matrices(change)
    values, adjoints = _passes(network, matrices)
    value_changes = network.tangents(matrices, changes, values)
    adjoint_changes = network.adjoint_tangents(matrices, changes, adjoints)
    second = network.by_edges(value_changes, adjoints) + network.by_edges(values, adjoint_changes)
    first = network.by_edges(values, adjoints)
    product = vector * first + edges[..., : network.n_parameters] * second
    return in_range(product, "the product")


def path_features(
    network: ReluNetwork, parameters: Array, inputs: Array, paths: numpy.ndarray | None = None
) -> Array:
    r"""Return ``A(x, θ)``, the linear map from path-liftings to outputs.

    .. math:: A(x, θ)_{op} = x_{i(p)} \prod_{v ∈ p} 1[v \text{ is active at } x]

    for paths ``p`` from the input ``i(p)`` to the output ``o``, without the factor for paths from
    a bias, and 0 for other outputs: ``R_θ(x) = A(x, θ) φ(θ)``.

    Parameters
    ----------
    parameters : array-like, shape=[D]
        Only the activity of the neurons matters.
    inputs : array-like, shape=[n, n_inputs]

    Returns
    -------
    features : array-like, shape=[n, n_outputs, P]

    Raises
    ------
    ValueError
        If there are too many paths to enumerate.
    """
    parameters = check_network(network).check_parameters(parameters)
    inputs = network.check_inputs(inputs)
    namespace(parameters, inputs)
    if parameters.ndim != 1 or inputs.ndim != 2:
        raise ValueError("expected the parameters of one network and one list of inputs.")
    paths = network.paths if paths is None else paths
    values = network.forward(network.matrices(network.edge_vector(parameters)), inputs, relu=True)
    factors = [
        1 + 0 * value if gate is None else gate
        for value, gate in zip(values, network.open_gates(values), strict=True)
    ]
    tails, heads = network.ends
    first = tails[paths[:, 0]]
    # What follows the end of a path has the factor 1.
    after = numpy.append(heads, [network.offsets[-1]] * 2)[paths]
    at_heads = join([*factors, 1 + 0 * inputs[:, :1]])
    features = join([values[0], inputs])[:, first]
    for step in range(paths.shape[1]):
        features = features * at_heads[:, after[:, step]]
    last = numpy.where(paths < 0, 0, after).max(axis=1) - network.offsets[-2]
    ends = from_numpy(1.0 * (last == numpy.arange(network.n_outputs)[:, None]), parameters)
    return features[:, None, :] * ends


def tangent_kernel(
    network: ReluNetwork, parameters: Array, inputs: Array, others: Array | None = None
) -> Array:
    r"""Return the kernel ``A(x) ∂φ ∂φᵀ A(x')ᵀ`` between inputs: the neural tangent kernel.

    The products of the values at the tails and of the derivatives at the heads are contracted
    layer by layer: neither paths nor the Jacobian by the parameters are formed.

    Parameters
    ----------
    inputs : array-like, shape=[..., n, n_inputs]
    others : array-like, shape=[..., n', n_inputs], optional
        ``x'``, by default ``x``.

    Returns
    -------
    kernel : array-like, shape=[..., n, n_outputs, n', n_outputs]
    """
    parameters = check_network(network).check_parameters(parameters)
    values, adjoints = one = _derivatives(network, parameters, inputs)
    other_values, other_adjoints = (
        one if others is None else _derivatives(network, parameters, others)
    )
    xp = namespace(parameters)
    check_numbers(
        (*values[-1].shape, *other_values[-1].shape[-2:]), "the kernel", "take fewer inputs"
    )
    kernel = 0 * xp.einsum("...io,...jp->...iojp", values[-1], other_values[-1])
    for block in network.blocks:
        tails, other_tails = values[block.source], other_values[block.source]
        heads, other_heads = adjoints[block.target], other_adjoints[block.target]
        is_trained = (block.edges >= 0) & (block.edges < network.n_parameters)
        if is_trained.all():
            at_tails = (tails @ transpose(other_tails))[..., :, None, :, None]
            kernel = kernel + at_tails * xp.einsum("...ioh,...jph->...iojp", heads, other_heads)
        elif is_trained.any():
            mask = from_numpy(1.0 * is_trained, parameters)
            at_heads = xp.einsum("ht,...it,...jt->...ijh", mask, tails, other_tails)
            kernel = kernel + xp.einsum(
                "...ioh,...jph,...ijh->...iojp", heads, other_heads, at_heads
            )
    return kernel


def _derivatives(network: ReluNetwork, parameters: Array, inputs: Array) -> tuple[list, list]:
    """Return values and, for each output, derivatives, shape=[..., n, n_outputs, width]."""
    inputs = network.check_inputs_at(parameters, inputs)
    edges = network.edge_vector(parameters)
    values = network.forward(network.matrices(edges), inputs, relu=True)
    gates = [gate if gate is None else gate[..., None, :] for gate in network.open_gates(values)]
    one = from_numpy(numpy.eye(network.n_outputs), parameters)
    start = one + 0 * values[-1][..., None]
    return values, network.backward(network.matrices(edges[..., None, :]), start, gates)


def output_gradient(
    network: ReluNetwork, parameters: Array, inputs: Array, cotangents: Array
) -> Array:
    r"""Return ``∂φ(θ)ᵀ Σ_i A(x_i, θ)ᵀ r_i``: the gradient of ``Σ_i ⟨r_i, R_θ(x_i)⟩``.

    Parameters
    ----------
    inputs : array-like, shape=[..., n, n_inputs]
    cotangents : array-like, shape=[..., n, n_outputs]
        ``r_i``.

    Returns
    -------
    gradient : array-like, shape=[..., D]
    """
    parameters = check_network(network).check_parameters(parameters)
    matrices = network.matrices(network.edge_vector(parameters))
    values = network.forward(matrices, network.check_inputs_at(parameters, inputs), relu=True)
    cotangents = real_array(cotangents, "the cotangents")
    if tuple(cotangents.shape[-2:]) != tuple(values[-1].shape[-2:]):
        raise ValueError(
            f"the cotangents of these outputs must have shape [..., "
            f"{values[-1].shape[-2]}, {network.n_outputs}], got {tuple(cotangents.shape)}."
        )
    namespace(values[-1], cotangents)
    check_batches((values[-1], cotangents), "outputs and cotangents")
    cotangents = cotangents + 0 * values[-1]
    adjoints = network.backward(matrices, cotangents, network.open_gates(values))
    return network.by_edges(values, adjoints)


def _together(network: ReluNetwork, parameters: Array, other: Array) -> tuple[Array, Array]:
    """Return parameters and a vector of their library, whose leading axes broadcast."""
    check_network(network)
    pair = network.check_parameters(parameters), network.check_parameters(other, "the vector")
    namespace(*pair)
    check_batches(pair, "parameters and vectors", 1)
    return pair


def _edges(network: ReluNetwork, parameters: Array) -> Array:
    return check_network(network).edge_vector(network.check_parameters(parameters))


def _path_sum(network: ReluNetwork, edges: Array) -> Array:
    """Return ``F(m)``."""
    outputs = network.forward(network.matrices(edges), _ones(network, edges))[-1]
    return namespace(outputs).sum(outputs[..., 0, :], axis=-1)


def _passes(network: ReluNetwork, matrices: list) -> tuple[list, list]:
    """Return values and derivatives of ``F``."""
    values = network.forward(matrices, _ones(network, matrices[0]))
    return values, network.backward(matrices, namespace(values[-1]).ones_like(values[-1]))


def _ones(network: ReluNetwork, like: Array) -> Array:
    """Return inputs of which every path counts once."""
    return from_numpy(numpy.ones((1, network.n_inputs)), like)
