r"""Balanced realisations and truncation of linear systems: balancing at depth two.

A stable system ``ẋ = A x + B u``, ``y = C x + D u`` (or ``x_{t+1} = A x_t + B u_t``) sends past
inputs to future outputs by its Hankel operator ``H = O R``, through the state at time zero:

.. math:: R u = \int_0^∞ e^{At} B u(-t) \, dt, \quad (O x)(t) = C e^{At} x, \quad
          W_c = R R^*, \quad W_o = O^* O,

with sums over ``A^t`` in discrete time. This is a linear network of depth 2 with the layers
``W_1 = R``, ``W_2 = O`` and the state as hidden layer. A change of state ``g`` acts on it as the
group acts on factors, ``(g R, O g^{-1})``, and keeps ``H``; the moment map is the difference of
the Gramians,

.. math:: μ = O^* O - R R^* = W_o - W_c.

Finite factors stand for the operators. If ``W_c = L_c L_cᵀ`` and ``W_o = L_o L_oᵀ``, then
``R = L_c U`` and ``O = V L_oᵀ`` with partial isometries ``U`` and ``V`` of the inputs and the
outputs, so that ``H = V X U`` has the singular values of

.. math:: X = W_2 W_1, \quad W_1 = L_c, \quad W_2 = L_o^T

(the Hankel singular values ``σ``), and ``(L_c, L_oᵀ)`` has the moment map of ``(R, O)``. With ``X =
Q_2 Σ Q_0ᵀ`` and ``Λ = Σ^{1/2}``, `dlngeo.core.networks.balancing.balance` gives ``(Q_1 Λ Q_0ᵀ, Q_2
Λ Q_1ᵀ) = (g W_1, W_2 g^{-1})``: the state ``g x`` has equal Gramians ``Q_1 Σ Q_1ᵀ``. The rotation
``Q_1``, the freedom that is left, is taken to the identity by
`dlngeo.core.networks.balancing.factorize`, whose factors ``(Λ Q_0ᵀ, Q_2 Λ)`` have the Gramians
``Σ``: the balanced realisation of control theory. Its change of state ``T = Q_1ᵀ g`` needs no
inverse but that of ``Σ``,

.. math:: T = Σ^{-1} (Q_2 Λ)^T W_2 = Λ^{-1} Q_2^T L_o^T, \quad
          T^{-1} = W_1 (Λ Q_0^T)^T Σ^{-1} = L_c Q_0 Λ^{-1},
          \quad T T^{-1} = Λ^{-1} Q_2^T X Q_0 Λ^{-1} = I,

and at a lower rank ``r`` the same formulas are the balanced truncation. Each row of ``T`` takes
one singular value, so that small ones do not disturb the rows before them.

The factors are never taken from Gramians, whose round-off would leave errors of the order of
``√ε`` in small Hankel singular values, but solve the Lyapunov equations themselves.

References
----------
[HM94]; THEORY 5; B. Moore, *Principal component analysis in linear systems*, IEEE TAC 26,
1981; S. Hammarling, *Numerical solution of the stable, non-negative definite Lyapunov
equation*, IMA J. Numer. Anal. 2, 1982.
"""

import numbers
import operator
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import real_array
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.frames import SingularFrames, singular_frames

StateSpace = Any
"""A ``control.StateSpace`` of python-control."""

ROUND_OFF = 10 * float(numpy.finfo(float).eps)
"""Errors of eigenvalues and, for each state, of Hankel singular values, in their units."""


@dataclass(frozen=True, eq=False)
class BalancedRealization:
    r"""A balanced realisation of a linear system, or a truncation of it.

    Attributes
    ----------
    A, B, C, D : array, shape=[r, r], shape=[r, m], shape=[p, r], shape=[p, m]
        ``A = T A' T^{-1}``, ``B = T B'``, ``C = C' T^{-1}``, ``D = D'`` of the given system.
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.
    hankel_singular_values : array, shape=[n]
        Those of the given system, in descending order; the first ``r`` were kept. Of a full
        realisation, both Gramians are the diagonal matrix of them.
    transformation : array, shape=[r, n]
        ``T``, from the given state to the balanced one.
    inverse_transformation : array, shape=[n, r]
        ``T^{-1}``, of which ``T`` is the left inverse.
    error_bound : float
        Bound of the largest singular value of the error of the transfer function, over all
        frequencies: twice the sum of the Hankel singular values left out, each distinct
        value counted once. (Values equal to round-off count as one.) Zero if none was left out.
    """

    A: Array
    B: Array
    C: Array
    D: Array
    dt: float | bool | None
    hankel_singular_values: Array
    transformation: Array
    inverse_transformation: Array
    error_bound: float

    @property
    def order(self) -> int:
        """Number of states ``r``."""
        return self.A.shape[0]


