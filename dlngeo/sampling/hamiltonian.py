r"""Hamiltonian Monte Carlo by Mici: its systems for balanced networks and their matrices.

One law in three forms ([MY25]; THEORY 4): ``e^{-βE(φ(W))} dvol`` on the balanced manifold, which
is ``e^{-βF} dvol_{g^N}`` of the matrix ``X = φ(W)``, with the free energy ``F = E - S/β``. Mici's
samplers, integrators and adaptation take these systems as they are; needs the extra
``sampling``.

Square matrices of full rank have two components, ``det X > 0`` and ``det X < 0``, which meet where
``λ_d = 0``. A system samples the law on one of them, as the Langevin equation does, which is
reflected there. Its chains cross instead, and are folded: on the other side ``X`` is read with its
last left singular vector turned, which keeps the measure and costs no rejections
(`dlngeo.core.root_chart`). On the balanced manifold of even depth there is nothing to fold: where
``λ_d`` passes through zero, all factors change the signs of their determinants, and ``X``, whose
singular value is ``λ_d^N``, turns back by itself.
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from dlngeo.core.factors import Factors, check_widths, checked_matrix, layers_of, widths_of
from dlngeo.core.frames import check_positive
from dlngeo.core.network import adjoint_differential, end_to_end, moment_map
from dlngeo.core.root_chart import RootFrames, depth_root

try:
    from mici import matrices, systems
except ImportError as error:
    raise ImportError(
        "the Hamiltonian samplers are those of Mici, which is not installed: install the extra "
        "sampling (pip install 'dlngeo[sampling]'), or use the Langevin samplers."
    ) from error

Energy = Callable[[numpy.ndarray], Any]
EnergyGradient = Callable[[numpy.ndarray], numpy.ndarray]


class _Network(systems.System):
    """An energy of the end-to-end matrix."""

    _has_components = True

    def _set_energy(
        self, energy: Energy, energy_gradient: EnergyGradient, beta: float, component: int
    ) -> None:
        if not 0 < beta < math.inf:
            raise ValueError(f"the inverse temperature must be positive and finite, got {beta}.")
        if component not in (1, -1):
            raise ValueError(f"the component is the sign of det X, 1 or -1, got {component}.")
        self.beta, self.component = float(beta), int(component)
        self._energy, self._energy_gradient = energy, energy_gradient

    def observables(self, positions: Any) -> numpy.ndarray:
        """Return the end-to-end matrices ``X`` at positions, such as ``traces["pos"]``.

        Parameters
        ----------
        positions : array-like, shape=[..., n]

        Returns
        -------
        observables : array, shape=[..., d_N, d_0]
        """
        raise NotImplementedError

    def _value(self, position: numpy.ndarray) -> float:
        return self._slope_and_value(position)[1]

    def _slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        """Return gradient and value of the negative logarithm of the density.

        Beyond all bounds the value is infinite and the gradient NaN: Mici rejects the proposal.
        """
        if numpy.isfinite(position).all():
            with numpy.errstate(over="ignore", invalid="ignore"):
                slope, value = self._finite_slope_and_value(position)
            if numpy.isfinite(slope).all():
                return slope, value
        return numpy.full_like(position, numpy.nan), numpy.inf

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        raise NotImplementedError

    def _scaled_energy(self, observable: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        """Return ``β ∇E`` and ``β E``."""
        slope = self._energy_gradient(observable)
        return self.beta * slope, self.beta * float(self._energy(observable))

    def _checked_positions(
        self, observables: numpy.ndarray, positions: numpy.ndarray, rank: int
    ) -> list[numpy.ndarray]:
        """Return positions, one for each chain, over matrices that a chain can start at."""
        check_positive(numpy.linalg.svd(observables, compute_uv=False), rank)
        rows, columns = observables.shape[-2:]
        if self._has_components:
            signs = numpy.linalg.slogdet(observables)[0]
            if (signs != self.component).any():
                raise ValueError(
                    "expected initial matrices whose determinants have the sign "
                    f"{self.component}: sample each component, component=1 and component=-1, by a "
                    "system of its own."
                )
        for observable in observables.reshape(-1, rows, columns):
            value = numpy.asarray(self._energy(observable))
            slope = numpy.asarray(self._energy_gradient(observable))
            if value.size != 1 or slope.shape != observable.shape:
                raise ValueError(
                    f"energy and gradient of a matrix of shape {observable.shape} must be a number "
                    f"and a matrix of its shape, got shapes {value.shape} and {slope.shape}."
                )
            if not (numpy.isfinite(value).all() and numpy.isfinite(slope).all()):
                raise ValueError(
                    "energy or gradient of an initial matrix is NaN or infinite: start elsewhere."
                )
        return list(positions.reshape(-1, positions.shape[-1]))


class BalancedSystem(_Network, systems.DenseConstrainedEuclideanMetricSystem):
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
    component : int
        The sign of ``det X``, where matrices of the rank have two components.

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
        component: int = 1,
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
        self._set_energy(energy, energy_gradient, beta, component)
        self._has_components = self.widths[0] == self.widths[-1] == rank
        self._shapes = [(b, a) for a, b in itertools.pairwise(self.widths)]
        self._ends = numpy.cumsum([b * a for b, a in self._shapes])
        self._depth_is_odd = len(self._shapes) % 2 == 1
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
        layers = self._layers(numpy.asarray(positions))
        if self._has_components:
            # Turn the last factor with X: its left singular vectors are those of X.
            frames, signs, _ = self._frames(end_to_end(layers))
            turn = frames._replace(right=frames.left).with_values(signs)
            layers = (*layers[:-1], turn @ layers[-1])
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
        product = end_to_end(self._layers(numpy.asarray(positions)))
        return self._frames(product).observable() if self._has_components else product

    def _layers(self, positions: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        pieces = numpy.split(positions, self._ends[:-1], axis=-1)
        return tuple(
            piece.reshape(*piece.shape[:-1], *shape)
            for piece, shape in zip(pieces, self._shapes, strict=True)
        )

    def _frames(self, product: numpy.ndarray) -> RootFrames:
        return RootFrames.of(product, 1, self.component)

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
        if (numpy.stack(moments) > 1e-9 * size).any():
            raise ValueError(
                "initial factors must be balanced, μ(W) = 0: balance them first (dlngeo.balance)."
            )
        product = end_to_end(layers)
        flat = [layer.reshape(*layer.shape[:-2], -1) for layer in layers]
        return self._checked_positions(product, numpy.concatenate(flat, axis=-1), min(self.widths))

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        layers = self._layers(position)
        product = end_to_end(layers)
        if self._has_components and self._depth_is_odd:
            frames = self._frames(product)
            slope, value = self._scaled_energy(frames.observable())
            slope = frames.pull_back(slope)
        else:
            slope, value = self._scaled_energy(product)
        if not numpy.isfinite(slope).all():
            return numpy.full_like(position, numpy.nan), value
        pulled = adjoint_differential(layers, slope)
        return numpy.concatenate([layer.ravel() for layer in pulled]), value

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
            for sign, one, other in ((1, after[:, i], after[:, j]), (-1, before[i], before[j])):
                entries += [count * ends[-1] + one, count * ends[-1] + other]
                sources += [other, one]
                signs += [numpy.full(2 * len(one), sign)]
            count += 1
    return count, *(numpy.concatenate(parts) for parts in (entries, sources, signs))


class _RootNetwork(_Network):
    """Chains of square matrices in the coordinates ``Y = U Λ Vᵀ``."""

    def __init__(
        self,
        energy: Energy,
        energy_gradient: EnergyGradient,
        width: int,
        depth: int,
        beta: float,
        component: int = 1,
    ):
        check_widths((width,) * 2)
        if not (depth >= 1 and float(depth).is_integer()):
            raise ValueError(f"the depth must be a positive integer, got {depth}.")
        self.width, self.depth = int(width), int(depth)
        self._set_energy(energy, energy_gradient, beta, component)
        super().__init__(self._value, grad_neg_log_dens=self._slope_and_value, **self._metric())

    def _metric(self) -> dict[str, Any]:
        """Return what Mici's constructor wants to know of the metric."""
        return {}

    def observables(self, positions: Any) -> numpy.ndarray:
        """Return the matrices ``X`` at positions, such as ``traces["pos"]``.

        Parameters
        ----------
        positions : array-like, shape=[..., d²]

        Returns
        -------
        observables : array, shape=[..., d, d]
        """
        return self._frames(numpy.asarray(positions)).observable()

    def positions(self, observables: numpy.ndarray) -> list[numpy.ndarray]:
        """Return initial positions of chains, one for each matrix.

        Parameters
        ----------
        observables : array, shape=[chains, d, d]
            Matrices ``X`` of full rank.

        Returns
        -------
        init_states : list of array, shape=[d²]

        Raises
        ------
        ValueError
            If the matrices have another shape, a lower rank or are of the other component, or
            their energy is not finite.
        """
        observables = checked_matrix(observables, self.width, self.width)
        roots = depth_root(observables, self.depth)
        return self._checked_positions(
            observables, roots.reshape(*roots.shape[:-2], -1), self.width
        )

    def _frames(self, positions: numpy.ndarray) -> RootFrames:
        roots = positions.reshape(*positions.shape[:-1], self.width, self.width)
        return RootFrames.of(roots, self.depth, self.component)

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        frames = self._frames(position)
        slope, value = self._scaled_energy(frames.observable())
        slope = frames.pull_back(slope) - frames.entropy_gradient()
        return slope.ravel(), value - float(frames.entropy())


