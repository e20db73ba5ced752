"""Gramians of linear systems, and Hankel singular values.

References
----------
[HM94]; THEORY 5.
"""

from dlngeo.core.base.arrays import Array
from dlngeo.systems.formats import LinearSystem, modes_given_by
from dlngeo.systems.hankel import gramian_factors, hankel_of


def controllability_gramian(
    A: Array | LinearSystem, B: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the controllability Gramian of a stable system.

    .. math:: W_c = \int_0^∞ e^{At} B B^T e^{A^T t} \, dt \quad \text{or} \quad
              W_c = \sum_{t=0}^∞ A^t B B^T (A^T)^t

    Parameters
    ----------
    A, B, dt : array-like and float, bool or None; or another system that has states

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.
    """
    modes, origin = modes_given_by(A, B, None, None, dt, needed="B")
    origin.check_states()
    modes.check_stable()
    factor = modes.inverse @ gramian_factors(modes).inputs
    return origin.array(factor @ factor.T)


def observability_gramian(
    A: Array | LinearSystem, C: Array | None = None, dt: float | bool | None = None
) -> Array:
    r"""Return the observability Gramian of a stable system.

    .. math:: W_o = \int_0^∞ e^{A^T t} C^T C e^{At} \, dt \quad \text{or} \quad
              W_o = \sum_{t=0}^∞ (A^T)^t C^T C A^t

    Parameters
    ----------
    A, C, dt : array-like and float, bool or None; or another system that has states

    Returns
    -------
    gramian : array, shape=[n, n]
        The product of a factor with its transpose: positive semidefinite.
    """
    modes, origin = modes_given_by(A, None, C, None, dt, needed="C")
    origin.check_states()
    modes.check_stable()
    factor = modes.transformation.T @ gramian_factors(modes).outputs
    return origin.array(factor @ factor.T)


def hankel_singular_values(
    A: Array | LinearSystem,
    B: Array | None = None,
    C: Array | None = None,
    dt: float | bool | None = None,
) -> Array:
    r"""Return the singular values of the Hankel operator of a stable system.

    .. math:: σ_k = σ_k(L_o^T L_c) = \sqrt{λ_k(W_c W_o)}

    Parameters
    ----------
    A, B, C, dt : array-like and float, bool or None; or another system

    Returns
    -------
    hankel_singular_values : array, shape=[n]
        In descending order. States that are not controllable or not observable count as
        zeros, to round-off.

    Examples
    --------
    >>> hankel_singular_values([[-2.0]], [[1.0]], [[1.0]])  # of 1/(s + 2)
    array([0.25])
    """
    modes, origin = modes_given_by(A, B, C, None, dt)
    modes.check_stable()
    return origin.array(hankel_of(modes).frames.sigma)
