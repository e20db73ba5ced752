"""Units of arguments, and what is brought back from them."""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import torch

from dlngeo.core.base.scales import at_scale, at_unit_scale, square, times_power

EXPONENTS = [-1000, -300, -40, 40, 300, 1000]


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_units_are_exact_and_of_size_one(exponent, library):
    rng = np.random.default_rng(1)
    given = [library(np.ldexp(rng.normal(size=(2, 3)), exponent)) for _ in range(2)]
    vector, single = tuple(given), given[0]
    unit, alone, of_vector, of_single = at_unit_scale(100, vector, single)
    assert isinstance(unit, tuple)
    largest = max(float(abs(array).max()) for array in unit)
    assert 0.5 <= largest <= 1
    assert 0.5 <= float(abs(alone).max()) <= 1
    back = at_scale(unit, of_vector, "it")
    assert all(bool((a == b).all()) for a, b in zip(back, vector, strict=True))
    assert bool((at_scale(alone, of_single, "it") == single).all())


def test_ordinary_vectors_stay():
    vector = (np.eye(3), 7 * np.ones((3, 2)))
    unit, exponent = at_unit_scale(20, vector)
    assert unit is vector
    assert exponent == 0
    assert at_scale(vector, exponent, "it") is vector


def test_every_item_has_its_own_unit():
    rng = np.random.default_rng(2)
    sizes = np.array([-900.0, 0.0, 800.0, 0.0])
    batch = times_power(rng.normal(size=(4, 3, 3)), sizes)
    batch[3] = 0
    unit, exponent = at_unit_scale(2, batch)
    assert (abs(unit[:3]).max(axis=(1, 2)) <= 1).all()
    assert (abs(unit[:3]).max(axis=(1, 2)) >= 0.5).all()
    assert exponent[3] == 0
    np.testing.assert_array_equal(at_scale(unit, exponent, "it"), batch)


def test_single_precision_has_a_shorter_range():
    matrix = torch.full((2, 2), 1e-20)
    unit, exponent = at_unit_scale(6, matrix)
    assert 0.5 <= float(unit.max()) <= 1
    assert unit.dtype == torch.float32
    with pytest.raises(ValueError, match=r"size 1e-60 .* use double precision|of size 1e-60"):
        at_scale(unit**3, 3 * exponent, "the cube")


def test_what_is_differentiated_stays():
    def cube(x):
        unit, exponent = at_unit_scale(3, x, axes=1)
        assert exponent == 0
        return at_scale(anp.sum(unit**3), 3 * exponent, "it", axes=0)

    slope = autograd.grad(cube)(np.array([1e-90]))
    np.testing.assert_allclose(slope, [3e-180], rtol=1e-14)


@pytest.mark.parametrize(("exponent", "size"), [(1500.0, "1e45[12]"), (-1500.0, "1e-45[12]")])
def test_what_is_out_of_range_is_named(exponent, size):
    unit = np.array([[1.0, 0.5], [2.0, 1.0], [0.0, 0.0]])
    exponents = np.array([0.0, exponent, exponent])
    message = rf"the thing is out of range \(1 of 3, the first at index \[1\]\): .* size {size}\."
    with pytest.raises(ValueError, match=message):
        at_scale(unit, exponents, "the thing", axes=1)
    # Zero has every scale, and small entries beside larger ones may vanish.
    kept = at_scale(np.array([[1.0, 1e-200], [0.0, 0.0]]), np.array([-900.0, exponent]), "it", 1)
    np.testing.assert_array_equal(kept, [[math.ldexp(1, -900), 0], [0, 0]])


def test_arrays_may_have_exponents_of_their_own():
    unit = (np.ones((1, 1)), np.ones((1, 1)))
    first, second = at_scale(unit, [np.array(3.0), np.array(-1.5)], "it")
    assert float(first[0, 0]) == 8
    np.testing.assert_allclose(second, 2**-1.5, rtol=1e-15)
    with pytest.raises(ValueError, match="out of range"):
        at_scale(unit, [0, np.array(2000.0)], "it")


def test_squares():
    np.testing.assert_array_equal(square(np.array([3.0, 0.0, 1e-154]), "it"), [9, 0, 1e-154**2])
    for number in (1e-200, 1e200):
        with pytest.raises(ValueError, match=f"size 1e{'-' if number < 1 else ''}400"):
            square(np.array([1.0, number]), "the square")
