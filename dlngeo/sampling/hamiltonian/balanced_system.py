"""Mici's constrained system on the balanced manifold."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy

from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.networks.factors import Factors, check_widths, layers_of, widths_of
from dlngeo.core.networks.network import adjoint_differential, end_to_end, moment_map
from dlngeo.sampling.hamiltonian.root_frames import RootFrames
from dlngeo.sampling.hamiltonian.systems import Energy, EnergyGradient, NetworkSystem, mici


class BalancedSystem(NetworkSystem, mici.systems.DenseConstrainedEuclideanMetricSystem):
    r"""Mici's constrained system on the balanced manifold, the level set ``μ(W) = 0``.

    The law is ``e^{-βE(φ(W))} dvol``, with the volume that parameter space, as a Euclidean space,
    induces (Hausdorff's measure). A position is the flat vector of the factors.

    Parameters
    ----------
    energy : callable
        ``E``, from a matrix of shape=[d_N, d_0] to a number.
    energy_gradient : callable
        ``∇E``, from a matrix to a matrix of the same shape.
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``, ``N ≥ 2``. The hidden ones are equal and are the rank ``r``.
    beta : float
        Inverse temperature ``β``.
    determinant : str, optional
        "positive" or "negative": of square networks the component, by the sign of ``det X``; both
        by default.

    Raises
    ------
    ValueError
        If the widths are not such, or ``β`` is not positive.

    Notes
    -----
    The moment map is a submersion at a balanced point if and only if every hidden layer is as
    wide as the rank: a symmetric matrix between the null spaces of a wider layer is normal to
    nothing. Mici's tolerances are absolute: in units in which the factors are of order one they
    fit.

    Examples
    --------
    >>> import mici, numpy
    >>> from dlngeo import factorize
    >>> from dlngeo.sampling import BalancedSystem
    >>> target = numpy.diag([1.0, 0.5])
    >>> system = BalancedSystem(
    ...     lambda x: numpy.sum((x - target) ** 2) / 2, lambda x: x - target, (2, 2, 2), beta=5.0
    ... )
    >>> sampler = mici.samplers.RandomMetropolisHMC(
    ...     system, mici.integrators.ConstrainedLeapfrogIntegrator(system),
    ...     numpy.random.default_rng(0), n_step_range=(1, 8),
    ... )
    >>> start = numpy.stack([numpy.eye(2), numpy.diag([2.0, 1.0])])  # of two chains
    >>> result = sampler.sample_chains(
    ...     50, 100, system.positions(factorize(start, depth=2)), display_progress=False
    ... )
    >>> system.factors(result.traces["pos"]).shape
    (2, 100, 2, 2, 2)
    >>> system.observables(result.traces["pos"]).shape
    (2, 100, 2, 2)

    References
    ----------
    [MY25]; THEORY 2, 4; Lelièvre, Rousset, Stoltz, *Hybrid Monte Carlo methods for sampling
    probability measures on submanifolds*, 2019.
    """

    def __init__(
        self,
        energy: Energy,
        energy_gradient: EnergyGradient,
        widths: Sequence[int],
        beta: float,
        determinant: str | None = None,
    ):
        self.widths, rank = check_widths(widths)
        if len(self.widths) < 3:
            raise ValueError(
                "a network of depth 1 has no constraint: take DepthRootSystem, or Mici's own "
                "Euclidean systems."
            )
        if any(width != rank for width in self.widths[1:-1]):
            raise ValueError(
                f"of widths {self.widths} the hidden ones are not all equal to the rank {rank}: "
                "there μ(W) = 0 is singular, no level set to constrain a chain to. Make the hidden "
                f"layers {rank} wide, and for the same law of X subtract Σ_p (d_p - r) Σ_k log λ_k "
                "/ β from the energy."
            )
        self.depth = len(self.widths) - 1
        self._has_components = self.widths[0] == self.widths[-1] == rank
        self._set_energy(energy, energy_gradient, beta, determinant)
        self._shapes = [(b, a) for a, b in itertools.pairwise(self.widths)]
        self._hessian = _moment_hessian(self._shapes)
        super().__init__(
            self._value,
            self._moments,
            grad_neg_log_dens=self._slope_and_value,
            jacob_constr=self._jacobian_and_moments,
        )

    def factors(self, positions: Any) -> Factors:
        """Return the factors at positions, such as ``traces["pos"]``.

        Parameters
        ----------
        positions : array-like, shape=[..., n]

        Returns
        -------
        factors : array, shape=[..., N, d, d], or tuple of shape=[..., d_p, d_{p-1}]
            One array if all widths are equal.
        """
        layers = self._folded(unpack(numpy.asarray(positions), self._shapes))
        return numpy.stack(layers, axis=-3) if len(set(self.widths)) == 1 else layers

    def observables(self, positions: Any) -> numpy.ndarray:
        """Return the end-to-end matrices ``X`` at positions, such as ``traces["pos"]``.

        Parameters
        ----------
        positions : array-like, shape=[..., n]

        Returns
        -------
        observables : array, shape=[..., d_N, d_0]
        """
        layers = unpack(numpy.asarray(positions), self._shapes)
        return self._frames(layers).observable() if self._has_components else end_to_end(layers)

    def _frames(self, layers: Sequence[numpy.ndarray]) -> RootFrames:
        product = end_to_end(layers)
        is_folded = self._is_across(product)
        if self.determinant is None and len(layers) % 2 == 0:
            is_folded = numpy.linalg.slogdet(layers[0])[0] < 0
        return RootFrames.of(product, 1, is_folded)

    def _folded(self, layers: Sequence[numpy.ndarray]) -> Sequence[numpy.ndarray]:
        """Return the factors over ``X`` as it is read; of these, the factors that are read so."""
        if not self._has_components:
            return layers
        # Turn the last factor with X: its left singular vectors are those of X.
        frames, signs, _ = self._frames(layers)
        turn = frames._replace(right=frames.left).with_values(signs)
        return (*layers[:-1], turn @ layers[-1])

    def positions(self, factors: Factors) -> list[numpy.ndarray]:
        """Return initial positions of chains, one for each network.

        Parameters
        ----------
        factors : array, shape=[chains, N, d, d], or tuple of shape=[chains, d_p, d_{p-1}]
            Balanced factors of full rank.

        Returns
        -------
        init_states : list of array, shape=[n]

        Raises
        ------
        ValueError
            If the factors have other widths, are not balanced, of a lower rank or of the other
            component, or their energy is not finite.
        """
        layers = layers_of(factors)
        if widths_of(layers) != self.widths:
            raise ValueError(f"expected widths {self.widths}, got {widths_of(layers)}.")
        size = sum(numpy.sum(layer**2, axis=(-2, -1)) for layer in layers)
        moments = [abs(moment).max(axis=(-2, -1)) for moment in moment_map(layers)]
        is_off = (numpy.stack(moments) > 1e-9 * size).any(axis=0)
        if is_off.any():
            raise ValueError(
                f"initial factors must be balanced, μ(W) = 0{in_batch(is_off)}: balance them first "
                "(dlngeo.balance)."
            )
        observables = end_to_end(layers)
        if self.determinant is None:
            layers = tuple(self._folded(layers))
        return self._checked_positions(observables, pack(layers), min(self.widths))

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        layers = unpack(position, self._shapes)
        if self._has_components:
            frames = self._frames(layers)
            slope, value = self._scaled_energy(frames.observable())
            slope = frames.pull_back(slope)
        else:
            slope, value = self._scaled_energy(end_to_end(layers))
        if not numpy.isfinite(slope).all():
            return numpy.full_like(position, numpy.nan), value
        return pack(adjoint_differential(layers, slope)), value

    def _jacobian_and_moments(self, position: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        # The moment map is a quadratic form: its derivative is linear.
        count, entry, source, sign = self._hessian
        size = count * len(position)
        jacobian = numpy.bincount(entry, weights=sign * position[source], minlength=size)
        jacobian = jacobian.reshape(count, len(position))
        return jacobian, jacobian @ position / 2

    def _moments(self, position: numpy.ndarray) -> numpy.ndarray:
        return self._jacobian_and_moments(position)[1]


def _moment_hessian(
    shapes: Sequence[tuple[int, int]],
) -> tuple[int, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the second derivatives of the moment map, which are constant, without zeros.

    The entries ``i ≤ j`` of ``μ_p = W_{p+1}ᵀ W_{p+1} - W_p W_pᵀ`` count.

    Returns
    -------
    count : int
        Number ``c`` of entries.
    entry : array of int, shape=[k]
        Place in the Jacobian, shape=[c, n], as if it were flat; places may repeat.
    source : array of int, shape=[k]
        Place in the factors by which that entry is derived.
    sign : array, shape=[k]
        What there is to add.
    """
    ends = numpy.cumsum([0] + [rows * columns for rows, columns in shapes])
    places = [
        numpy.arange(start, stop).reshape(shape)
        for start, stop, shape in zip(ends[:-1], ends[1:], shapes, strict=True)
    ]
    entries, sources, signs = [], [], []
    count = 0
    for before, after in itertools.pairwise(places):
        for i, j in zip(*numpy.triu_indices(len(before)), strict=True):
            for sign, a, b in ((1, after[:, i], after[:, j]), (-1, before[i], before[j])):
                entries += [count * ends[-1] + a, count * ends[-1] + b]
                sources += [b, a]
                signs += [numpy.full(2 * len(a), sign)]
            count += 1
    return count, *(numpy.concatenate(parts) for parts in (entries, sources, signs))
