"""What linear systems are given as, and what is refused."""

import sys

import control
import numpy as np
import pytest
import scipy.signal
import torch

from dlngeo import systems as sy
from tests.systems.linear_systems import random_system, transfer


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


FACTS = ("hankel_singular_values", "error_bound", "unstable_order")


def test_facts_of_a_state_space():
    """What comes back carries its name, its values and its bound."""
    A, B, C = random_system(15, None)
    system = control.StateSpace(A, B, C, 0, name="plant")
    expected = sy.balanced_truncation(A, B, C, order=4)
    for given in (system, scipy.signal.StateSpace(A, B, C, np.zeros((3, 2)))):
        reduced = sy.balanced_truncation(given, order=4)
        for name in FACTS:
            np.testing.assert_array_equal(getattr(reduced, name), getattr(expected, name))
    assert sy.balanced_truncation(system, order=4).name == "plant"


@pytest.mark.parametrize("dt", [0, 0.5])
def test_transfer_functions_of_python_control(dt):
    """A StateSpace of the same names, the same response, and what balancing says."""
    names = {"inputs": ["force", "heat"], "outputs": ["x"], "name": "plant"}
    system = control.tf([[[1.0], [2, 3]]], [[[1, 0.5], [1, 0.9, 0.2]]], dt, **names)
    full = sy.balanced_realization(system)
    assert isinstance(full, control.StateSpace)
    assert (full.name, full.input_labels, full.output_labels) == tuple(
        names[key] for key in ("name", "inputs", "outputs")
    )
    assert full.dt == dt
    np.testing.assert_allclose(full(0.3 + 1j), system(0.3 + 1j), rtol=1e-11)
    for method in ("truncate", "matchdc"):
        reduced = sy.balanced_truncation(system, order=1, method=method)
        error = np.linalg.norm(reduced(-1 + 0.0j if dt else 1j) - system(-1 + 0.0j if dt else 1j))
        assert reduced.error_bound == pytest.approx(2 * reduced.hankel_singular_values[1])
        assert 0 < error <= reduced.error_bound * (1 + 1e-9)
    np.testing.assert_allclose(
        sy.hankel_singular_values(system), full.hankel_singular_values, rtol=1e-9
    )


@pytest.mark.parametrize("time", [{}, {"dt": 0.1}], ids=["continuous", "discrete"])
@pytest.mark.parametrize("method", ["truncate", "matchdc"])
def test_systems_of_scipy(method, time):
    """All three forms give one reduced model, a StateSpace of SciPy."""
    zeros, poles = [-0.5], np.array([-0.1, -0.2 + 0.1j, -0.2 - 0.1j])
    polynomials = 3 * np.poly(zeros), np.poly(poles).real
    forms = [
        scipy.signal.ZerosPolesGain(zeros, poles, 3.0, **time),
        scipy.signal.TransferFunction(*polynomials, **time),
        scipy.signal.StateSpace(*scipy.signal.tf2ss(*polynomials), **time),
    ]
    points = np.exp(1j * np.linspace(0, 3, 7))
    first, *others = [sy.balanced_truncation(form, order=2, method=method) for form in forms]
    expected = transfer(first.A, first.B, first.C, first.D, points)
    for other in others:
        assert isinstance(other, scipy.signal.StateSpace)
        assert other.dt == time.get("dt")
        response = transfer(other.A, other.B, other.C, other.D, points)
        np.testing.assert_allclose(response, expected, rtol=1e-9)
        for name in FACTS:
            np.testing.assert_allclose(getattr(other, name), getattr(first, name), rtol=1e-9)


def test_several_outputs_of_scipy():
    system = scipy.signal.TransferFunction([[1, 2], [0, 3]], [1, 3, 2])
    full = sy.balanced_realization(system)
    expected = np.array([[[2 + 1j], [3]]]) / np.polyval([1, 3, 2], 1j)
    response = transfer(full.A, full.B, full.C, full.D, np.array([1j]))
    np.testing.assert_allclose(response, expected, rtol=1e-12)


def test_discrete_time_of_scipy_without_a_step():
    reduced = sy.balanced_truncation(scipy.signal.dlti([1], [1, 0.5]), order=1)
    assert reduced.dt is True
    assert reduced.hankel_singular_values == pytest.approx([1 / 0.75])


@pytest.mark.parametrize("dt", [None, 0.1])
def test_tuples(dt):
    A, B, C = random_system(15, dt)
    D = np.ones((3, 2))
    expected = sy.balanced_truncation(A, B, C, D, dt, order=3)
    tuples = [(A, B, C, D, dt)] if dt else [(A, B, C, D), (A, B, C, D, None)]
    for given in tuples:
        reduced = sy.balanced_truncation(given, order=3)
        assert isinstance(reduced, sy.BalancedRealization)
        np.testing.assert_array_equal(reduced.A, expected.A)
    np.testing.assert_array_equal(
        sy.controllability_gramian(tuples[0]), sy.controllability_gramian(A, B, dt)
    )


