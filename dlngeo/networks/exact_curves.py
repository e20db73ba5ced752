r"""Exact learning curves of deep linear networks on whitened data.

    exact_learning(target, initial, times) -> ExactLearning

``target`` is the matrix ``Y``, or a loss with whitened inputs, ``initial`` are the factors at time
zero, and the result holds the end-to-end matrices, losses and mode strengths at the ``times``.

With whitened inputs the square loss is ``E(X) = ½‖X - Y‖²`` up to a constant, and its gradient
flow ``Ẇ = -dφ_W^*(X - Y)``, that of ``learning_flow(Factorization(Y), factors)``, is known in
closed form: from any start for one layer; from balanced and relaxed balanced starts of any widths
for two (`dlngeo.networks.riccati`); and at every depth from balanced starts that share their
singular vectors with the target (`dlngeo.networks.learning_modes`). A time costs a few matrix
functions, however late it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, symmetric_part
from dlngeo.core.base.checks import host_array
from dlngeo.core.networks.factors import Factors
from dlngeo.core.networks.frames import balanced_frames
from dlngeo.core.networks.network import moment_map
from dlngeo.losses.linear_measurements import Factorization, LinearRegression
from dlngeo.networks.learning_modes import mode_strengths
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.networks.riccati import riccati_path

TOLERANCE = numpy.finfo(float).eps ** 0.4
"""How far a start may be from what is asked for, relatively; it acts as an error of the start."""


@dataclass(frozen=True, eq=False)
class ExactLearning:
    """Learning curves in closed form.

    Attributes
    ----------
    times : array, shape=[t]
    observables : array, shape=[t, m, n]
        End-to-end matrices ``X(t)``.
    loss : array, shape=[t]
        ``½‖X - Y‖²``, or that of the regression.
    mode_strengths : array, shape=[t, min(m, n)]
        ``u_kᵀ X v_k`` in the singular vectors of the target, that of its largest value first.
    """

    times: Array
    observables: Array
    loss: Array
    mode_strengths: Array


def exact_learning(target: Any, initial: Factors, times: Any) -> ExactLearning:
    r"""Return the learning curve of a deep linear network on whitened data.

    .. math:: \dot W = -dφ_W^*(X - Y), \quad X = W_N \cdots W_1.

    A regression whose inputs have the second moment ``(1/s) Σ x_i x_iᵀ = c I`` has the target
    ``Y = (1/cs) Σ y_i x_iᵀ`` and the loss ``c/2 ‖X - Y‖² + E(Y)``: it learns ``c`` times as fast.

    Parameters
    ----------
    target : array-like, shape=[m, n], Factorization or LinearRegression
        ``Y``, of any rank, or the loss.
    initial : factors or LinearNetwork
        ``W_1, ..., W_N`` at time zero, ``[N, d, d]`` or a sequence of matrices, without biases.
        One layer: any. Two layers: ``W_2ᵀW_2 - W_1W_1ᵀ = c I``, which is balanced for ``c = 0``
        and relaxed balanced otherwise. More: balanced, and ``X`` and ``Y`` have singular vectors
        in common, up to signs.
    times : float or array-like, shape=[t]
        Not negative, in any order.

    Returns
    -------
    ExactLearning
        In NumPy's double precision.

    Raises
    ------
    ValueError
        If the start is none of these, or the second moment no multiple of the identity, by more
        than 5e-7 of its size; `learning_flow` integrates from every start, on all data.

    References
    ----------
    A. Saxe, J. McClelland, S. Ganguli, ICLR 2014; K. Fukumizu, ICONIP 1998; L. Braun et al.,
    NeurIPS 2022; THEORY 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import exact_learning
    >>> start = [np.sqrt(0.01) * np.eye(2), np.sqrt(0.01) * np.eye(2)]
    >>> curve = exact_learning(np.diag([2.0, 1.0]), start, [0.0, 1.0, 10.0])
    >>> curve.mode_strengths.round(3)
    array([[0.01 , 0.01 ],
           [0.431, 0.069],
           [2.   , 1.   ]])
    """
    target, curvature, floor = _quadratic(target)
    times = numpy.atleast_1d(host_array(times, "times"))
    if target.ndim != 2 or times.ndim != 1:
        raise ValueError(
            f"expected a target [m, n] and times [t], got shapes {target.shape} and {times.shape}."
        )
    if (times < 0).any():
        raise ValueError(f"times must not be negative, got {times.min():g}.")
    network = LinearNetwork(initial)
    if any(bias is not None for bias in network.biases):
        raise ValueError(
            "the curves are those of factors without biases: take off the mean of the data, and "
            "start from network.factors, or use learning_flow."
        )
    layers = network.factors
    if (network.widths[-1], network.widths[0]) != target.shape:
        raise ValueError(
            f"expected factors of one network with a matrix of shape {target.shape}, as the "
            f"target has, got shapes {[layer.shape for layer in layers]}."
        )
    ages = curvature * times
    if len(layers) == 1:
        path = target + numpy.exp(-ages)[:, None, None] * (layers[0] - target)
    elif len(layers) == 2:
        path = _two_layers(*layers, target, ages)
    else:
        path = _aligned_layers(layers, target, ages)
    left, _, right = numpy.linalg.svd(target, full_matrices=False)
    return ExactLearning(
        times=times,
        observables=path,
        loss=floor + curvature * numpy.sum((path - target) ** 2, axis=(1, 2)) / 2,
        mode_strengths=numpy.einsum("mk,tmn,kn->tk", left, path, right),
    )


def _quadratic(target: Any) -> tuple[Array, float, float]:
    """Return ``Y``, ``c`` and ``E(Y)`` of a loss ``c/2 ‖X - Y‖² + E(Y)``."""
    if isinstance(target, Factorization):
        target = target.target
    if not isinstance(target, LinearRegression):
        return host_array(target, "the target"), 1.0, 0.0
    loss = LinearRegression(
        host_array(target.inputs, "the inputs"), host_array(target.outputs, "the outputs")
    )
    values = numpy.linalg.eigvalsh(loss.second_moment)
    curvature = float(values.mean())
    if not values[-1] - values[0] <= TOLERANCE * curvature:
        raise ValueError(
            "expected whitened inputs, whose second moment is a multiple of the identity, but its "
            f"eigenvalues are from {values[0]:.3g} to {values[-1]:.3g}: whiten them "
            "(sklearn.decomposition.PCA, whiten=True), or use learning_flow."
        )
    best = loss.pull(loss.outputs) / curvature
    return best, curvature, float(loss(best))


def _two_layers(first: Array, second: Array, target: Array, times: Array) -> Array:
    # In units in which matrices are of order one.
    unit = max(float(numpy.linalg.norm(matrix, 2)) for matrix in (first, second)) ** 2
    unit = max(unit, float(numpy.linalg.norm(target, 2)))
    path = numpy.tile(second @ first, (len(times), 1, 1))
    if unit == 0:
        return path
    first, second = first / unit**0.5, second / unit**0.5
    (moment,) = moment_map((first, second))
    offset = float(numpy.trace(moment)) / len(moment)
    defect = float(numpy.linalg.norm(moment - offset * numpy.eye(len(moment)), 2))
    if defect > TOLERANCE * max(float(numpy.linalg.norm(w, 2)) ** 2 for w in (first, second)):
        raise ValueError(
            "expected two layers with W_2ᵀ W_2 - W_1 W_1ᵀ = c I, but the eigenvalues of that "
            f"differ by {defect * unit:.1e} from their mean: balance the factors first "
            "(dlngeo.balance), or use learning_flow."
        )
    is_later = unit * times > 1e-300
    path[is_later] = unit * riccati_path(
        first, second, target / unit, offset, unit * times[is_later]
    )
    return path


def _aligned_layers(layers: Sequence[Array], target: Array, times: Array) -> Array:
    values = numpy.linalg.svd(layers[0], compute_uv=False)
    # Singular values that are not there at the start never come.
    rank = int(numpy.sum(values > values[0] * max(layers[0].shape) * numpy.finfo(float).eps))
    rank = min(rank, *(len(layer) for layer in layers))
    if rank == 0:
        return numpy.zeros((len(times), *target.shape))
    frames, lam = balanced_frames(layers, rank)
    left, right = frames[-1], frames[0]
    core = left.T @ target @ right
    # Singular vectors are free where singular values repeat.
    ends = numpy.flatnonzero(lam[1:] < lam[:-1] * (1 - TOLERANCE)) + 1
    for block in numpy.split(numpy.arange(rank), ends):
        rotation = numpy.linalg.eigh(symmetric_part(core[numpy.ix_(block, block)]))[1]
        left[:, block], right[:, block] = left[:, block] @ rotation, right[:, block] @ rotation
    goals = numpy.einsum("mk,mn,nk->k", left, target, right)
    defect = max(
        float(numpy.linalg.norm(target @ right - left * goals)),
        float(numpy.linalg.norm(left.T @ target - goals[:, None] * right.T)),
    )
    if defect > TOLERANCE * float(numpy.linalg.norm(target)):
        raise ValueError(
            f"at depth {len(layers)} the curve is known only if start and target have their "
            f"singular vectors in common, but they differ by {defect:.1e}: start from factors "
            "over such a matrix (dlngeo.factorize), or use learning_flow."
        )
    strengths = mode_strengths(lam ** len(layers), goals, len(layers), times)
    return left * strengths[:, None, :] @ right.T
