"""What there is to know of a network at a glance."""

import html
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors, parameters_of
from dlngeo.core.networks.network import moment_map
from dlngeo.networks.hessian_spectra import sharpness, stable_step
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.networks.loss_paths import loss_at
from dlngeo.thermodynamics.boltzmann_entropy import network_entropy

_MOST_SHOWN = 5
"""Singular values that are printed."""


@dataclass(frozen=True, eq=False, repr=False)
class NetworkReport:
    r"""Shape, spectrum, balancedness, entropy and sharpness of a network.

    It prints as a table, which notebooks show as such; `dlngeo.plotting.plot_report` draws it.

    Attributes
    ----------
    widths : tuple of int
    n_parameters : int
        Weights, and biases that there are.
    rank : int
        Of the end-to-end matrix ``X``, to round-off.
    singular_values : array, shape=[min(widths)]
        ``σ`` of the end-to-end matrix.
    layer_singular_values : tuple of array, shape=[min(d_p, d_{p-1})]
        Of the factors; of balanced ones they are ``σ^{1/N}``.
    squared_norm : float
        ``‖W‖²`` of the factors.
    least_squared_norm : float
        ``N Σ σ^{2/N}``, that of balanced factors of ``X``.
    moment_map_norm : float
        ``‖μ(W)‖``, with biases if there are any; it is kept by gradient flow.
    entropy : float, or None
        Boltzmann entropy of ``X`` among balanced networks of these widths, in nats; None of zero.
    loss : float, or None
    sharpness : float, or None
        Largest eigenvalue of the Hessian of the loss.
    largest_step : float, or None
        ``2 / sharpness``, from which on gradient descent is unstable; infinite without curvature.
    """

    widths: tuple[int, ...]
    n_parameters: int
    rank: int
    singular_values: Array
    layer_singular_values: tuple[Array, ...]
    squared_norm: float
    least_squared_norm: float
    moment_map_norm: float
    entropy: float | None
    loss: float | None
    sharpness: float | None
    largest_step: float | None

    @property
    def depth(self) -> int:
        """Number ``N`` of layers."""
        return len(self.widths) - 1

    def rows(self) -> list[tuple[str, str]]:
        """Return what is printed: names and values."""
        gap = self.squared_norm - self.least_squared_norm
        shown = ", ".join(f"{value:.4g}" for value in self.singular_values[:_MOST_SHOWN])
        if len(self.singular_values) > _MOST_SHOWN:
            shown += f", ..., {self.singular_values[-1]:.4g}"
        rows = [
            ("depth", f"{self.depth}"),
            ("widths", " → ".join(map(str, self.widths))),
            ("parameters", f"{self.n_parameters}"),
            ("rank", f"{self.rank} of at most {min(self.widths)}"),
            ("singular values", shown),
            ("‖W‖²", f"{self.squared_norm:.4g}"),
            ("above the least", f"{gap:.2g}, of all factors of the same matrix"),
            ("‖μ‖", f"{self.moment_map_norm:.2g}, zero if balanced"),
        ]
        if self.entropy is not None:
            rows.append(("entropy", f"{self.entropy:.4g} nats"))
        if self.loss is not None:
            rows += [
                ("loss", f"{self.loss:.4g}"),
                ("sharpness", f"{self.sharpness:.4g}"),
                ("unstable from", f"step size {self.largest_step:.4g}"),
            ]
        return rows

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(name) for name, _ in rows)
        return "\n".join(["Deep linear network", *(f"  {n:{width}}  {value}" for n, value in rows)])

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.rows()
        )
        return f"<table><caption>Deep linear network</caption>{rows}</table>"


def report(network: Factors, loss: Any = None) -> NetworkReport:
    """Return a report of a network, at a loss if there is one.

    Parameters
    ----------
    network : LinearNetwork or factors
    loss : callable, optional
        Of end-to-end matrices, as in `sharpness`, with the data in it:
        ``LinearRegression(inputs, outputs)``.

    Returns
    -------
    report : NetworkReport

    Raises
    ------
    ValueError
        If the loss does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import report
    >>> report([np.eye(2)] * 3, Factorization(np.eye(2)))
    Deep linear network
      depth            3
      widths           2 → 2 → 2 → 2
      parameters       12
      rank             2 of at most 2
      singular values  1, 1
      ‖W‖²             6
      above the least  0, of all factors of the same matrix
      ‖μ‖              0, zero if balanced
      entropy          6.305 nats
      loss             0
      sharpness        3
      unstable from    step size 0.6667
    """
    network = LinearNetwork(network)
    layers, rank, sigma = Layers(network.factors), network.rank, network.singular_values
    moments = moment_map(network)
    curvature = None if loss is None else sharpness(network, loss)
    return NetworkReport(
        widths=network.widths,
        n_parameters=sum(array.size for array in parameters_of(network)),
        rank=rank,
        singular_values=sigma,
        layer_singular_values=tuple(numpy.linalg.svd(w, compute_uv=False) for w in layers),
        squared_norm=float(layers.squared_norm()),
        least_squared_norm=float(network.depth * (sigma[:rank] ** (2 / network.depth)).sum()),
        moment_map_norm=float(Layers(moments).norm()) if moments else 0.0,
        entropy=float(network_entropy(layers, rank)) if rank else None,
        loss=None if loss is None else loss_at(network, loss),
        sharpness=curvature,
        largest_step=None if curvature is None else stable_step(curvature),
    )
