"""Balanced realisations of linear systems, and their truncation."""

from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, integer, nonnegative
from dlngeo.systems.formats import LinearSystem, Origin, modes_given_by
from dlngeo.systems.hankel import Hankel, hankel_of
from dlngeo.systems.stability import (
    Modes,
    schur_form,
    spectrum_of,
)
from dlngeo.systems.state_space import System

METHODS = {"truncate": System.projected, "matchdc": System.residualized}


@dataclass(frozen=True, eq=False)
class BalancedRealization:
    r"""A balanced realisation of a linear system, or a reduction of it.

    Attributes
    ----------
    A, B, C, D : array, shape=[r, r], shape=[r, m], shape=[p, r], shape=[p, m]
        ``A = T A' T^{-1}``, ``B = T B'``, ``C = C' T^{-1}``, ``D = D'`` of the given system; with
        the method ``"matchdc"`` what stands for them at zero frequency.
    dt : float, bool or None
        None or 0 in continuous time, the sampling time or True in discrete time.
    hankel_singular_values : array, shape=[n - u]
        Those of the stable part of the given system, in descending order; the first ``r - u`` were
        kept. Of a full realisation, both Gramians are the diagonal matrix of them.
    error_bound : float
        Bound of the largest singular value of the error of the transfer function, over all
        frequencies: twice the sum of the Hankel singular values left out, each distinct
        value counted once. (Values equal to round-off count as one.) Zero if none was left out.
    unstable_order : int
        Number ``u`` of states of the unstable part, the first ones. They are kept as they are.
    transformation : array, shape=[r, n]
        ``T``, from the given state to the balanced one.
    inverse_transformation : array, shape=[n, r]
        ``T^{-1}``, of which ``T`` is the left inverse.
    """

    A: Array
    B: Array
    C: Array
    D: Array
    dt: float | bool | None
    hankel_singular_values: Array
    error_bound: float
    unstable_order: int
    transformation: Array
    inverse_transformation: Array

    @property
    def order(self) -> int:
        """Number of states ``r``."""
        return self.A.shape[0]