class DepthRootSystem(_RootNetwork, systems.EuclideanMetricSystem):
    r"""Mici's Euclidean system on square matrices, in depth-root coordinates.

    The law is ``e^{-βF(X)} dvol_{g^N}``. A position is the flat depth root ``Y = U Λ Vᵀ`` of
    ``X = U Λ^N Vᵀ``, in which the volume of ``g^N`` is a multiple of Lebesgue's measure
    (`dlngeo.core.root_chart`): the density is ``e^{-βE + S}``, and the leapfrog is explicit. Of the
    systems here it is the fastest.

    Parameters
    ----------
    energy : callable
        ``E``, from a matrix of shape=[d, d] to a number.
    energy_gradient : callable
        ``∇E``, from a matrix to a matrix.
    width : int
        ``d``; the hidden layers are as wide.
    depth : int
        Depth ``N``.
    beta : float
        Inverse temperature ``β``.
    component : int
        The sign of ``det X``.

    Raises
    ------
    ValueError
        If width or depth is not a positive integer, or ``β`` not positive.

    References
    ----------
    [MY25]; THEORY 3, 4.
    """


class ObservableSystem(_RootNetwork, systems.RiemannianMetricSystem):
    r"""Mici's Riemannian system on square matrices, with the depth metric.

    The law is ``e^{-βF(X)} dvol_{g^N}``, and trajectories follow the geodesics of ``g^N`` where the
    free energy is flat. A position is the flat depth root ``Y = U Λ Vᵀ`` of ``X = U Λ^N Vᵀ``: in
    the entries of ``X`` the metric is infinite at the boundary, and implicit integrators stall.
    Here it lies between ``1`` and ``N`` in the directions ``U S Vᵀ``, ``S`` symmetric, between
    ``1/N`` and ``1`` in the skew ones, and its determinant is constant: what Mici adds to the
    negative logarithm of the density, ``½ log det g``, is a constant.

    Parameters, errors as in `DepthRootSystem`. Integrate it by
    ``mici.integrators.ImplicitLeapfrogIntegrator``.

    References
    ----------
    [MY25]; THEORY 3, 4; Girolami, Calderhead, *Riemann manifold Langevin and Hamiltonian Monte
    Carlo methods*, 2011.
    """

    def _metric(self) -> dict[str, Any]:
        return {
            "metric_matrix_class": _DepthMetricMatrix,
            "metric_func": _itself,
            "vjp_metric_func": _derivative_of_itself,
            "metric_kwargs": {"depth": self.depth},
        }