def controllability_gramian(
    A: Array | StateSpace, B: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the controllability Gramian of a stable system.

    .. math:: W_c = \int_0^∞ e^{At} B B^T e^{A^T t} \, dt \quad \text{or} \quad
              W_c = \sum_{t=0}^∞ A^t B B^T (A^T)^t

    Parameters
    ----------
    A : array-like, shape=[n, n], or control.StateSpace
    B : array-like, shape=[n, m]
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.

    Raises
    ------
    ValueError
        If the system is not stable, or for wrong shapes, NaN or ``dt``.

    References
    ----------
    [HM94]; THEORY 5.
    """
    no_outputs = None if _is_state_space(A) else numpy.zeros((0, *numpy.shape(A)[-1:]))
    factor = _gramian_factors(_system(A, B, no_outputs, None, dt)).inputs
    return factor @ factor.T


def observability_gramian(
    A: Array | StateSpace, C: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the observability Gramian of a stable system.

    .. math:: W_o = \int_0^∞ e^{A^T t} C^T C e^{At} \, dt \quad \text{or} \quad
              W_o = \sum_{t=0}^∞ (A^T)^t C^T C A^t

    Parameters
    ----------
    A : array-like, shape=[n, n], or control.StateSpace
    C : array-like, shape=[p, n]
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.

    Raises
    ------
    ValueError
        If the system is not stable, or for wrong shapes, NaN or ``dt``.

    References
    ----------
    [HM94]; THEORY 5.
    """
    no_inputs = None if _is_state_space(A) else numpy.zeros((*numpy.shape(A)[:1], 0))
    factor = _gramian_factors(_system(A, no_inputs, C, None, dt)).outputs
    return factor @ factor.T


def hankel_singular_values(
    A: Array | StateSpace,
    B: Array | None = None,
    C: Array | None = None,
    dt: float | bool | None = None,
) -> Array:
    r"""Return the singular values of the Hankel operator of a stable system.

    .. math:: σ_k = σ_k(L_o^T L_c) = \sqrt{λ_k(W_c W_o)}

    Parameters
    ----------
    A : array-like, shape=[n, n], or control.StateSpace
    B : array-like, shape=[n, m]
    C : array-like, shape=[p, n]
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.

    Returns
    -------
    hankel_singular_values : array, shape=[n]
        In descending order. States that are not controllable or not observable count as
        zeros, to round-off.

    Raises
    ------
    ValueError
        If the system is not stable, or for wrong shapes, NaN or ``dt``.

    References
    ----------
    [HM94]; THEORY 5.
    """
    return _hankel(_system(A, B, C, None, dt)).frames.sigma


def balanced_realization(
    A: Array | StateSpace,
    B: Array | None = None,
    C: Array | None = None,
    D: Array | None = None,
    dt: float | bool | None = None,
) -> Any:
    r"""Return the balanced realisation of a stable minimal system.

    Both Gramians of its state ``T x`` are the diagonal matrix of the Hankel singular values.
    It is unique up to signs of the states, and rotations among those of equal values.

    Parameters
    ----------
    A : array-like, shape=[n, n], or control.StateSpace
    B : array-like, shape=[n, m]
    C : array-like, shape=[p, n]
    D : array-like, shape=[p, m], optional
        Zero by default.
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.

    Returns
    -------
    balanced : BalancedRealization, or control.StateSpace if one was given

    Raises
    ------
    ValueError
        If the system is not stable, not controllable or not observable, to round-off, or for
        wrong shapes, NaN or ``dt``.

    References
    ----------
    [HM94]; THEORY 5; derivation at the top of this module.
    """
    system = _system(A, B, C, D, dt)
    hankel = _hankel(system)
    order = system.A.shape[0]
    if hankel.minimal_order < order:
        raise ValueError(_why_not_minimal(hankel, order))
    return _in_kind(_truncated(system, hankel, order), A)


def balanced_truncation(
    A: Array | StateSpace,
    B: Array | None = None,
    C: Array | None = None,
    D: Array | None = None,
    dt: float | bool | None = None,
    *,
    order: int | None = None,
    tolerance: float | None = None,
) -> Any:
    r"""Return the balanced truncation of a stable system: a model of lower order.

    It keeps the states of the ``r`` largest Hankel singular values, and its error is bounded
    by the others (Enns, Glover; in discrete time Hinrichsen and Pritchard),

    .. math:: σ_{r+1} ≤ \sup_ω \|G(iω) - G_r(iω)\| ≤ 2 \sum_{k > r} σ_k,

    each distinct value counted once. It is the case of `dlngeo.core.networks.balancing.balance` at
    a lower rank, the observable being ``X = L_oᵀ L_c``.

    Parameters
    ----------
    A : array-like, shape=[n, n], or control.StateSpace
    B : array-like, shape=[n, m]
    C : array-like, shape=[p, n]
    D : array-like, shape=[p, m], optional
        Zero by default.
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.
    order : int
        Number of states to keep, from 0 (the gain ``D``) to the order of a minimal
        realisation, to round-off.
    tolerance : float
        Instead of the order: keep as few states as bring the error bound below it.

    Returns
    -------
    reduced : BalancedRealization, or control.StateSpace if one was given
        In continuous time it is balanced itself; in discrete time its Gramians differ from
        the diagonal ones.

    Raises
    ------
    ValueError
        If the system is not stable, the order or the tolerance is out of range, the order
        parts nearly equal singular values so that the reduced model is not stable to
        round-off, or for wrong shapes, NaN or ``dt``.

    Notes
    -----
    The system may be neither controllable nor observable.

    References
    ----------
    [HM94]; THEORY 5; derivation at the top of this module. D. Enns, CDC 1984; K. Glover, Int.
    J. Control 39, 1984; D. Hinrichsen, A. Pritchard, Syst. Control Lett. 15, 1990.
    """
    system = _system(A, B, C, D, dt)
    if (order is None) == (tolerance is None):
        raise ValueError("expected either an order or a tolerance, got both or none.")
    hankel = _hankel(system)
    minimal = hankel.minimal_order
    if order is not None:
        order = operator.index(order)
        if not 0 <= order <= minimal:
            raise ValueError(
                f"the order must be from 0 to {minimal}, the order of a minimal realisation to "
                f"round-off, got {order}."
            )
    else:
        bounds = hankel.error_bounds[: minimal + 1]
        if not (bounds <= tolerance).any():
            raise ValueError(
                f"the error bound goes down to {bounds[-1]:.1e} at order {minimal}, where "
                f"round-off begins, but the tolerance is {tolerance}: pass a larger one."
            )
        order = int(numpy.argmax(bounds <= tolerance))
    reduced = _truncated(system, hankel, order)
    scale = numpy.max(numpy.abs(numpy.linalg.eigvals(system.A)))
    unstable = _unstable_eigenvalue(numpy.linalg.eigvals(reduced.A), scale, system.dt)
    if unstable is not None:
        raise ValueError(
            f"the reduced model of order {order} is not stable, eigenvalue {unstable:.4g}: it "
            "parts Hankel singular values that are nearly equal. Pass another order."
        )
    return _in_kind(reduced, A)


class _System(NamedTuple):
    A: Array
    B: Array
    C: Array
    D: Array
    dt: float | bool | None


def _is_state_space(system: Any) -> bool:
    control = sys.modules.get("control")  # a StateSpace exists only where it was imported
    return control is not None and isinstance(system, control.StateSpace)


def _system(
    A: Array | StateSpace, B: Array | None, C: Array | None, D: Array | None, dt: Any
) -> _System:
    """Return a system after the checks of what was given."""
    if _is_state_space(A):
        if any(given is not None for given in (B, C, D, dt)):
            raise ValueError("a StateSpace holds B, C, D and dt itself: pass it alone.")
        A, B, C, D, dt = A.A, A.B, A.C, A.D, A.dt
    if B is None or C is None:
        raise ValueError("expected the matrices of a system, or a StateSpace in place of A.")
    A, B, C = (_matrix(m, name) for m, name in ((A, "A"), (B, "B"), (C, "C")))
    n, inputs, outputs = A.shape[0], B.shape[1], C.shape[0]
    D = numpy.zeros((outputs, inputs)) if D is None else _matrix(D, "D")
    shapes = [m.shape for m in (A, B, C, D)]
    if n == 0 or shapes != [(n, n), (n, inputs), (outputs, n), (outputs, inputs)]:
        raise ValueError(
            "expected A, B, C, D of shapes (n, n), (n, m), (p, n), (p, m) with at least one "
            f"state, got {', '.join(map(str, shapes))}."
        )
    is_time = isinstance(dt, numbers.Real) and 0 <= float(dt) < numpy.inf
    if dt is not None and not is_time:
        raise ValueError(
            "dt must be None or 0 (continuous time), or the sampling time or True (discrete "
            f"time), got {dt!r}."
        )
    return _System(A, B, C, D, dt)


def _matrix(matrix: Any, name: str) -> Array:
    matrix = real_array(numpy.asarray(matrix), name).astype(float)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {matrix.shape}.")
    return matrix


def _unstable_eigenvalue(eigenvalues: Array, scale: float, dt: float | bool | None) -> Any:
    """Return the eigenvalue that grows most if it is not stable to round-off, else None.

    In continuous time the scale is the modulus of the largest eigenvalue of the system.
    """
    if eigenvalues.size == 0:
        return None
    growth, unit = (numpy.abs(eigenvalues) - 1, 1) if dt else (eigenvalues.real, scale)
    worst = numpy.argmax(growth)
    return None if growth[worst] < -ROUND_OFF * unit else eigenvalues[worst]


class _Factors(NamedTuple):
    """Factors of the Gramians, shape=[n, n]: ``inputs`` is ``L_c``, and ``outputs`` ``L_o``."""

    inputs: Array
    outputs: Array


def _gramian_factors(system: _System) -> _Factors:
    r"""Return the factors ``L_c`` and ``L_o`` of the Gramians.

    In discrete time the Cayley transform ``A ↦ (A + I)^{-1}(A - I)``,
    ``B ↦ √2 (A + I)^{-1} B``, ``C ↦ √2 C (A + I)^{-1}`` gives a system in continuous time with
    the same Gramians.
    """
    # States in units of their own, powers of 2: otherwise the Schur form loses small ones.
    scaled, (units, _) = scipy.linalg.matrix_balance(system.A, permute=False, separate=True)
    triangle, vectors = scipy.linalg.schur(scaled, output="complex")
    eigenvalues = numpy.diag(triangle)
    unstable = _unstable_eigenvalue(eigenvalues, numpy.max(numpy.abs(eigenvalues)), system.dt)
    if unstable is not None:
        expected = "modulus below 1" if system.dt else "negative real part"
        raise ValueError(
            f"the system is not stable: A has the eigenvalue {unstable:.4g}, and needs eigenvalues "
            f"of {expected} (dt is {system.dt!r}). Stabilise it, or split off what is not stable."
        )
    inputs = vectors.conj().T @ (system.B / units[:, None])
    outputs = (system.C * units) @ vectors
    if system.dt:
        one = numpy.eye(len(triangle))
        shifted = triangle + one
        inputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, inputs)
        outputs = 2**0.5 * scipy.linalg.solve_triangular(shifted, outputs.T, trans="T").T
        triangle = scipy.linalg.solve_triangular(shifted, triangle - one)
    # The adjoint equation is upper triangular with the states in reverse order.
    adjoint = _lyapunov_factor(triangle.conj().T[::-1, ::-1], outputs.conj().T[::-1])[::-1]
    return _Factors(
        units[:, None] * _real_factor(vectors @ _lyapunov_factor(triangle, inputs)),
        _real_factor(vectors @ adjoint) / units[:, None],
    )


