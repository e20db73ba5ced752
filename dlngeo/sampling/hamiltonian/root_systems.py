"""Mici's Euclidean and Riemannian systems on square matrices, in depth-root coordinates."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.checks import host_array, integer
from dlngeo.core.base.packing import pack
from dlngeo.core.depth_metric.roots import depth_root
from dlngeo.core.networks.factors import check_widths, checked_matrix
from dlngeo.sampling.hamiltonian.root_frames import RootFrames
from dlngeo.sampling.hamiltonian.systems import Energy, EnergyGradient, NetworkSystem, mici


class _RootSystem(NetworkSystem):
    """Chains of square matrices in the coordinates ``Y = U Λ Vᵀ``."""

    def __init__(
        self,
        energy: Energy,
        energy_gradient: EnergyGradient,
        width: int,
        depth: int,
        beta: float,
        determinant: str | None = None,
    ):
        (self.width, _), _ = check_widths((width, width))
        self.depth = integer(depth, "the depth")
        self._set_energy(energy, energy_gradient, beta, determinant)
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
        return self._frames(host_array(positions, "the positions")).observable()

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
        matrices = host_array(observables, "the matrices")
        shape = self.width, self.width
        observables = checked_matrix(matrices, shape, observables, "the matrices")
        roots = depth_root(observables, self.depth)
        return self._checked_positions(observables, pack((roots,)), self.width)

    def _frames(self, positions: numpy.ndarray) -> RootFrames:
        roots = positions.reshape(*positions.shape[:-1], self.width, self.width)
        return RootFrames.of(roots, self.depth, self._is_across(roots))

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        frames = self._frames(position)
        slope, value = self._scaled_energy(frames.observable())
        slope = frames.pull_back(slope) - frames.entropy_gradient()
        return slope.ravel(), value - float(frames.entropy())


class DepthRootSystem(_RootSystem, mici.systems.EuclideanMetricSystem):
    r"""Mici's Euclidean system on square matrices, in depth-root coordinates.

    The law is ``e^{-βF(X)} dvol_{g^N}``. A position is the flat depth root ``Y = U Λ Vᵀ`` of ``X =
    U Λ^N Vᵀ``, in which the volume of ``g^N`` is a multiple of Lebesgue's measure
    (`dlngeo.sampling.hamiltonian.root_frames`): the density is ``e^{-βE + S}``, and the leapfrog is
    explicit. Of the systems here it is the fastest.

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
    determinant : str, optional
        "positive" or "negative": the component, by the sign of ``det X``; both by default.

    Raises
    ------
    ValueError
        If width or depth is not a positive integer, or ``β`` not positive.

    References
    ----------
    [MY25]; THEORY 3, 4.
    """


class ObservableSystem(_RootSystem, mici.systems.RiemannianMetricSystem):
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
    mici.matrices.PositiveDefiniteMatrix,
    mici.matrices.DifferentiableMatrix,
    mici.matrices.ImplicitArrayMatrix,
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
        copied = copy.copy(self)
        super(_DepthMetricMatrix, copied).__init__(self.shape)  # forget what is kept of this one
        copied._power = power
        return copied

    def _right_matrix_multiply(self, other: numpy.ndarray) -> numpy.ndarray:
        product = self._root.apply_cometric(self._matrices(other), -self._power)
        return product.reshape(other.shape)

    def _left_matrix_multiply(self, other: numpy.ndarray) -> numpy.ndarray:
        return self._right_matrix_multiply(other.T).T

    def _scalar_multiply(self, scalar: float) -> mici.matrices.Matrix:
        return mici.matrices.DenseSymmetricMatrix(scalar * self.array)

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
