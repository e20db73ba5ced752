"""What kernels of end-to-end matrices share: starts, the boundary, and what states are over."""

import numpy as np
import pytest

from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama
from dlngeo.sampling.langevin_dynamics.matrix_steps import fold
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from dlngeo.sampling.langevin_dynamics.schemes import SCHEMES
from tests.core.brute import assert_close
from tests.sampling.reference import matrices, rotations


@pytest.mark.parametrize("kind", [EulerMaruyama, Metropolis])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(2, 2, 2), (3, 2, 2), (3, 3, 1)])
def test_values_lost_to_round_off_start_above_zero(kind, rows, columns, rank):
    """Whether a lost value is a zero or round-off differs from one LAPACK to the next."""
    depth = 10
    widths = (columns, *[min(rows, columns)] * (depth - 1), rows)
    equation = Equation(np.zeros_like, widths, rank, beta=0.5, energy=lambda x: np.zeros(len(x)))
    matrix = np.zeros((4, rows, columns))
    matrix[:, range(rank - 1), range(rank - 1)] = 1.0
    state = kind(equation, 0.1).init((matrix,))
    assert (state.lam[:, -1] == equation.least).all()
    after = kind(equation, 0.1).step(state, np.random.default_rng(0))
    assert np.isfinite(after.lam).all()
    assert (after.lam > 0).all()


def test_a_chain_crosses_the_boundary_or_is_reflected():
    """Confined, its least value alone changes: two that are negative are none."""
    rng = np.random.default_rng(0)
    signed = SingularFrames(
        rotations(4, 3, 3, rng),
        np.array([[1.0, 0.5, 0.2], [-1.0, 0.5, -0.2], [-1.0, 0.5, 0.2], [1.0, -0.5, -1e-9]]),
        rotations(4, 3, 3, rng),
    )
    matrix = signed.with_values(signed.sigma)
    crossed, is_reflected = fold(signed, False)
    assert not is_reflected.any()
    assert_close(crossed.with_values(crossed.sigma), matrix, 1e-15)
    after, is_reflected = fold(signed, True)
    assert is_reflected.tolist() == [False, False, True, False]
    for root in (crossed, after):
        assert_close(root.sigma, abs(signed.sigma), 1e-15)
    changed = matrix - after.with_values(after.sigma)
    assert_close(changed[[0, 1, 3]], 0 * changed[[0, 1, 3]], 1e-15, scale=1.0)
    # By twice the least value, in one direction.
    assert_close(np.linalg.svd(changed[2])[1], [0.4, 0, 0], 1e-14)
    signs = np.linalg.slogdet(after.with_values(after.sigma))[0]
    before = np.linalg.slogdet(signed.left)[0] * np.linalg.slogdet(signed.right)[0]
    assert (signs == before).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_state_gives_back_the_matrices_it_is_over(scheme):
    equation = Equation(np.zeros_like, (2, 3, 3), 2, beta=1.0, energy=lambda x: np.zeros(len(x)))
    matrix = matrices(np.array([[1.2, 0.6], [0.5, 0.5]]), 2, 3, 2, np.random.default_rng(1))
    kernel = SCHEMES[scheme](equation, 0.1)
    (found,) = kernel.factors(kernel.init((matrix,)))
    assert_close(found, matrix, 1e-13)