def _lyapunov_factor(triangle: Array, inputs: Array) -> Array:
    r"""Solve ``S L Lᴴ + L Lᴴ Sᴴ + B Bᴴ = 0`` for an upper triangular ``L``.

    With the last rows and columns ``S = [[S', s], [0, λ]]``, ``B = [B'; bᴴ]``,
    ``L = [[L', l], [0, ρ]]``, and ``u = b/‖b‖``, ``α = √(-2 Re λ)``, the blocks are

    .. math:: ρ = ‖b‖/α, \quad (S' + \barλ I) l = -ρ s - α B' u,

    and ``L'`` solves the equation of ``S'`` and ``B' - α l uᴴ``. (Hammarling.)
    """
    n = len(triangle)
    factor = numpy.zeros((n, n), dtype=complex)
    inputs = inputs.copy()
    diagonal = numpy.diag(triangle)
    for k in reversed(range(n)):
        norm = numpy.linalg.norm(inputs[k])
        if norm == 0:
            continue
        direction = inputs[k].conj() / norm
        alpha = (-2 * diagonal[k].real) ** 0.5
        factor[k, k] = norm / alpha
        if k == 0:
            break
        block = numpy.array(triangle[:k, :k], order="F")  # as LAPACK takes it, without a copy
        numpy.fill_diagonal(block, diagonal[:k] + diagonal[k].conj())
        source = factor[k, k] * triangle[:k, k] + alpha * inputs[:k] @ direction
        column = -scipy.linalg.solve_triangular(block, source, check_finite=False)
        factor[:k, k] = column
        inputs[:k] -= alpha * numpy.outer(column, direction.conj())
    return factor


