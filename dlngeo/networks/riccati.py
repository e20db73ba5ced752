r"""Training of two layers on whitened data, by its Riccati equation.

With ``μ = W_2ᵀW_2 - W_1W_1ᵀ = c I``, which training conserves, ``Q = (W_1ᵀ; W_2)`` obeys

.. math:: \dot Q = (F - \tfrac12 QQ^T) Q, \quad
          F = \begin{pmatrix} -c/2 & Y^T \\ Y & c/2 \end{pmatrix},

so that ``P = QQᵀ``, of which ``X`` is a block, solves ``Ṗ = FP + PF - P²``:

.. math:: P(t) = e^{Ft} Q_0 \left( I + Q_0^T \int_0^t e^{2Fs} ds \; Q_0 \right)^{-1}
                 Q_0^T e^{Ft}.

In eigenvectors of ``F = V diag(f) Vᵀ`` and with ``g = ∫_0^t e^{2fs} ds`` that is

.. math:: P = V c \, Z (I + Z^T Z)^{-1} Z^T c V^T, \quad Z = \sqrt g \, V^T Q_0, \quad
          c^2 = e^{2ft} / g = \frac{2f}{1 - e^{-2ft}},

where ``c`` stays bounded and what grows are the rows of ``Z`` alone. Gram and Schmidt on its rows,
the largest of what is left first, give ``Z = M diag(δ) O`` with an ``M`` of entries at most 1, a
triangle up to the order of its rows, and an orthogonal ``O``. Of the sizes of rows only ratios and
logarithms are needed,

.. math:: Z (I + Z^T Z)^{-1} Z^T = M (δ^{-2} + M^T M)^{-1} M^T,

and where ``δ^{-2}`` underflows it does not matter.

References
----------
K. Fukumizu, *Effect of batch learning in multilayer neural networks*, ICONIP 1998; L. Braun,
C. Dominé, J. Fitzgerald, A. Saxe, *Exact learning dynamics of deep linear networks with prior
knowledge*, NeurIPS 2022; THEORY 1.
"""

import numpy

from dlngeo.core.base.arrays import Array, diagonal_matrix, transpose


def riccati_path(first: Array, second: Array, target: Array, offset: float, times: Array) -> Array:
    """Return ``W_2 W_1`` at positive times, shape=[t, m, n].

    Parameters
    ----------
    first, second : array, shape=[h, n], [m, h]
        Layers at time zero with ``W_2ᵀW_2 - W_1W_1ᵀ = c I``.
    target : array, shape=[m, n]
    offset : float
        ``c``.
    times : array, shape=[t]
    """
    rows, columns = target.shape
    left, values, _ = numpy.linalg.svd(numpy.concatenate([first.T, second]), full_matrices=False)
    # What is not there at the start never comes; round-off in its place would grow.
    round_off = values[0] * len(left) * numpy.finfo(float).eps
    half = offset / 2
    generator = numpy.block(
        [[-half * numpy.eye(columns), target.T], [target, half * numpy.eye(rows)]]
    )
    rates, basis = numpy.linalg.eigh(generator)
    start = basis.T @ (left * values)[:, values > round_off]
    start[numpy.linalg.norm(start, axis=1) <= round_off] = 0
    grown = 2 * rates * times[:, None]
    log_decay = _log_decay(grown)
    log_times = numpy.log(times)[:, None]
    matrix, log_scales = _graded_triangle(start, (log_times + grown - log_decay) / 2)
    inverse_squares = numpy.exp(numpy.minimum(-2 * log_scales, 709))  # at once after the start
    gram = transpose(matrix) @ matrix + diagonal_matrix(inverse_squares)
    columns_of_p = numpy.exp((log_decay - log_times) / 2)[..., None] * matrix
    half_path = numpy.linalg.solve(numpy.linalg.cholesky(gram), transpose(columns_of_p)) @ basis.T
    return transpose(half_path[..., columns:]) @ half_path[..., :columns]


def _log_decay(x: Array) -> Array:
    """Return ``log(x / (1 - e^{-x}))``, which is zero at zero."""
    size = numpy.abs(x)
    is_zero = size == 0
    ratio = numpy.where(is_zero, 1, size) / numpy.where(is_zero, 1, -numpy.expm1(-size))
    return numpy.log(ratio) + numpy.minimum(x, 0)


def _graded_triangle(rows: Array, log_sizes: Array) -> tuple[Array, Array]:
    """Return ``M`` and ``log δ`` of ``diag(e^s) A = M diag(δ) O``, for each row of sizes ``s``.

    Parameters
    ----------
    rows : array, shape=[n, k]
        ``A``, of rank ``k``.
    log_sizes : array, shape=[t, n]
        ``s``.
    """
    rest = numpy.tile(rows, (len(log_sizes), 1, 1))
    matrix, log_scales = numpy.zeros(rest.shape), numpy.zeros((len(rest), rows.shape[1]))
    sizes = log_sizes.copy()
    every = numpy.arange(len(rest))
    for k in range(rows.shape[1]):
        with numpy.errstate(divide="ignore"):
            log_norms = sizes + numpy.log(numpy.linalg.norm(rest, axis=-1))
        pivot = log_norms.argmax(axis=-1)
        log_scales[:, k] = log_norms[every, pivot]
        direction = rest[every, pivot]
        direction = direction / numpy.linalg.norm(direction, axis=-1, keepdims=True)
        part = numpy.einsum("tnk,tk->tn", rest, direction)
        rest = rest - part[..., None] * direction[:, None]
        with numpy.errstate(divide="ignore"):
            ratios = numpy.exp(sizes + numpy.log(numpy.abs(part)) - log_scales[:, [k]])
        matrix[..., k] = numpy.sign(part) * ratios
        sizes[every, pivot] = -numpy.inf
    return matrix, log_scales
