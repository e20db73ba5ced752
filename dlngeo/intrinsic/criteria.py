r"""When is a training dynamics intrinsic? Rank tests at a point.

For a map ``φ`` and laws ``h``, ``z = φ(θ)`` moves by ``ż = -M(θ)∇f(z)``, ``M = ∂φ ∂φᵀ``:

- **Frobenius**: the ``∇φ_i`` are involutive; then there are ``D - rank ∂φ`` laws, and with them
- **recoverability**: ``ker ∂φ ∩ ker ∂h = {0}``, ``θ`` is locally a function of ``φ`` and ``h``;
  hence
- **intrinsic metric**, whose necessary criterion is ``ker ∂φ ∩ ker ∂h ⊆ ker ∂M``: ``M`` is a
  function of ``φ`` on the set of equal ``h``.

References
----------
[MPG25]; THEORY 6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from scipy.sparse.linalg import LinearOperator

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import float_array, fraction, host_array
from dlngeo.core.base.functions import call, optional_function, returned
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.numerics import derivatives

PROBES = 8
"""Number of random vectors, or pairs, on which forms of many arguments are tested.

One detects almost surely that a form is not zero; more make it visible above round-off.
"""

_UNTRACED = (
    "autograd cannot follow the map: write it with autograd.numpy in place of numpy, and its "
    "values as an array of that; or give its Jacobian, SmoothMap(jacobian=...)."
)


@dataclass(frozen=True)
class SmoothMap:
    """A map of parameters, with its first two derivatives along vectors.

    Parameters
    ----------
    value : callable
        ``θ``, shape=[D], to ``φ(θ)``, shape=[n] (other shapes are raveled); by autograd, unless
    jacobian : callable, optional
        ``θ`` to the matrix ``∂φ(θ)``, shape=[n, D]: its derivatives are central differences.
    """

    value: Callable[[Array], Array] | None = None
    jacobian: Callable[[Array], Array] | None = None

    def __post_init__(self):
        if self.value is None and self.jacobian is None:
            raise ValueError("give the map as a function of the parameters, or its Jacobian.")
        optional_function(self.value, "the map")
        optional_function(self.jacobian, "the Jacobian")

    @property
    def tolerance(self) -> float:
        """Relative size below which what is computed from the derivatives counts as zero."""
        return 1e-9 if self.jacobian is None else 1e-6

    def matrix(self, point: Array) -> numpy.ndarray:
        """Return ``∂φ(θ)``, shape=[n, D]."""
        if self.jacobian is not None:
            matrix = returned(self.jacobian(point), "the Jacobian")
            if matrix.ndim != 2 or matrix.shape[1] != len(point):
                raise ValueError(
                    f"the Jacobian must be a matrix [n, {len(point)}], got shape {matrix.shape}."
                )
            return matrix
        point = float_array(point, "the point")
        return derivatives.jacobian(self._flat, point, self.size(point))

    def size(self, point: Array) -> int:
        """Return the number ``n`` of values at a point."""
        return len(self._flat(point)) if self.jacobian is None else len(self.matrix(point))

    def push(self, point: Array, vector: Array) -> Array:
        """Return ``∂φ(θ) v``."""
        if self.jacobian is not None:
            return self.matrix(point) @ vector
        return derivatives.push(self._flat, point, vector)

    def pull(self, point: Array, covector: Array) -> Array:
        """Return ``∂φ(θ)ᵀ w``."""
        if self.jacobian is not None:
            return self.matrix(point).T @ covector
        return derivatives.pull(self._flat, point, covector)

    def push_change(self, point: Array, direction: Array, vector: Array) -> Array:
        """Return ``D²φ(θ)(ξ, v)``, the derivative of `push` along ``ξ``."""
        return self._change(lambda at: self.push(at, vector), point, direction)

    def pull_change(self, point: Array, direction: Array, covector: Array) -> Array:
        """Return ``∇²⟨w, φ⟩(θ) ξ``, the derivative of `pull` along ``ξ``."""
        return self._change(lambda at: self.pull(at, covector), point, direction)

    def _change(self, function: derivatives.Function, point: Array, direction: Array) -> Array:
        if self.jacobian is None:
            return derivatives.push(function, point, direction)
        length = float(numpy.linalg.norm(direction))
        if length == 0:
            return 0 * function(point)
        size = max(float(numpy.linalg.norm(point)), 1.0)
        step = numpy.finfo(float).eps ** (1 / 3) * size / length
        ahead, behind = (function(point + s * step * direction) for s in (1, -1))
        return (ahead - behind) / (2 * step)

    @property
    def _flat(self) -> derivatives.Function:
        """The values as a vector, guarded against what autograd would lose."""
        value: Any = self.value

        def flat(point: Array) -> Array:
            import autograd.numpy

            values = call(value, "the map", point)
            is_array = hasattr(values, "reshape")
            flat = values.reshape(-1) if is_array else autograd.numpy.ravel(values)
            return float_array(flat, "what the map returned")

        return derivatives.guard_tracing(flat, _UNTRACED)


Map = SmoothMap | Callable[[Array], Array]


def _smooth(phi: Map) -> SmoothMap:
    return phi if isinstance(phi, SmoothMap) else SmoothMap(phi)


def intrinsic_metric(phi: Map, point: Array) -> LinearOperator:
    r"""Return ``M(θ) = ∂φ ∂φᵀ`` as an operator on covectors, which is not formed.

    Parameters
    ----------
    phi : callable or SmoothMap
        ``θ``, shape=[D], to ``φ(θ)``, shape=[n], written for autograd.
    point : array, shape=[D]

    Returns
    -------
    metric : LinearOperator, shape=[n, n]
        Symmetric, positive semidefinite.
    """
    phi, point = _smooth(phi), _check_point(point)

    def product(covector: Array) -> Array:
        pulled, exponent = at_unit_scale(1, phi.pull(point, covector), axes=1)
        return at_scale(phi.push(point, pulled), exponent, "the vector", axes=1)

    return _symmetric(product, phi.size(point))


def intrinsic_metric_derivative(phi: Map, point: Array, direction: Array) -> LinearOperator:
    r"""Return the derivative of ``M`` along a direction as an operator, which is not formed.

    .. math:: ∂M[ξ] w = D^2φ(ξ, ∂φ^T w) + ∂φ \, ∇^2⟨w, φ⟩ ξ

    Parameters
    ----------
    phi : callable or SmoothMap
    point : array, shape=[D]
    direction : array, shape=[D]
        ``ξ``.

    Returns
    -------
    derivative : LinearOperator, shape=[n, n]
        Symmetric.
    """
    phi, point = _smooth(phi), _check_point(point)
    direction = _check_point(direction, len(point))

    def product(covector: Array) -> Array:
        return phi.push_change(point, direction, phi.pull(point, covector)) + phi.push(
            point, phi.pull_change(point, direction, covector)
        )

    return _symmetric(product, phi.size(point))


@dataclass(frozen=True, eq=False)
class IntrinsicReport:
    """Which intrinsic properties a map and its laws have at a point.

    Attributes
    ----------
    n_parameters, rank_phi, rank_laws, rank_joint : int
        ``D`` and the ranks of ``∂φ``, of ``∂h`` and of both together.
    recoverable : bool
        Whether ``ker ∂φ ∩ ker ∂h = {0}``.
    keeps_metric : bool
        Whether the kernel criterion holds, ``ker ∂φ ∩ ker ∂h ⊆ ker ∂M``.
    involutive : bool
        Whether the brackets of the ``∇φ_i`` are in their span.
    direction : array, shape=[D], or None
        Where it is not recoverable, a unit vector of the common kernel; the one along which ``M``
        changes most.
    metric_change : float
        Norm of ``∂M`` along it, times ``‖θ‖ / ‖M‖``.
    bracket : array, shape=[D], or None
        Where it is not involutive, the part of a bracket off the span, of length one.
    bracket_residual : float
        Its length before, relative to the terms of the bracket.
    tolerance : float
        Relative size that counts as zero, of singular values and of the two numbers above.
    status : str
    """

    n_parameters: int
    rank_phi: int
    rank_laws: int
    rank_joint: int
    recoverable: bool
    keeps_metric: bool
    involutive: bool
    direction: numpy.ndarray | None
    metric_change: float
    bracket: numpy.ndarray | None
    bracket_residual: float
    tolerance: float
    status: str


def intrinsic_properties(
    phi: Map, laws: Map, point: Array, *, tolerance: float | None = None
) -> IntrinsicReport:
    r"""Test recoverability, the kernel criterion and the Frobenius property at a point.

    Parameters
    ----------
    phi : callable or SmoothMap
        ``θ``, shape=[D], to ``φ(θ)``, written for autograd.
    laws : callable or SmoothMap
        ``θ`` to the values of conserved ``h``, such as ``conservation_laws(...).known``.
    point : array, shape=[D]
        For the generic case draw it at random: what fails there fails almost everywhere.
    tolerance : float, optional
        Singular values below this part of the largest one, of ``∂φ`` and ``∂h`` each scaled to
        norm one, count as zero; so do smaller relative changes of ``M`` and residuals of brackets.
        By default 1e-9, or 1e-6 with a given Jacobian.

    Returns
    -------
    report : IntrinsicReport
        The Frobenius property is tested by brackets of two fields at the point; near a generic
        point this is equivalent.

    Raises
    ------
    ValueError
        If a function is not conserved at the point, the shapes do not fit, or autograd cannot
        follow a function.

    Notes
    -----
    If the laws are not all that there are, a criterion that fails says nothing about the
    remaining ones: together with these it may hold.
    """
    phi, laws = _smooth(phi), _smooth(laws)
    point = _check_point(point)
    if tolerance is None:
        tolerance = max(phi.tolerance, laws.tolerance)
    tolerance = fraction(tolerance, "the tolerance")
    by_phi = _normalize(phi.matrix(point))
    by_laws = _normalize(laws.matrix(point))
    if abs(by_laws @ by_phi.T).max(initial=0) > numpy.sqrt(tolerance):
        raise ValueError(
            "h is not conserved: its gradients are not orthogonal to those of φ at the point."
        )
    span, _ = _row_space(by_phi, tolerance)
    law_span, _ = _row_space(by_laws, tolerance)
    joint_span, kernel = _row_space(numpy.vstack([by_phi, by_laws]), tolerance)
    direction, change = _largest_change(phi, point, kernel)
    bracket, residual = _worst_bracket(phi, point, span)
    n_parameters = len(point)
    recoverable = len(joint_span) == n_parameters
    keeps_metric = recoverable or change <= tolerance
    involutive = residual <= tolerance
    return IntrinsicReport(
        n_parameters=n_parameters,
        rank_phi=len(span),
        rank_laws=len(law_span),
        rank_joint=len(joint_span),
        recoverable=recoverable,
        keeps_metric=keeps_metric,
        involutive=involutive,
        direction=direction,
        metric_change=change,
        bracket=None if involutive else bracket,
        bracket_residual=residual,
        tolerance=tolerance,
        status=_status(recoverable, keeps_metric, involutive, change, len(kernel)),
    )


def _status(
    recoverable: bool, keeps_metric: bool, involutive: bool, change: float, kernel: int
) -> str:
    if recoverable:
        text = "recoverable: θ is locally a function of φ and h, and the dynamics is intrinsic"
    elif keeps_metric:
        text = (
            f"not recoverable ({kernel} common null directions of ∂φ and ∂h), but M does not "
            "change along them: the kernel criterion holds here"
        )
    else:
        text = (
            f"M changes by {change:.1e} along a common null direction of ∂φ and ∂h: the kernel "
            "criterion fails, M is no function of φ where h is constant"
        )
    return text + ("; the ∇φ_i are involutive." if involutive else "; the ∇φ_i are not involutive.")


def _normalize(matrix: numpy.ndarray) -> numpy.ndarray:
    """Return a matrix of norm one, or zero."""
    if not numpy.isfinite(matrix).all():
        raise ValueError("a Jacobian is not finite at the point: choose another.")
    norm = numpy.linalg.norm(matrix, 2) if matrix.size else 0
    return matrix / norm if norm else matrix


def _row_space(matrix: numpy.ndarray, tolerance: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return orthonormal bases of the row space and of the kernel, as rows."""
    if not matrix.size:
        return matrix.reshape(0, matrix.shape[1]), numpy.eye(matrix.shape[1])
    _, sigma, right = numpy.linalg.svd(matrix)
    rank = int(numpy.sum(sigma > tolerance * sigma[0]))
    return right[:rank], right[rank:]