def _real_factor(factor: Array) -> Array:
    """Return a real square factor ``L`` of the real part of ``F Fᴴ``."""
    rows = numpy.concatenate([factor.real, factor.imag], axis=1)
    return scipy.linalg.qr(rows.T, mode="economic")[1].T


class _Hankel(NamedTuple):
    """The network ``X = W_2 W_1``: its factors, its singular frames, and their round-off."""

    factors: _Factors
    frames: SingularFrames
    noise: float

    @property
    def minimal_order(self) -> int:
        """Number of Hankel singular values above round-off."""
        return int(numpy.sum(self.frames.sigma > self.noise))

    @property
    def error_bounds(self) -> Array:
        """Twice the sum of the distinct values from ``r`` on, for ``r = 0, ..., n``."""
        sigma = self.frames.sigma
        # The index of the next value that is smaller by more than round-off.
        following = numpy.searchsorted(-sigma, self.noise - sigma, side="right")
        bounds = numpy.zeros(len(sigma) + 1)
        for r in reversed(range(len(sigma))):
            bounds[r] = 2 * sigma[r] + bounds[following[r]]
        return bounds


def _hankel(system: _System) -> _Hankel:
    factors = _gramian_factors(system)
    n = len(system.A)
    frames = singular_frames(factors.outputs.T @ factors.inputs, n)
    # Like X, this sum of norms of rows does not depend on the units of the states.
    norms = [numpy.linalg.norm(factor, axis=1) for factor in factors]
    return _Hankel(factors, frames, n * ROUND_OFF * float(norms[0] @ norms[1]))


