r"""Losses of samples on a deep linear network, and what their noise does to its moment map.

A gradient ``∇f_s = dφ^*(∇E_s)`` of one sample is orthogonal to the kernel of ``dφ``, whatever
the sample: noise is horizontal at balanced factors, and every step along such gradients changes
the moment map to second order alone,

.. math:: μ(W - ηG) = μ(W) + η^2 μ(G), \quad G ∈ \mathrm{range}\, dφ^*_W.

Own derivation; THEORY 7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from array_api_compat import is_torch_array

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import finite, flag, float_array, positive, real_array
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.gradient_noise.samples import SampleLosses
from dlngeo.core.networks.factors import Factors, check_widths, in_kind
from dlngeo.core.networks.network import moment_map


@dataclass(frozen=True, eq=False)
class NetworkSamples:
    r"""Squared errors of a deep linear network, sample by sample.

    .. math:: f_s(W) = \tfrac12 \|W_N \cdots W_1 x_s - y_s\|^2

    Their mean is the loss `LinearRegression` of the end-to-end matrix. By one pass forwards and
    one backwards: with ``a_p = W_{<p} x_s`` and ``δ_p = W_{>p}^T (X x_s - y_s)`` the gradient
    has the layers ``δ_p a_p^T``.

    Attributes
    ----------
    inputs : array-like, shape=[n, d_0]
        Samples ``x_s`` in rows, in the library of the points.
    outputs : array-like, shape=[n, d_N]
        Samples ``y_s`` in rows.
    widths : sequence of int
        ``(d_0, ..., d_N)``. Points are of shape ``(N, d, d)`` if all are equal, and else flat
        vectors of the factors one after the other, as on `BalancedManifold`.

    Raises
    ------
    ValueError
        If shapes do not fit, or an entry is NaN or infinite.
    """

    inputs: Array
    outputs: Array
    widths: Sequence[int]

    def __post_init__(self) -> None:
        widths, _ = check_widths(self.widths)
        object.__setattr__(self, "widths", widths)
        for name, width in (("inputs", widths[0]), ("outputs", widths[-1])):
            array = real_array(getattr(self, name), f"the {name}")
            if array.ndim != 2 or array.shape[1] != width or array.shape[0] == 0:
                raise ValueError(
                    f"the {name} hold one sample in each row and need the shape [n, {width}], got "
                    f"{tuple(array.shape)}."
                )
            object.__setattr__(self, name, array)
        namespace(self.inputs, self.outputs)
        if self.inputs.shape[0] != self.outputs.shape[0]:
            raise ValueError(
                "there must be as many inputs as outputs, got "
                f"{self.inputs.shape[0]} and {self.outputs.shape[0]}."
            )

    @property
    def n_samples(self) -> int:
        return self.inputs.shape[0]

    @property
    def point_shape(self) -> tuple[int, ...]:
        widths = self.widths
        if len(set(widths)) == 1:
            return len(widths) - 1, widths[0], widths[0]
        return (sum(rows * columns for columns, rows in pairwise(widths)),)

    @property
    def samples(self) -> SampleLosses:
        """The losses and their derivatives, for the solvers; a minibatch costs what it holds."""
        return SampleLosses(
            self.point_shape, self.losses, self.gradients, self.hvp, n_samples=self.n_samples
        )

    def losses(self, point: Array, indices: Array | slice = slice(None)) -> Array:
        """Return ``f_s``, shape=[n], of all samples or of some."""
        *_, last = self._forward(self._at(point), indices)
        return namespace(last).sum((last - self.outputs[indices]) ** 2, axis=-1) / 2

    def gradients(self, point: Array, indices: Array | slice = slice(None)) -> Array:
        """Return ``∇f_s``, shape=[n, *point_shape]."""
        factors = self._at(point)
        *inner, last = self._forward(factors, indices)
        errors = self._backward(factors, last - self.outputs[indices])
        return self._points([_outer(e, a) for e, a in zip(errors, inner, strict=True)])

    def hvp(self, point: Array, vector: Array, indices: Array | slice = slice(None)) -> Array:
        """Return ``∇²f_s v``, shape=[n, *point_shape]: the derivative of both passes."""
        factors, moves = self._at(point), self._at(vector)
        *inner, last = self._forward(factors, indices)
        errors = self._backward(factors, last - self.outputs[indices])
        pushed = [0 * inner[0]]
        for w, v, a in zip(factors, moves, inner, strict=True):
            pushed.append(pushed[-1] @ transpose(w) + a @ transpose(v))
        *pushed, pulled = pushed
        layers = []
        for w, v, a, b, e in reversed(
            list(zip(factors, moves, inner, pushed, errors, strict=True))
        ):
            layers.append(_outer(pulled, a) + _outer(e, b))
            pulled = pulled @ w + e @ v
        return self._points(layers[::-1])

    def moment_step(
        self,
        point: Array,
        *,
        learning_rate: float,
        batch_size: float,
        replacement: bool = True,
    ) -> Factors:
        r"""Return the expected change of the moment map in one step of SGD.

        .. math:: \mathbf{E}\, μ(W') - μ(W) = η^2 \left(μ(∇f) + \frac{c}{b}\left(\frac1n \sum_s
                  μ(∇f_s) - μ(∇f)\right)\right), \quad
                  c = \begin{cases} 1 & \text{with replacement} \\ \frac{n-b}{n-1} &
                  \text{without} \end{cases}

        It is exact: the first order vanishes for every batch. The part of ``1/b`` is the noise,
        a trace of the diffusion matrix, and in the stochastic differential equation of SGD it
        is a drift: ``μ`` has no martingale part there.

        Parameters
        ----------
        point : array-like, shape=[*point_shape]
        learning_rate : float
            ``η``.
        batch_size : float
            ``b``; infinite is the full gradient.
        replacement : bool
            Whether a batch may hold a sample twice.

        Returns
        -------
        change : array-like, shape=[N-1, d, d], or tuple of shape=[d_p, d_p]

        Raises
        ------
        ValueError
            If there is no such batch.

        References
        ----------
        Own derivation; THEORY 7.
        """
        n, rows = self.n_samples, self.gradients(point)
        learning_rate = positive(learning_rate, "learning_rate")
        if batch_size != math.inf:
            batch_size = finite(batch_size, "batch_size")
        if not (batch_size >= 1 and (flag(replacement, "replacement") or batch_size <= n)):
            raise ValueError(
                "a batch holds at least one sample, and without replacement at most all "
                f"{n}: got batch_size={batch_size}."
            )
        xp = namespace(rows)
        factor = (1.0 if replacement else (n - batch_size) / max(n - 1, 1)) / batch_size
        mean = self._moments(xp.mean(rows, axis=0))
        noisy = [xp.mean(moment, axis=0) for moment in self._moments(rows)]
        change = [
            learning_rate**2 * ((1 - factor) * m + factor * s)
            for m, s in zip(mean, noisy, strict=True)
        ]
        if len(self.point_shape) == 1:
            return tuple(change)
        return xp.stack(change) if change else 0 * point[:0]

    def _moments(self, points: Array) -> tuple[Array, ...]:
        return moment_map(tuple(self._factors(points)))

    def _forward(self, factors: Sequence[Array], indices: Array | slice) -> list[Array]:
        """Return the activations ``a_1, ..., a_{N+1}``, shape=[n, d_{p-1}]."""
        inner = [self.inputs[indices]]
        for factor in factors:
            inner.append(inner[-1] @ transpose(factor))
        return inner

    def _backward(self, factors: Sequence[Array], residual: Array) -> list[Array]:
        """Return ``δ_1, ..., δ_N``, shape=[n, d_p]."""
        errors = [residual]
        for factor in reversed(factors[1:]):
            errors.append(errors[-1] @ factor)
        return errors[::-1]

    def _at(self, point: Array) -> list[Array]:
        """Return the factors of one point, shape=[d_p, d_{p-1}]."""
        point = float_array(point, "the point")
        if is_torch_array(point) or is_torch_array(self.inputs):
            namespace(point, self.inputs)
        if tuple(point.shape) != self.point_shape:
            raise ValueError(
                f"a point of these samples has shape {self.point_shape}, got {tuple(point.shape)}."
            )
        return self._factors(point)

    def _factors(self, points: Array) -> list[Array]:
        """Return the factors of points, shape=[..., d_p, d_{p-1}]."""
        if len(self.point_shape) == 3:
            return [points[..., p, :, :] for p in range(len(self.widths) - 1)]
        shapes = [(rows, columns) for columns, rows in pairwise(self.widths)]
        return list(unpack(points, shapes))

    def _points(self, layers: Sequence[Array]) -> Array:
        """Return matrices, shape=[n, d_p, d_{p-1}], as points."""
        if len(self.point_shape) == 3:
            return in_kind(layers, layers[0])
        return pack(layers)


def _outer(left: Array, right: Array) -> Array:
    return left[..., :, None] * right[..., None, :]
