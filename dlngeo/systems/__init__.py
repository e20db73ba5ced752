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

Truncation is exact at infinite frequency. Projected by ``T`` as well, the resolvent ``(s_0 -
A)^{-1}`` at zero frequency, ``s_0 = 0`` or ``z_0 = 1``, gives the reduction that is exact there
(``method="matchdc"``, singular perturbation). In continuous time ``(A^{-1}, A^{-1} B, C A^{-1})``
has the Gramians of ``(A, B, C)``, so that its truncation obeys the same bound; in discrete time the
bilinear transform says the same. An unstable system is a sum ``G = G_u + G_s``, by the Schur form
of ``A`` and a Sylvester equation: ``G_s`` is reduced, and ``G_u`` kept.

Systems are given as

- arrays ``A``, ``B``, ``C``, ``D`` of shapes ``(n, n)``, ``(n, m)``, ``(p, n)``, ``(p, m)``, where
  ``D`` is zero by default, and ``dt``: None or 0 in continuous time, the sampling time or True in
  discrete time; results are of the same library and precision;
- in the place of ``A``, alone: a tuple ``(A, B, C, D)`` or ``(A, B, C, D, dt)``; a ``StateSpace``
  or ``TransferFunction`` of python-control; a ``StateSpace``, ``TransferFunction`` or
  ``ZerosPolesGain`` of ``scipy.signal``. Of transfer functions a minimal realisation is taken, and
  what comes back is a ``StateSpace`` of their library, with the names of the signals.

All functions raise a ValueError for wrong shapes, NaN or ``dt``, and for improper transfer
functions; and all but `balanced_truncation` if the system is not stable.

The factors are never taken from Gramians, whose round-off would leave errors of the order of
``√ε`` in small Hankel singular values, but solve the Lyapunov equations themselves.

Examples
--------
An integrator behind three lags, which is reduced to two states with an unchanged steady response:

>>> from scipy.signal import lti
>>> from dlngeo.systems import balanced_truncation
>>> plant = lti([], [0, -1, -20, -50], 1000)
>>> reduced = balanced_truncation(plant, order=2, method="matchdc")
>>> reduced.unstable_order, reduced.A.shape, round(reduced.error_bound, 3)
(1, (2, 2), 0.003)

References
----------
[HM94]; THEORY 5; Y. Liu, B. Anderson, *Singular perturbation approximation of balanced systems*,
Int. J. Control 50, 1989; B. Moore, *Principal component analysis in linear systems*, IEEE TAC 26,
1981; S. Hammarling, *Numerical solution of the stable, non-negative definite Lyapunov
equation*, IMA J. Numer. Anal. 2, 1982.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
