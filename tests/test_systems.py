"""Laws of `dlngeo.systems`: Gramians, Hankel singular values, balancing and truncation."""

import control
import mpmath
import numpy as np
import pytest
from scipy import linalg

from dlngeo import systems as sy
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.networks.network import end_to_end, moment_map
from tests.core.brute import assert_close

System = tuple[np.ndarray, np.ndarray, np.ndarray]

TIMES = pytest.mark.parametrize("dt", [None, 0.1], ids=["continuous", "discrete"])


def random_system(seed, dt, n=7, inputs=2, outputs=3) -> System:
    """Return a random stable minimal system."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, n))
    eigenvalues = np.linalg.eigvals(A)
    if dt:
        A *= 0.97 / np.max(np.abs(eigenvalues))
    else:
        A -= (0.1 + np.max(eigenvalues.real)) * np.eye(n)
    return A, rng.standard_normal((n, inputs)), rng.standard_normal((outputs, n))


def change_of_state(seed, n):
    """Return a random matrix with singular values from 1/2 to 2."""
    left, _, right = np.linalg.svd(np.random.default_rng(seed).standard_normal((n, n)))
    return left * np.geomspace(0.5, 2, n) @ right


def transformed(system, T) -> System:
    """Return the system in the states ``T x``."""
    A, B, C = system
    return T @ A @ np.linalg.inv(T), T @ B, C @ np.linalg.inv(T)


def gramians(A, B, C, dt):
    """Return the Gramians by SciPy's solvers."""
    if dt:
        solve = linalg.solve_discrete_lyapunov
        return solve(A, B @ B.T), solve(A.T, C.T @ C)
    solve = linalg.solve_continuous_lyapunov
    return solve(A, -B @ B.T), solve(A.T, -C.T @ C)


def transfer(A, B, C, D, points):
    """Return ``D + C (s - A)^{-1} B`` at complex points, shape=[k, p, m]."""
    shifted = points[:, None, None] * np.eye(len(A)) - A
    return D + C @ np.linalg.solve(shifted, np.broadcast_to(B, (len(points), *B.shape)))


def boundary(A, dt, count=400):
    """Return points of the boundary of stability: a sweep, and where modes resonate."""
    eigenvalues = np.linalg.eigvals(A)
    if dt:
        return np.exp(1j * np.concatenate([np.linspace(0, np.pi, count), np.angle(eigenvalues)]))
    rates = np.abs(eigenvalues)
    sweep = np.geomspace(rates.min() / 100, rates.max() * 100, count)
    return 1j * np.concatenate([[0], sweep, np.abs(eigenvalues.imag)])


def sup_norm(values):
    return np.max(np.linalg.norm(values, 2, axis=(-2, -1)))


def errors_of(A, B, C, dt, orders):
    """Return for each order: the error over a sweep, the first value left out, the bound."""
    points = boundary(A, dt)
    full = transfer(A, B, C, 0, points)
    rows = []
    for order in orders:
        red = sy.balanced_truncation(A, B, C, dt=dt, order=order)
        error = sup_norm(full - transfer(red.A, red.B, red.C, red.D, points))
        rows.append((error, red.hankel_singular_values[order], red.error_bound))
    return np.array(rows).T