def _largest_change(
    phi: SmoothMap, point: numpy.ndarray, kernel: numpy.ndarray
) -> tuple[numpy.ndarray | None, float]:
    """Return the unit vector of a kernel along which ``M`` changes most, and how much."""
    if not len(kernel):
        return None, 0.0
    size = phi.size(point)
    probes = numpy.random.default_rng(0).normal(size=(size, min(size, PROBES)))
    probes, _ = numpy.linalg.qr(probes)
    changes = numpy.array(
        [(intrinsic_metric_derivative(phi, point, xi) @ probes).ravel() for xi in kernel]
    )
    _, sigma, right = numpy.linalg.svd(changes.T, full_matrices=False)
    scale = numpy.linalg.norm(intrinsic_metric(phi, point) @ probes)
    relative = float(sigma[0] * numpy.linalg.norm(point) / scale) if scale else 0.0
    return right[0] @ kernel, relative


def _worst_bracket(
    phi: SmoothMap, point: numpy.ndarray, span: numpy.ndarray
) -> tuple[numpy.ndarray | None, float]:
    """Return the part of a bracket off the span of the fields, and its relative length."""
    rng, worst = numpy.random.default_rng(0), (None, 0.0)
    for _ in range(PROBES):
        u, v = rng.normal(size=(2, phi.size(point)))
        terms = [phi.pull_change(point, phi.pull(point, b), a) for a, b in ((u, v), (v, u))]
        rest = terms[0] - terms[1]
        rest = rest - span.T @ (span @ rest)
        length = numpy.linalg.norm(rest)
        scale = sum(numpy.linalg.norm(term) for term in terms)
        if scale and length / scale > worst[1]:
            worst = (rest / length, float(length / scale))
    return worst


def _symmetric(product: Callable[[Array], Array], size: int) -> LinearOperator:
    def flat(vector: Array) -> Array:
        return product(numpy.ravel(vector).astype(float))

    return LinearOperator((size, size), matvec=flat, rmatvec=flat, dtype=float)


def _check_point(point: Any, size: int | None = None) -> numpy.ndarray:
    point = host_array(point, "the point")
    if point.ndim != 1 or (size is not None and len(point) != size):
        raise ValueError(
            f"expected a vector of {'the parameters' if size is None else size}, got shape "
            f"{point.shape}."
        )
    return point
