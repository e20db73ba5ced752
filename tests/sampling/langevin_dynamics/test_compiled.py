"""The compiled step against the plain one."""

import numpy as np
import pytest

from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics import matrix_steps
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama, MatrixState
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from dlngeo.sampling.langevin_dynamics.second_order import SecondOrder, _CompiledPath, _Path
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.steps import orientation
from tests.sampling.reference import replay, rotations


def states(rank, depth, rng, n=64):
    """Return chains with generic, meeting and tiny values, and frames of both orientations."""
    lam = np.sort(rng.uniform(0.05, 1.5, (n, rank)), axis=-1)[:, ::-1]
    lam[: n // 4] = 1 + 1e-9 * rng.standard_normal((n // 4, rank))
    lam[n // 4 : n // 2] = 0.8
    lam[n // 2 : n // 2 + 8, -1] = 1e-3
    left, right = rotations(n, rank, rank, rng), rotations(n, rank, rank, rng)
    covector = rng.standard_normal((n, rank, rank))
    counts = np.zeros((3, n), dtype=int)
    return MatrixState(left, np.ascontiguousarray(lam), right, covector, *counts)


@pytest.mark.parametrize("rank", range(1, 9))
@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("step", [1e-4, 0.02, 0.5])
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_compiled_step_is_the_plain_one(rank, depth, step, determinant, monkeypatch):
    """Also where chains cross the boundary or are reflected, which long steps bring about."""
    rng = np.random.default_rng([rank, depth])
    state = states(rank, depth, rng)
    betas = np.linspace(2.0, 4.0, 64)
    equation = Equation(
        np.zeros_like, (rank,) * (depth + 1), rank, betas, kappa=0.7, determinant=determinant
    )
    normals = rng.standard_normal((64, rank * rank))
    kernel = EulerMaruyama(equation, step)
    after = kernel.step(state, replay(normals))
    monkeypatch.setattr(matrix_steps, "COMPILED_UP_TO", 0)
    expected = EulerMaruyama(equation, step).step(state, replay(normals))
    lam = np.sort(after.lam, axis=-1)
    scale = float(expected.lam.max())
    assert_close(lam, np.sort(expected.lam, axis=-1), 1e-10, scale=scale)
    roots = [s.left * s.lam[:, None, :] @ s.right.swapaxes(-1, -2) for s in (after, expected)]
    assert_close(roots[0], roots[1], 1e-10, scale=scale)
    for frame in (after.left, after.right):
        assert_close(frame.swapaxes(-1, -2) @ frame, np.eye(rank) + 0 * frame, 1e-12)
    assert (after.n_reflections == expected.n_reflections).all()
    if step == 0.5:
        assert after.n_reflections.any() == (determinant is not None)
        has_crossed = [orientation(s) != orientation(state) for s in (after, expected)]
        assert (has_crossed[0] == has_crossed[1]).all()
        assert has_crossed[0].any() == (determinant is None)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_compiled_proposal_is_the_plain_one(rank, depth, determinant):
    """The proposal, and the ratio of its density to that of the one back."""
    rng = np.random.default_rng([rank, depth])
    left, lam, right, _, *_ = states(rank, depth, rng)
    target = rng.standard_normal((rank, rank))
    betas = np.linspace(2.0, 4.0, len(lam))
    equation = Equation(
        lambda x: x - target, (rank,) * (depth + 1), rank, betas, kappa=0.7,
        energy=lambda x: np.sum((x - target) ** 2, axis=(1, 2)) / 2, determinant=determinant,
    )  # fmt: skip
    kernel = Metropolis(equation, 0.1)
    start = left * lam[:, None, :] ** depth @ right.swapaxes(-1, -2)
    state = kernel.init((start,))
    state = state._replace(left=left, lam=lam, right=right, covector=start - target)
    normals = rng.standard_normal((len(lam), rank * rank))
    after, is_open, log_ratio = kernel._advance_compiled(state, replay(normals))
    plain, was_open, expected = kernel._advance(state, replay(normals))
    assert (is_open == was_open).all()
    assert is_open.all() == (determinant is None)
    roots = [s.left * s.lam[:, None, :] @ s.right.swapaxes(-1, -2) for s in (after, plain)]
    assert_close(roots[0][is_open], roots[1][is_open], 1e-10, scale=float(lam.max()))
    assert_close(after.energy[is_open], plain.energy[is_open], 1e-9)
    assert_close(
        log_ratio[is_open], expected[is_open], 1e-6, scale=1 + abs(expected[is_open]).max()
    )
    exact = spectral_entropy(after.lam**depth, equation.widths)
    difference = (after.entropy - exact)[is_open]
    assert_close(difference, difference[0] + 0 * difference, 1e-9, scale=1 + abs(exact).max())


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("determinant", [None, "positive"])
@pytest.mark.parametrize("is_spectral", [False, True])
def test_compiled_flows_are_the_plain_ones(rank, depth, determinant, is_spectral):
    """Each of them, with the same normals; also of an energy of singular values."""
    rng = np.random.default_rng([rank, depth])
    root = SingularFrames(*states(rank, depth, rng)[:3])
    n = len(root.sigma)
    tilts = np.linspace(0.5, 1.0, rank) if is_spectral else rng.standard_normal((rank, rank))
    equation = Equation(
        lambda x: np.sin(x) + tilts, (rank,) * (depth + 1), rank, np.linspace(2.0, 4.0, n), 0.7,
        is_spectral, determinant=determinant,
    )  # fmt: skip
    kernel = SecondOrder(equation, 0.1 if depth < 10 else 2e-3)
    normals = rng.standard_normal((n, 2 * rank * rank))
    for flow in ("turn", "descend", "spread"):
        paths = [kind(kernel, root, replay(normals)) for kind in (_CompiledPath, _Path)]
        if flow == "descend":
            for path in paths:  # which needs the matrix of a step before
                path.go(np.zeros((n, rank, rank)))
        for path in paths:
            getattr(path, flow)()
        compiled, plain = (path.root.with_values(path.root.sigma) for path in paths)
        assert_close(compiled, plain, 1e-9, scale=float(root.sigma.max()))
        assert (paths[0].n_reflections == paths[1].n_reflections).all()
        assert paths[0].is_kept.all()
    if depth < 10:
        assert paths[0].n_reflections.any() == (determinant is not None)