def heated_rod(n) -> System:
    """Return the heat equation on a rod: heated at a third, measured at two thirds."""
    second = np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)
    B, C = np.zeros((n, 1)), np.zeros((1, n))
    B[n // 3], C[0, 2 * n // 3] = n + 1, 1
    return (n + 1) ** 2 * second, B, C


def building(storeys, damping=0.02) -> System:
    """Return a chain of damped oscillators: shaken at the ground, seen at the roof."""
    stiffness = 2 * np.eye(storeys) - np.eye(storeys, k=1) - np.eye(storeys, k=-1)
    stiffness[-1, -1] = 1
    zero, one = np.zeros((storeys, storeys)), np.eye(storeys)
    A = np.block([[zero, one], [-stiffness, -damping * (stiffness + 0.1 * one)]])
    B, C = np.zeros((2 * storeys, 1)), np.zeros((1, 2 * storeys))
    B[storeys], C[0, -1] = 1, 1
    return A, B, C


def cd_player(modes, seed=0) -> System:
    """Return resonances over three decades, one for each pair of states; order 2 × modes."""
    rng = np.random.default_rng(seed)
    omega, damping = np.geomspace(10, 1e4, modes), 0.01
    A = linalg.block_diag(*[np.array([[0, 1], [-(w**2), -2 * damping * w]]) for w in omega])
    B = np.zeros((2 * modes, 2))
    B[1::2] = rng.standard_normal((modes, 2))
    C = np.zeros((2, 2 * modes))
    C[:, ::2] = rng.standard_normal((2, modes))
    return A, B, C


def not_minimal(seed=0) -> System:
    """Return a system of order 9 with 3 uncontrollable and 2 unobservable states, and dt=None."""
    rng = np.random.default_rng(seed)
    A = np.diag(-np.arange(1.0, 10))
    A[:7, 7:] = rng.standard_normal((7, 2))  # the last two drive the others
    B, C = rng.standard_normal((9, 2)), rng.standard_normal((2, 9))
    A[:4, 4:7] = 0
    A[4:7, :4] = 0
    A[4:7, 7:] = 0
    B[4:7] = 0  # nothing drives these three
    A[:4, 7:] = 0
    A[7:, :4] = rng.standard_normal((2, 4))
    C[:, 7:] = 0  # and nothing sees these two
    return transformed((A, B, C), change_of_state(seed, 9))


# --- Gramians and Hankel singular values ----------------------------------------------


@TIMES
@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 1, 1), (7, 2, 3), (5, 8, 1), (40, 1, 2)])
def test_gramians_are_those_of_scipy(n, inputs, outputs, dt):
    A, B, C = random_system(0, dt, n, inputs, outputs)
    controllability, observability = gramians(A, B, C, dt)
    assert_close(sy.controllability_gramian(A, B, dt), controllability, 1e-11)
    assert_close(sy.observability_gramian(A, C, dt), observability, 1e-11)


@pytest.mark.parametrize("pole", [-0.9999, 0.9999])
def test_discrete_gramians_near_the_circle(pole):
    """The Cayley transform loses nothing near -1: the sum over time, in closed form."""
    poles, B = np.array([pole, 0.5, -0.2]), np.array([[1.0], [2.0], [3.0]])
    expected = B @ B.T / (1 - np.outer(poles, poles))
    assert_close(sy.controllability_gramian(np.diag(poles), B, dt=True), expected, 1e-11)


@TIMES
def test_hankel_singular_values_are_those_of_the_gramians(dt):
    A, B, C = random_system(1, dt)
    controllability, observability = gramians(A, B, C, dt)
    eigenvalues = np.linalg.eigvals(controllability @ observability)
    expected = np.sqrt(np.sort(eigenvalues.real)[::-1])
    np.testing.assert_allclose(sy.hankel_singular_values(A, B, C, dt), expected, rtol=1e-9)


