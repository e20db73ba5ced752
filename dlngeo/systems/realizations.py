"""Balanced realisations of linear systems, and their truncation."""

from dataclasses import dataclass
from typing import Any

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import integer
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.systems.gramians import Hankel, hankel_of, unstable_eigenvalue
from dlngeo.systems.state_space import StateSpace, System, in_kind, system_of


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
    A, B, C, D, dt : array-like and float, bool or None; or control.StateSpace

    Returns
    -------
    balanced : BalancedRealization, or control.StateSpace if one was given

    Raises
    ------
    ValueError
        If the system is not controllable or not observable, to round-off.

    References
    ----------
    [HM94]; THEORY 5; derivation in `dlngeo.systems`.
    """
    system = system_of(A, B, C, D, dt)
    hankel = hankel_of(system)
    order = system.A.shape[0]
    if hankel.minimal_order < order:
        raise ValueError(_why_not_minimal(hankel, order))
    return in_kind(_truncate(system, hankel, order), A)


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
    A, B, C, D, dt : array-like and float, bool or None; or control.StateSpace
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
        If the order or the tolerance is out of range, or the order parts nearly equal singular
        values so that the reduced model is not stable to round-off.

    Notes
    -----
    The system may be neither controllable nor observable.

    References
    ----------
    [HM94]; THEORY 5; derivation in `dlngeo.systems`. D. Enns, CDC 1984; K. Glover, Int.
    J. Control 39, 1984; D. Hinrichsen, A. Pritchard, Syst. Control Lett. 15, 1990.
    """
    system = system_of(A, B, C, D, dt)
    if (order is None) == (tolerance is None):
        raise ValueError("expected either an order or a tolerance, got both or none.")
    hankel = hankel_of(system)
    minimal = hankel.minimal_order
    if order is not None:
        order = integer(order, "the order", 0)
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
    reduced = _truncate(system, hankel, order)
    before, after = abs(reduced.transformation), abs(reduced.inverse_transformation)
    triangle, vectors = scipy.linalg.schur(reduced.A, output="complex")
    unstable = unstable_eigenvalue(triangle, vectors, before @ abs(system.A) @ after, system.dt)
    if unstable is not None:
        raise ValueError(
            f"the reduced model of order {order} is not stable, eigenvalue {unstable:.4g}: it "
            "parts Hankel singular values that are nearly equal. Pass another order."
        )
    return in_kind(reduced, A)


def _truncate(system: System, hankel: Hankel, order: int) -> BalancedRealization:
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


def _why_not_minimal(hankel: Hankel, order: int) -> str:
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