def _itself(position: numpy.ndarray) -> numpy.ndarray:
    """Return the parameter of the metric matrix: the position."""
    return position


def _derivative_of_itself(_: numpy.ndarray) -> Callable[[numpy.ndarray], numpy.ndarray]:
    return _itself


class _DepthMetricMatrix(
    matrices.PositiveDefiniteMatrix, matrices.DifferentiableMatrix, matrices.ImplicitArrayMatrix
):
    """The depth metric at a depth root, which is its parameter, or a power of it."""

    def __init__(self, position: numpy.ndarray, depth: int, power: float = 1):
        self._position, self._power = position, power
        self._width = math.isqrt(len(position))
        self._root = RootFrames.of(self._matrices(position), depth)
        super().__init__((len(position), len(position)))

    def _matrices(self, vectors: numpy.ndarray) -> numpy.ndarray:
        return vectors.reshape(*vectors.shape[:-1], self._width, self._width)

    def _to_power(self, power: float) -> "_DepthMetricMatrix":
        other = copy.copy(self)
        super(_DepthMetricMatrix, other).__init__(self.shape)  # forget what is kept of this one
        other._power = power
        return other

    def _right_matrix_multiply(self, other: numpy.ndarray) -> numpy.ndarray:
        moved = self._root.apply_cometric(self._matrices(other), -self._power)
        return moved.reshape(other.shape)

    def _left_matrix_multiply(self, other: numpy.ndarray) -> numpy.ndarray:
        return self._right_matrix_multiply(other.T).T

    def _scalar_multiply(self, scalar: float) -> matrices.Matrix:
        return matrices.DenseSymmetricMatrix(scalar * self.array)

    def _construct_inv(self) -> "_DepthMetricMatrix":
        return self._to_power(-self._power)

    def _construct_sqrt(self) -> "_DepthMetricMatrix":
        return self._to_power(self._power / 2)

    def _construct_array(self) -> numpy.ndarray:
        return self @ numpy.eye(len(self._position))

    def _parameters(self) -> tuple:
        return (self._position.tobytes(), self._root.depth, self._power)

    def _compute_hash(self) -> int:
        return hash(self._parameters())

    def _check_equality(self, other: "_DepthMetricMatrix") -> bool:
        return self._parameters() == other._parameters()

    @property
    def log_abs_det(self) -> float:
        return self._power * self._width * math.log(self._root.depth)

    @property
    def grad_log_abs_det(self) -> numpy.ndarray:
        return numpy.zeros_like(self._position)

    def grad_quadratic_form_inv(self, vector: numpy.ndarray) -> numpy.ndarray:
        return 2 * self._root.kinetic_gradient(self._matrices(vector)).ravel()