def _truncated(system: _System, hankel: _Hankel, order: int) -> BalancedRealization:
    sigma = hankel.frames.sigma[:order]
    n = len(system.A)
    frames = SingularFrames(hankel.frames.left[:, :order], sigma, hankel.frames.right[:, :order])
    first, last = factors_over(frames, (n, order, n))
    transformation = last.T @ hankel.factors.outputs.T / sigma[:, None]
    inverse = hankel.factors.inputs @ first.T / sigma
    return BalancedRealization(
        A=transformation @ system.A @ inverse,
        B=transformation @ system.B,
        C=system.C @ inverse,
        D=system.D,
        dt=system.dt,
        hankel_singular_values=hankel.frames.sigma,
        transformation=transformation,
        inverse_transformation=inverse,
        error_bound=float(hankel.error_bounds[order]),
    )


def _why_not_minimal(hankel: _Hankel, order: int) -> str:
    reachable, observable = (int(numpy.linalg.matrix_rank(f)) for f in hankel.factors)
    reasons = []
    if reachable < order:
        reasons.append(
            f"not controllable (the reachable subspace has dimension {reachable} of {order})"
        )
    if observable < order:
        reasons.append(
            f"not observable (the observable subspace has dimension {observable} of {order})"
        )
    if not reasons:
        reasons.append("nearly not controllable or not observable")
    minimal = hankel.minimal_order
    return (
        f"the system is {' and '.join(reasons)}, to round-off: Hankel singular value "
        f"{minimal + 1} is zero. balanced_truncation(..., order={minimal}) keeps its minimal part."
    )


def _in_kind(result: BalancedRealization, given: Any) -> Any:
    """Return the result as a StateSpace, with the names of its signals, if one was given."""
    if not _is_state_space(given):
        return result
    import control

    matrices = result.A, result.B, result.C, result.D
    names = {"inputs": given.input_labels, "outputs": given.output_labels}
    return control.StateSpace(*matrices, result.dt, **names)