@pytest.mark.parametrize("damping", [0.01, 0.3, 1.0, 2.0])
def test_oscillator(damping):
    """``ω²/(s² + 2ζωs + ω²)`` has ``σ = (√(1+ζ²) ± ζ)/(4ζ)``, whatever ``ω``."""
    A = [[0, 1], [-9, -6 * damping]]
    expected = (np.sqrt(1 + damping**2) + damping * np.array([1, -1])) / (4 * damping)
    found = sy.hankel_singular_values(A, [[0], [9]], [[1, 0]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("pole", "dt", "expected"), [(-2.0, 0, 0.25), (0.6, True, 1 / 0.64)])
def test_one_state(pole, dt, expected):
    """``1/(s + a)`` has ``σ = 1/(2a)``, ``1/(z - a)`` has ``σ = 1/(1 - a²)``."""
    assert sy.hankel_singular_values([[pole]], [[1]], [[1]], dt) == pytest.approx([expected])


def test_values_of_python_control():
    """The example of its tests, with MATLAB's figures."""
    found = sy.hankel_singular_values([[1, -2], [3, -4]], [[5], [7]], [[6, 8]])
    np.testing.assert_allclose(found, [24.42686, 0.5731395], atol=1e-5)


def test_finite_impulse_response():
    """``Σ c_j z^{-j}``: the singular values of the finite Hankel matrix of its coefficients."""
    coefficients = np.random.default_rng(2).standard_normal(6)
    A, B = np.eye(6, k=-1), np.eye(6, 1)
    expected = np.linalg.svd(linalg.hankel(coefficients), compute_uv=False)
    found = sy.hankel_singular_values(A, B, coefficients[None], True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_markov_parameters():
    """The singular values of the Hankel matrix that python-control identifies systems by."""
    A, B, C = random_system(3, True, n=4)
    A = 0.8 * A
    markov = np.stack([C @ np.linalg.matrix_power(A, k) @ B for k in range(301)], -1)
    markov = np.concatenate([0 * markov[..., :1], markov], -1)
    _, expected = control.eigensys_realization(markov, 4, m=150, n=150)
    np.testing.assert_allclose(sy.hankel_singular_values(A, B, C, True), expected[:4], rtol=1e-10)


def test_cross_gramian():
    """With one input and one output they are the moduli of the eigenvalues of one equation."""
    A, B, C = random_system(4, None, inputs=1, outputs=1)
    cross = linalg.solve_sylvester(A, A, -B @ C)
    expected = np.sort(np.abs(np.linalg.eigvals(cross)))[::-1]
    assert_close(sy.hankel_singular_values(A, B, C), expected, 1e-12)


def test_small_values_are_accurate():
    """Down to ``ε σ_1``, far below the ``√ε σ_1`` that factors of Gramians can give.

    ``Σ_i b_i²/(s + a_i)`` has the eigenvalues of ``b_i b_j/(a_i + a_j)``, here with 50 digits.
    """
    rates = [(mpmath.mpf(5) / 4) ** k for k in range(14)]
    with mpmath.workdps(50):
        cauchy = mpmath.matrix(14, 14)
        for i in range(14):
            for j in range(14):
                cauchy[i, j] = mpmath.sqrt(rates[i] * rates[j]) / (rates[i] + rates[j])
        expected = np.array(sorted(map(float, mpmath.eigsy(cauchy, eigvals_only=True))))[::-1]
    assert expected[-1] < 1e-13 * expected[0]
    # In states that mix the modes.
    Q = np.linalg.qr(np.random.default_rng(5).standard_normal((14, 14)))[0]
    a = np.array(rates, dtype=float)
    b = Q @ np.sqrt(a)[:, None]
    found = sy.hankel_singular_values(-Q * a @ Q.T, b, b.T)
    np.testing.assert_allclose(found, expected, atol=1e-14 * expected[0])


@pytest.mark.parametrize("exponent", [6, 12])
def test_units_of_the_states_do_not_count(exponent):
    """States in units from ``10^-6`` to ``10^6`` leave what a balanced start would give."""
    units = 10.0 ** np.random.default_rng(6).uniform(-exponent / 2, exponent / 2, 48)
    A, B, C = building(24)
    scaled = units[:, None] * A / units, units[:, None] * B, C / units
    expected = sy.hankel_singular_values(A, B, C)
    np.testing.assert_allclose(
        sy.hankel_singular_values(*scaled), expected, atol=1e-9 * expected[0]
    )
    points = boundary(A, None)
    red = sy.balanced_truncation(*scaled, order=10)
    same = sy.balanced_truncation(A, B, C, order=10)
    response = transfer(same.A, same.B, same.C, same.D, points)
    assert_close(transfer(red.A, red.B, red.C, red.D, points), response, 1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_of_time_and_signals(scale):
    """Slower or faster systems have the same values, and weaker or stronger ones scaled ones."""
    A, B, C = random_system(16, None)
    expected = sy.balanced_truncation(A, B, C, order=4)
    fast = sy.balanced_truncation(scale * A, scale * B, C, order=4)
    strong = sy.balanced_truncation(A, scale * B, scale * C, order=4)
    for red, unit in ((fast, 1.0), (strong, scale**2)):
        assert red.error_bound == pytest.approx(unit * expected.error_bound, rel=1e-9)
        assert_close(red.hankel_singular_values, unit * expected.hankel_singular_values, 1e-11)
    eigenvalues = [np.sort_complex(np.linalg.eigvals(red.A)) for red in (fast, strong, expected)]
    assert_close(eigenvalues[0], scale * eigenvalues[2], 1e-9)
    assert_close(eigenvalues[1], eigenvalues[2], 1e-9)


@TIMES
def test_invariance_under_changes_of_state(dt):
    A, B, C = random_system(7, dt)
    points = boundary(A, dt)
    values, responses = [], []
    for T in (np.eye(7), change_of_state(8, 7)):
        system = transformed((A, B, C), T)
        red = sy.balanced_truncation(*system, dt=dt, order=3)
        values.append(red.hankel_singular_values)
        responses.append(transfer(red.A, red.B, red.C, red.D, points))
    assert_close(values[1], values[0], 1e-11)
    assert_close(responses[1], responses[0], 1e-9)


# --- balancing -------------------------------------------------------------------------


@TIMES
def test_balanced_gramians_are_equal_and_diagonal(dt):
    A, B, C = random_system(9, dt)
    D = np.arange(6.0).reshape(3, 2)
    bal = sy.balanced_realization(A, B, C, D, dt)
    sigma = np.diag(bal.hankel_singular_values)
    for gramian in gramians(bal.A, bal.B, bal.C, dt):
        assert_close(gramian, sigma, 1e-10)
    assert_close(bal.transformation @ bal.inverse_transformation, np.eye(7), 1e-11)
    assert_close(bal.A @ bal.transformation, bal.transformation @ A, 1e-11)
    points = boundary(A, dt)
    response = transfer(A, B, C, D, points)
    assert_close(transfer(bal.A, bal.B, bal.C, bal.D, points), response, 1e-10)
    assert (bal.order, bal.dt, bal.error_bound) == (7, dt, 0)


@TIMES
@pytest.mark.parametrize("order", [7, 4])
def test_balancing_is_that_of_a_network_of_depth_two(order, dt):
    """`balance` of the factors is ``(Q_1 T L_c, L_oᵀ T^{-1} Q_1ᵀ)`` with a frame ``Q_1``."""
    A, B, C = random_system(10, dt)
    controllability, observability = gramians(A, B, C, dt)
    first = np.linalg.cholesky(controllability)
    last = np.linalg.cholesky(observability).T
    assert_close(moment_map((first, last))[0], observability - controllability, 1e-12)
    red = sy.balanced_truncation(A, B, C, dt=dt, order=order)
    own = red.transformation @ first, last @ red.inverse_transformation
    assert_close(moment_map(own)[0], np.zeros((order, order)), 1e-10, scale=np.max(own[0]) ** 2)
    assert_close(own[0] @ own[0].T, np.diag(red.hankel_singular_values[:order]), 1e-9)
    balanced = balance((first, last), rank=order)
    frame = balanced[0] @ np.linalg.pinv(own[0])
    assert_close(frame.T @ frame, np.eye(order), 1e-9)
    for ours, expected in zip((frame @ own[0], own[1] @ frame.T), balanced, strict=True):
        assert_close(ours, expected, 1e-9)
    if order == 7:
        assert_close(end_to_end(own), last @ first, 1e-9)
        # The system of the balanced point has equal Gramians.
        one, two = gramians(*transformed((red.A, red.B, red.C), frame), dt)
        assert_close(one, two, 1e-9)


def test_equal_singular_values():
    """All Hankel singular values of ``det(s + A*)/det(s - A)`` are one, and count once."""
    rng = np.random.default_rng(11)
    B = rng.standard_normal((4, 1))
    skew = rng.standard_normal((4, 4))
    A = (skew - skew.T) - B @ B.T / 2  # A + Aᵀ + BBᵀ = 0
    system = transformed((A, B, -B.T), change_of_state(11, 4))
    gain = np.abs(transfer(*system, np.eye(1), boundary(A, None)))
    np.testing.assert_allclose(gain, 1, rtol=1e-12)
    bal = sy.balanced_realization(*system, np.eye(1))
    assert_close(bal.hankel_singular_values, np.ones(4), 1e-11)
    for gramian in gramians(bal.A, bal.B, bal.C, None):
        assert_close(gramian, np.eye(4), 1e-11)
    for order in range(4):
        red = sy.balanced_truncation(*system, np.eye(1), order=order)
        assert red.error_bound == pytest.approx(2)
    assert sy.balanced_truncation(*system, tolerance=1.9).order == 4
    assert sy.balanced_truncation(*system, tolerance=2.1).order == 0


def test_order_that_parts_equal_values(monkeypatch):
    """An oscillator that is damped in one of two states, ``σ = (1, 1)``.

    Any frame of the equal values serves; but one keeps the state without damping.
    """
    A, B = np.array([[0.0, -3], [3, -1]]), np.array([[0.0], [2**0.5]])
    own_frames, frame = sy.singular_frames, np.eye(2)

    def turned_frames(matrix, rank):
        left, sigma, right = own_frames(matrix, rank)
        return SingularFrames(left @ frame, sigma, right @ frame)

    monkeypatch.setattr(sy, "singular_frames", turned_frames)
    T = sy.balanced_realization(A, B, B.T).transformation
    assert_close(T @ T.T, np.eye(2), 1e-14)
    frame = T  # T becomes I, from Tᵀ T
    with pytest.raises(ValueError, match=r"order 1 is not stable.* nearly equal"):
        sy.balanced_truncation(A, B, B.T, order=1)
    frame = T @ np.array([[0.6, -0.8], [0.8, 0.6]])
    red = sy.balanced_truncation(A, B, B.T, order=1)
    assert red.A[0, 0] == pytest.approx(-0.64)
    points = boundary(A, None)
    error = transfer(A, B, B.T, 0, points) - transfer(red.A, red.B, red.C, red.D, points)
    assert sup_norm(error) <= red.error_bound * (1 + 1e-9) == pytest.approx(2)


# --- truncation ------------------------------------------------------------------------


@TIMES
@pytest.mark.parametrize("seed", range(5))
def test_error_is_within_its_bounds(seed, dt):
    A, B, C = random_system(seed, dt, n=9)
    error, least, bound = errors_of(A, B, C, dt, range(9))
    assert np.all(least * (1 - 1e-2) <= error)
    assert np.all(error <= bound * (1 + 1e-9))


def test_bound_is_sharp_for_relaxation():
    """Of a sum of decays ``b²/(s + a)`` the error at zero frequency is the bound."""
    a = np.array([1.0, 3.0, 10.0, 50.0, 200.0])
    b = np.sqrt(a)[:, None]
    for order in range(5):
        red = sy.balanced_truncation(np.diag(-a), b, b.T, order=order)
        gain = red.C @ np.linalg.solve(-red.A, red.B) if order else np.zeros((1, 1))
        assert (b.T / a @ b - gain).item() == pytest.approx(red.error_bound, rel=1e-10)


MODELS: dict[str, tuple[System, list[int]]] = {
    "rod": (heated_rod(200), [2, 4, 6, 8, 10]),
    "building": (building(24), [4, 10, 20, 30, 40]),
    "CD player": (cd_player(30), [4, 10, 20, 30, 50]),
}


@pytest.mark.parametrize(("system", "orders"), MODELS.values(), ids=MODELS)
def test_models(system, orders):
    A, B, C = system
    error, least, bound = errors_of(A, B, C, None, orders)
    assert np.all(least * (1 - 1e-2) <= error)
    assert np.all(error <= bound * (1 + 1e-6))
    assert np.all(np.diff(bound) < 0)


def test_impulse_response():
    """The energy of the difference of impulse responses, and it dwindles with the order."""
    A, B, C = building(10, damping=0.2)
    times = np.arange(40000) * 0.01
    full = control.impulse_response(control.ss(A, B, C, 0), times).y[0, 0]
    energies = []
    for order in (4, 10, 16):
        red = sy.balanced_truncation(A, B, C, order=order)
        response = control.impulse_response(control.ss(red.A, red.B, red.C, 0), times).y[0, 0]
        energy = np.trapezoid((full - response) ** 2, times)
        both = linalg.block_diag(A, red.A), np.concatenate([B, red.B])
        difference = np.concatenate([C, -red.C], axis=1)
        expected = difference @ gramians(*both, difference, None)[0] @ difference.T
        assert energy == pytest.approx(expected.item(), rel=1e-3)
        energies.append(energy / np.trapezoid(full**2, times))
    assert energies[1] < 0.1 * energies[0]
    assert energies[2] < 1e-3 * energies[0]


def test_example_of_python_control():
    """``(s³ + 11s² + 45s + 32)/(s⁴ + 15s³ + 60s² + 200s + 60)``, MATLAB's truncation."""
    A = [[-15, -7.5, -6.25, -1.875], [8, 0, 0, 0], [0, 4, 0, 0], [0, 0, 1, 0]]
    B, C = [[2], [0], [0], [0]], [[0.5, 0.6875, 0.7031, 0.5]]
    red = sy.balanced_truncation(A, B, C, order=2)
    signs = np.diag(np.sign(red.B[:, 0]))
    expected = [[-1.958, -1.194], [-1.194, -0.8344]]
    np.testing.assert_allclose(signs @ red.A @ signs, expected, atol=1e-3)
    np.testing.assert_allclose(signs @ red.B, [[0.9057], [0.4068]], atol=1e-4)
    np.testing.assert_allclose(red.C @ signs, [[0.9057, 0.4068]], atol=1e-4)


@TIMES
def test_truncation_is_the_leading_block(dt):
    """python-control's own elimination of the last states of the balanced realisation."""
    system = control.StateSpace(*random_system(12, dt), 0, dt or 0)
    expected = control.model_reduction(
        sy.balanced_realization(system), elim_states=[3, 4, 5, 6], method="truncate"
    )
    red = sy.balanced_truncation(system, order=3)
    for name in "ABCD":
        assert_close(getattr(red, name), getattr(expected, name), 1e-10)


def test_tolerance():
    """The fewest states with a bound within the tolerance; the gain alone if it is large."""
    system = building(24)
    sigma = sy.hankel_singular_values(*system)
    for tolerance in (1e-2, 0.3, 2.0):
        red = sy.balanced_truncation(*system, tolerance=tolerance)
        assert red.error_bound == pytest.approx(2 * sigma[red.order :].sum())
        assert red.error_bound <= tolerance < 2 * sigma[red.order - 1 :].sum()
    assert sy.balanced_truncation(*system, [[5.0]], tolerance=1e9).order == 0
    assert sy.balanced_truncation(*system, tolerance=0).order == 48


def test_not_minimal_systems_are_truncated():
    """What no input reaches or no output sees drops out, and the response stays."""
    A, B, C = not_minimal()
    sigma = sy.hankel_singular_values(A, B, C)
    assert np.all(sigma[4:] < 1e-12 * sigma[0])
    red = sy.balanced_truncation(A, B, C, order=4)
    points = boundary(A, None)
    response = transfer(A, B, C, 0, points)
    assert_close(transfer(red.A, red.B, red.C, red.D, points), response, 1e-10)
    for gramian in gramians(red.A, red.B, red.C, None):
        assert_close(gramian, np.diag(sigma[:4]), 1e-10)


def test_nearly_unobservable_states_leave_the_others_alone():
    """A state that is seen by ``10^-13`` only: the realisation of the others does not move."""
    A, B, C = random_system(13, None, n=5)
    weak = linalg.block_diag(A, -1.0), np.vstack([B, np.ones((1, 2))]), np.c_[C, np.full(3, 1e-13)]
    expected = sy.balanced_realization(A, B, C)
    red = sy.balanced_truncation(*transformed(weak, change_of_state(14, 6)), order=5)
    signs = np.diag(np.sign(red.B[:, 0] * expected.B[:, 0]))
    assert_close(signs @ red.A @ signs, expected.A, 1e-8)
    assert_close(signs @ red.B, expected.B, 1e-9)
    assert_close(red.C @ signs, expected.C, 1e-9)


# --- StateSpace of python-control ------------------------------------------------------


@pytest.mark.parametrize("dt", [None, 0, True, 0.1])
def test_state_space(dt):
    """A StateSpace comes back as one, with its time and the names of its signals."""
    A, B, C = random_system(15, dt)
    D = np.ones((3, 2))
    names = {"inputs": ["force", "heat"], "outputs": ["x", "y", "z"]}
    system = control.StateSpace(A, B, C, D, dt, **names)
    expected = sy.balanced_truncation(A, B, C, D, dt, order=4)
    reduced = sy.balanced_truncation(system, order=4)
    assert isinstance(reduced, control.StateSpace)
    assert (reduced.input_labels, reduced.output_labels) == (names["inputs"], names["outputs"])
    assert reduced.dt is dt
    for name in "ABCD":
        np.testing.assert_array_equal(getattr(reduced, name), getattr(expected, name))
    full = sy.balanced_realization(system)
    np.testing.assert_allclose(full(0.3), system(0.3), rtol=1e-9)
    assert sy.balanced_truncation(system, order=0).nstates == 0
    np.testing.assert_array_equal(
        sy.hankel_singular_values(system), sy.hankel_singular_values(A, B, C, dt)
    )
    np.testing.assert_array_equal(
        sy.controllability_gramian(system), sy.controllability_gramian(A, B, dt)
    )
    np.testing.assert_array_equal(
        sy.observability_gramian(system), sy.observability_gramian(A, C, dt)
    )


# --- what is refused -------------------------------------------------------------------

ONE = np.array([[1.0]])


@pytest.mark.parametrize(
    ("A", "dt", "message"),
    [
        ([[0.5, 2], [-2, 0.5]], None, r"eigenvalue 0.5[+-]2j, .* negative real part"),
        ([[0.0, 1], [0, -1]], 0, r"eigenvalue 0\+0j"),
        ([[-1.0, 1], [0, 0.5]], True, r"eigenvalue -1\+0j, .* modulus below 1 \(dt is True\)"),
        ([[-1.0, 1], [0, -3]], 0.1, r"eigenvalue -3"),
    ],
)
def test_unstable_systems(A, dt, message):
    B, C = [[1.0], [1.0]], [[1.0, 1.0]]
    for call in (
        lambda: sy.controllability_gramian(A, B, dt),
        lambda: sy.observability_gramian(A, C, dt),
        lambda: sy.hankel_singular_values(A, B, C, dt),
        lambda: sy.balanced_realization(A, B, C, None, dt),
        lambda: sy.balanced_truncation(A, B, C, dt=dt, order=1),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_balancing_needs_a_minimal_system():
    A, B, C = not_minimal()
    with pytest.raises(
        ValueError, match=r"not controllable .* dimension 6 of 9.* not observable"
    ) as e:
        sy.balanced_realization(A, B, C)
    assert "dimension 7 of 9" in str(e.value)
    assert "order=4" in str(e.value)
    with pytest.raises(ValueError, match=r"is not observable .* dimension 1 of 2"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [1]], [[1, 0]])
    with pytest.raises(ValueError, match=r"is not controllable .* dimension 1 of 2"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [0]], [[1, 1]])
    with pytest.raises(ValueError, match=r"nearly not controllable or not observable"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [1e-9]], [[1, 1e-9]])


@pytest.mark.parametrize("order", [-1, 5, 9])
def test_orders_out_of_range(order):
    with pytest.raises(ValueError, match=r"order must be from 0 to 4"):
        sy.balanced_truncation(*not_minimal(), order=order)


@pytest.mark.parametrize("tolerance", [-1.0, 0.0, np.nan])
def test_tolerances_that_cannot_be_met(tolerance):
    with pytest.raises(ValueError, match=r"goes down to .* at order 4"):
        sy.balanced_truncation(*not_minimal(), tolerance=tolerance)


@pytest.mark.parametrize("given", [{}, {"order": 1, "tolerance": 1.0}])
def test_order_or_tolerance(given):
    with pytest.raises(ValueError, match="either an order or a tolerance"):
        sy.balanced_truncation(-ONE, ONE, ONE, **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), ONE, ONE), r"shapes \(n, n\)"),
        ((-ONE, np.ones((2, 1)), ONE), r"got \(1, 1\), \(2, 1\)"),
        ((-ONE, ONE, np.ones((1, 2))), r"shapes"),
        ((-ONE, ONE, ONE, np.ones((2, 1))), r"\(p, m\)"),
        ((np.ones((0, 0)), np.ones((0, 1)), np.ones((1, 0))), "at least one state"),
        ((-ONE, np.ones(1), ONE), "B must be a matrix"),
        ((-ONE, ONE * np.nan, ONE), "B holds NaN"),
        ((-ONE, ONE, 1j * ONE), "C is of type complex"),
        ((-ONE, ONE), "matrices of a system"),
        ((-ONE, ONE, ONE, None, -0.1), "dt must be"),
        ((-ONE, ONE, ONE, None, np.nan), "dt must be"),
        ((-ONE, ONE, ONE, None, "s"), "dt must be"),
        ((control.ss(-1, 1, 1, 0), ONE), "pass it alone"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sy.balanced_realization(*arguments)