@pytest.mark.parametrize("library", ["NumPy", "PyTorch"])
def test_precision_and_library(library):
    """Results are of the arguments' library and precision, of the highest if they differ."""
    as_array = np.asarray if library == "NumPy" else torch.as_tensor
    double = [as_array(m) for m in random_system(15, None)]
    single = [as_array(np.asarray(m, dtype=np.float32)) for m in double]
    A, B, C = double
    expected = sy.balanced_truncation(A, B, C, order=4)
    for given, kind in ((single, "float32"), (double, "float64"), ([*single[:2], double[2]], "64")):
        A, B, C = given
        reduced = sy.balanced_truncation(A, B, C, order=4, method="matchdc")
        arrays = [value for value in vars(reduced).values() if hasattr(value, "dtype")]
        assert len(arrays) == 7
        arrays += [sy.hankel_singular_values(A, B, C), sy.observability_gramian(A, C)]
        for array in arrays:
            assert type(array) is type(double[0])
            assert str(array.dtype).endswith(kind)
        np.testing.assert_allclose(
            reduced.hankel_singular_values, expected.hankel_singular_values, rtol=1e-4
        )
    assert sy.hankel_singular_values([[-1]], [[1]], [[1]]).dtype == np.float64


def test_without_states():
    """A gain alone is a system."""
    nothing = np.zeros((0, 0)), np.zeros((0, 2)), np.zeros((3, 0)), np.ones((3, 2))
    for given in (nothing, (control.ss([], [], [], np.ones((3, 2))),)):
        reduced = sy.balanced_truncation(*given, order=0)
        np.testing.assert_array_equal(reduced.D, np.ones((3, 2)))
        assert len(reduced.hankel_singular_values) == reduced.error_bound == 0


def test_without_the_libraries(monkeypatch):
    """Neither is needed for matrices."""
    for name in ("control", "scipy.signal"):
        monkeypatch.delitem(sys.modules, name)
    assert sy.balanced_truncation([[-1.0]], [[1]], [[1]], order=1).order == 1
    assert "control" not in sys.modules


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
    ):
        with pytest.raises(ValueError, match=f"{message}.* balanced_truncation reduces"):
            call()
    least = sum(np.abs(np.linalg.eigvals(A)) >= 1) if dt else sum(np.linalg.eigvals(A).real >= 0)
    with pytest.raises(ValueError, match=f"at least {least}, that of the unstable part.*"):
        sy.balanced_truncation(A, B, C, dt=dt, order=least - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), ONE, ONE), r"shapes \(n, n\)"),
        ((-ONE, np.ones((2, 1)), ONE), r"got \(1, 1\), \(2, 1\)"),
        ((-ONE, ONE, np.ones((1, 2))), r"shapes"),
        ((-ONE, ONE, ONE, np.ones((2, 1))), r"\(p, m\)"),
        ((-ONE, np.ones(1), ONE), "B must be a matrix"),
        ((-ONE, ONE * np.nan, ONE), "B holds NaN"),
        ((-ONE, ONE, 1j * ONE), "C is of type complex"),
        ((-ONE, ONE), "matrices of a system"),
        ((-ONE, ONE, ONE, None, -0.1), "dt must be"),
        ((-ONE, ONE, ONE, None, np.nan), "dt must be"),
        ((-ONE, ONE, ONE, None, "s"), "dt must be"),
        ((control.ss(-1, 1, 1, 0), ONE), "pass it alone"),
        ((scipy.signal.lti([1], [1, 1]), None, None, ONE), "pass it alone"),
        (((-ONE, ONE, ONE),), r"\(A, B, C, D\) or .* got one of length 3"),
        ((([1.0], [1.0, 2.0]),), "come as scipy.signal.lti"),
        (("plant",), "A is of type <U5"),
        ((None,), "A is of type object"),
        ((control.tf([1, 0, 0], [1, 1]),), "improper: its numerator has degree 2"),
        ((scipy.signal.lti([1, 0, 0], [1, 1]),), "improper: its numerator has degree 2"),
        ((scipy.signal.ZerosPolesGain([1, 2], [-1], 1.0),), "improper"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sy.balanced_realization(*arguments)


def test_systems_without_a_realisation():
    system = control.tf([1.0], [1, 1])
    for given in (control.frd(system, [1.0, 2]), control.nlsys(None, lambda t, x, u, p: u)):
        with pytest.raises(TypeError, match=r"expected a control\.StateSpace .* got a "):
            sy.balanced_truncation(given, order=1)
    for gramian in (sy.controllability_gramian, sy.observability_gramian):
        with pytest.raises(ValueError, match=r"a TransferFunction does not have.* control\.ss"):
            gramian(system)