def balanced_realization(
    A: Array | LinearSystem,
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
    A, B, C, D, dt : array-like and float, bool or None; or another system

    Returns
    -------
    balanced : BalancedRealization, or StateSpace of the library of the given system
        A StateSpace has the further attributes ``hankel_singular_values``, ``error_bound`` and
        ``unstable_order`` of a BalancedRealization.

    Raises
    ------
    ValueError
        If the system is not controllable or not observable, to round-off.

    References
    ----------
    [HM94]; THEORY 5; derivation in `dlngeo.systems`.
    """
    modes, origin = modes_given_by(A, B, C, D, dt)
    modes.check_stable()
    hankel = hankel_of(modes)
    if hankel.minimal_order < modes.order:
        raise ValueError(_why_not_minimal(hankel, modes.order))
    return _reduction(origin, modes, hankel, modes.order, "truncate")


def balanced_truncation(
    A: Array | LinearSystem,
    B: Array | None = None,
    C: Array | None = None,
    D: Array | None = None,
    dt: float | bool | None = None,
    *,
    order: int | None = None,
    tolerance: float | None = None,
    method: str = "truncate",
) -> Any:
    r"""Return the balanced truncation of a system: a model of lower order.

    It keeps the states of the largest Hankel singular values of the stable part, and all of the
    unstable part, poles on the boundary included. With ``r`` stable states kept, its error is
    bounded by the other values (Enns, Glover; in discrete time Hinrichsen and Pritchard),

    .. math:: σ_{r+1} ≤ \sup_ω \|G(iω) - G_r(iω)\| ≤ 2 \sum_{k > r} σ_k,

    each distinct value counted once. It is the case of `dlngeo.core.networks.balancing.balance` at
    a lower rank, the observable being ``X = L_oᵀ L_c``.

    Parameters
    ----------
    A, B, C, D, dt : array-like and float, bool or None; or another system
    order : int
        Number of states to keep: from that of the unstable part (zero if there is none: the
        gain alone) to the order of a minimal realisation, to round-off.
    tolerance : float
        Instead of the order: keep as few states as bring the error bound below it.
    method : str, {"truncate", "matchdc"}
        Leave the other states out, exact at infinite frequency; or put them at their equilibrium,
        exact at zero frequency (singular perturbation). The bound is the same.

    Returns
    -------
    reduced : BalancedRealization, or StateSpace of the library of the given system
        In continuous time, and with ``"matchdc"`` in discrete time, its stable part is balanced
        itself; truncated in discrete time its Gramians differ from the diagonal ones. A
        StateSpace has the names of the signals, and the further attributes
        ``hankel_singular_values``, ``error_bound`` and ``unstable_order``.

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
    J. Control 39, 1984; Y. Liu, B. Anderson, Int. J. Control 50, 1989; D. Hinrichsen, A.
    Pritchard, Syst. Control Lett. 15, 1990.

    Examples
    --------
    >>> A, B, C = [[-1.0, 0.0], [0.0, -50.0]], [[1.0], [1.0]], [[1.0, 1.0]]
    >>> reduced = balanced_truncation(A, B, C, order=1, method="matchdc")
    >>> reduced.error_bound < 0.02  # beside a gain of 1.02
    True
    """
    modes, origin = modes_given_by(A, B, C, D, dt)
    method = choice(method, "the method", METHODS)
    if (order is None) == (tolerance is None):
        raise ValueError("expected either an order or a tolerance, got both or none.")
    hankel = hankel_of(modes)
    least, most = modes.unstable.order, modes.unstable.order + hankel.minimal_order
    if order is not None:
        order = integer(order, "the order", 0)
        if order < least:
            raise ValueError(
                f"the order must be at least {least}, that of the unstable part, which is kept, "
                f"got {order}. (An eigenvalue is {modes.eigenvalues[0]:.4g}, and dt is "
                f"{modes.stable.dt!r}.)"
            )
        if order > most:
            raise ValueError(
                f"the order must be from {least} to {most}, the order of a minimal realisation to "
                f"round-off, got {order}."
            )
    else:
        tolerance = nonnegative(tolerance, "the tolerance")
        bounds = hankel.error_bounds[: hankel.minimal_order + 1]
        if not (bounds <= tolerance).any():
            raise ValueError(
                f"the error bound goes down to {bounds[-1]:.1e} at order {most}, where "
                f"round-off begins, but the tolerance is {tolerance}: pass a larger one."
            )
        order = least + int(numpy.argmax(bounds <= tolerance))
    return _reduction(origin, modes, hankel, order, method)


def _reduction(origin: Origin, modes: Modes, hankel: Hankel, order: int, method: str) -> Any:
    unstable_order = modes.unstable.order
    to, back = hankel.projections(order - unstable_order)
    stable = METHODS[method](modes.stable, to, back)
    spectrum = spectrum_of(
        schur_form(stable.A), abs(to) @ abs(modes.stable.A) @ abs(back), stable.dt
    )
    if spectrum.is_unstable.any():
        raise ValueError(
            f"the reduced model of order {order} is not stable, eigenvalue "
            f"{spectrum.unstable[0]:.4g}: it parts Hankel singular values that are nearly equal. "
            "Pass another order."
        )
    system = modes.unstable.parallel(stable)
    facts: dict[str, Any] = {
        "hankel_singular_values": origin.array(hankel.frames.sigma),
        "error_bound": float(hankel.error_bounds[order - unstable_order]),
        "unstable_order": unstable_order,
    }
    if origin.library:
        return origin.state_space(system, **facts)
    left, right = modes.transformation, modes.inverse
    to = numpy.concatenate([left[:unstable_order], to @ left[unstable_order:]])
    back = numpy.concatenate([right[:, :unstable_order], right[:, unstable_order:] @ back], axis=1)
    return BalancedRealization(
        A=origin.array(system.A),
        B=origin.array(system.B),
        C=origin.array(system.C),
        D=origin.array(system.D),
        dt=system.dt,
        transformation=origin.array(to),
        inverse_transformation=origin.array(back),
        **facts,
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
