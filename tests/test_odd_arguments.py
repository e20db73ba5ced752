"""Odd arguments of public functions: a right result, or a clear error of this package."""

import dataclasses
import math
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from dlngeo.core.geodesics import balanced_dist, dist_pairwise
from tests.public_calls import CALLS as PLAIN
from tests.public_calls import DEPTH, RELU, THETA, Call, W
from tests.public_calls_of_objects import CALLS as WITH_OBJECTS

CALLS = PLAIN | WITH_OBJECTS

JUDGES = {
    *("belongs", "is_tangent"),
    *("Factorization", "MatrixCompletion", "LinearRegression", "MatrixSensing"),
    *("SparseMatrixCompletion", "NetworkSamples"),
    *("WeightDecay", "DoubleWell", "SpectralExpression", "from_factors"),
    *("gradients", "hvp", "losses"),
}
"""What judges arrays that are not finite too: spaces, and losses of their last argument."""


class Subclass(np.ndarray):
    """Arrays of which products mean another thing."""

    def __mul__(self, other: Any) -> Any:
        raise AssertionError

    __rmul__ = __matmul__ = __mul__


def spoilt(array: np.ndarray, value: float) -> np.ndarray:
    result = array.copy()
    result.flat[-1] = value
    return result


def masked(array: np.ndarray) -> Any:
    mask = np.zeros(array.shape, dtype=bool)
    mask.flat[0] = True
    return np.ma.masked_array(array, mask)


# What is never taken.
REFUSED: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": lambda a: spoilt(a, math.nan),
    "infinite": lambda a: spoilt(a, math.inf),
    "masked": masked,
    "objects": lambda a: a.astype(object),
    "texts": lambda a: a.astype(str),
    "half precision": lambda a: a.astype(np.float16),
    "complex": lambda a: a * (1 + 1j),
    "booleans": lambda a: a > 0,
    "dates": lambda a: a.astype("datetime64[s]"),
    "meta tensor": lambda a: torch.ones(a.shape, device="meta"),
    "bfloat tensor": lambda a: torch.tensor(a).bfloat16(),
    "sparse tensor": lambda a: torch.tensor(a).to_sparse(),
    "text": lambda a: "abc",
    "function": lambda a: len,
    "mapping": lambda a: {},
}
# What may have a meaning.
ODD: dict[str, Callable[[np.ndarray], Any]] = {
    "None": lambda a: None,
    "number": lambda a: 3.0,
    "sparse": lambda a: scipy.sparse.csr_array(a.reshape(-1, a.shape[-1])),
    "other shape": lambda a: a[..., :-1],
    "scalar": lambda a: np.array(1.0),
}
# What is the same.
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "column order": np.asfortranarray,
    "byte order": lambda a: a.astype(">f8"),
    "subclass": lambda a: a.view(Subclass),
    "nothing masked": lambda a: np.ma.masked_array(a, False),
}
NO_NUMBERS = [True, np.True_, "3", b"3", math.nan, 2 + 1j, [3], {}, 10**400]
NO_TEXTS = [3, "nope", b"l2", ["l2"], None]
NO_WIDTHS = [
    3,
    "333",
    {},
    (3,),
    (3, -1, 3),
    (3, 0, 3),
    (3, 2.5, 3),
    (3, math.nan, 3),
    (3, 3j, 3),
    (True, True, True),
    ("3", "3", "3"),
    (3, 10**9, 3),
    (10**9, 10**9, 10**9),
    (3,) * 200_000,
]


NO_FLAGS = [3, "yes", None, [], math.nan, np.array([1, 2])]
NO_OBJECTS = [3, "abc", {}, np.eye(3), len, type(DEPTH), DEPTH, DEPTH.metric, RELU]
NO_FUNCTIONS = [3, "abc", {}, [1], np.eye(3), torch.ones(3), type(DEPTH)]
# What no function may return, and what may have a meaning.
NO_RESULTS: dict[str, Callable[[Any], Any]] = {
    "text": lambda result: "abc",
    "nothing": lambda result: None,
    "mapping": lambda result: {0: 1.0},
    "complex": lambda result: np.asarray(result) * 1j,
    "objects": lambda result: np.asarray(result).astype(object),
    "texts": lambda result: np.asarray(result).astype(str),
    "masked": lambda result: np.ma.masked_array(result, True),
    "other shape": lambda result: np.stack([np.asarray(result)] * 2, axis=-1),
}
ODD_RESULTS: dict[str, Callable[[Any], Any]] = {
    "NaN": lambda result: result * math.nan,
    "list": lambda result: np.asarray(result).tolist(),
    "tensor": lambda result: torch.tensor(np.asarray(result)),
    "single": lambda result: np.asarray(result, dtype=np.float32),
}


def returning(change: Callable, function: Callable) -> Callable:
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def cases_of_functions(place: int | str, function: Callable) -> Iterator[tuple[Any, str, Any]]:
    # Schedules, events and offsets may be numbers, and polynomials a list of numbers.
    may_be_numbers = function.__name__ in ("rising", "shrinking", "margin", "polynomials")
    for odd in NO_FUNCTIONS:
        yield place, "odd" if may_be_numbers else "refused", odd
    if function.__name__ in ("decay_at", "recorded", "polynomials", "task") or place == "stop":
        return  # it returns an object, or what is true
    for what, change in NO_RESULTS.items():
        # Of maps all axes are one, of means there may be more.
        may_be = what == "other shape" and function.__name__ in ("lift", "law", "first", "rising")
        yield place, "odd" if may_be else "refused", returning(change, function)
    for change in ODD_RESULTS.values():
        yield place, "odd", returning(change, function)


def cases(name: str, call: Call) -> Iterator[tuple[int | str, str, Any]]:
    """Yield places, what is to happen, and odd values."""
    is_judge = name.rpartition(".")[-1] in JUDGES
    last = next(reversed(call.arguments))
    for place, value in call.arguments.items():
        if isinstance(value, np.ndarray) and value.dtype == float:
            for what, change in REFUSED.items():
                is_judged = is_judge and (
                    place == last or "manifolds" in name or "NetworkSamples." in name
                )
                if not (is_judged and what in ("NaN", "infinite")):
                    yield place, "refused", change(value)
            yield from ((place, "odd", change(value)) for change in ODD.values())
            yield from ((place, "same", change(value)) for change in SAME.values())
        elif isinstance(value, int | float) and not isinstance(value, bool) and place != "dt":
            # Every integer is a seed, and inverse temperatures may be several.
            taken: dict[Any, int] = {"rng": 8, "seed": 8, "beta": 6}
            for position, odd in enumerate(NO_NUMBERS):
                if taken.get(place) != position:
                    yield place, "refused", odd
        elif isinstance(value, bool):
            yield from ((place, "refused", odd) for odd in NO_FLAGS)
        elif isinstance(value, types.FunctionType):
            yield from cases_of_functions(place, value)
        elif isinstance(value, str):
            yield from ((place, "refused", odd) for odd in NO_TEXTS)
        elif isinstance(value, tuple) and len(value) > 1 and all(type(x) is int for x in value):
            yield from ((place, "refused", odd) for odd in NO_WIDTHS)
        elif type(value).__module__.startswith(("dlngeo", "geomstats", "torch")):
            for odd in NO_OBJECTS:
                if type(odd) is not type(value):
                    yield place, "refused", odd


def is_clear(error: Exception) -> bool:
    """Tell if an error is one of this package: if one of its lines raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if "public_calls" in last.filename:  # by the function that was given
        return True
    return "/dlngeo/" in last.filename and (last.line or "").startswith("raise")


def leaves(result: Any) -> Iterator[np.ndarray]:
    """Yield the numbers of a result."""
    if isinstance(result, bool | int | float | np.generic | np.ndarray):
        yield np.asarray(result, dtype=float)
    elif isinstance(result, tuple | list):
        for item in result:
            yield from leaves(item)
    elif dataclasses.is_dataclass(result):
        names = [field.name for field in dataclasses.fields(result)]
        yield from leaves([getattr(result, name) for name in names if name != "seconds"])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments(name):
    call = CALLS[name]
    expected = list(leaves(call()))
    failures = []
    for place, meaning, value in cases(name, call):
        came = f"{place}: {type(value).__name__} {value!s:.40}"
        try:
            found = list(leaves(call({place: value})))
        except (IndexError, TypeError, ValueError, NotImplementedError) as error:
            if meaning == "same" or not is_clear(error):
                failures.append(f"{came} raised {error!r:.150}")
        except Exception as error:
            failures.append(f"{came} raised {error!r:.150}")
        else:
            if meaning == "refused":
                failures.append(f"{came} passed")
            elif meaning == "same":
                pairs = zip(found, expected, strict=True)
                if not all(
                    np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs
                ):
                    failures.append(f"{came} gives another result")
    assert not failures, "\n".join(failures)


FLAT = np.diag([2.0, 1.0, 0.0])
ACROSS = np.diag([1.0, 1.0, -1.0])
OF_BATCHES: dict[str, tuple[np.ndarray, int | str, str]] = {
    "core.networks.balance": (np.stack([FLAT] * 3), 0, "expected rank 3"),
    "core.networks.act": (np.stack([FLAT] * 2), 0, "singular"),
    "core.balanced.align": (W, 0, "off by"),
    "core.balanced.tangent_projection": (W, 0, "off by"),
    "core.depth_metric.christoffel": (FLAT, 0, "expected rank 3"),
    "core.depth_metric.lower_index": (FLAT, 0, "expected rank 3"),
    "core.depth_metric.ricci": (FLAT, 0, "expected rank 3"),
    "core.fibres.algebra_element": (W, 1, "not tangent"),
    "core.fibres.kempf_ness": (np.stack([FLAT] * 2), 1, "singular"),
    "core.geodesics.connect": (FLAT, 1, "expected rank 3"),
    "core.geodesics.log": (-CALLS["core.geodesics.log"].arguments[1], 1, "opposite signs"),
    "core.geodesics.dist": (FLAT, 0, "expected rank 3"),
    "core.geodesics.exp": (-4 * CALLS["core.geodesics.exp"].arguments[0], 1, "ends at time"),
    "core.geodesics.balanced_exp": (W, 0, "off by"),
    "thermodynamics.entropy": (FLAT, 0, "expected rank 3"),
    "thermodynamics.log_volume_density": (FLAT, 0, "expected rank 3"),
    "intrinsic.relu.rescaling.rescale": (np.array([1.0, 0.0, 2.0]), 2, "zero"),
    "intrinsic.relu.rescaling.scales_to": (0 * THETA, 1, "no path"),
    "manifolds.DepthMetric.parallel_transport": (FLAT, 1, "expected rank 3"),
    "manifolds.BalancedMetric.scalar_curvature": (W, 0, "off by"),
    "manifolds.Fibre.projection": (1e3 * W, 0, "Newton"),
}


@pytest.mark.parametrize("name", OF_BATCHES)
def test_bad_ones_of_a_batch_are_named(name):
    """Of a batch of two axes, also where the other arguments have none."""
    bad, place, text = OF_BATCHES[name]
    batch = np.stack([np.stack([CALLS[name].arguments[place]] * 2)] * 3)
    batch[2, 1] = bad
    with pytest.raises(ValueError, match=rf"(?s)({text}).*the first at index \[2, 1(, \d)*\]"):
        CALLS[name]({place: batch})


def test_bad_pairs_of_many_are_named():
    """Of all pairs of points these two, and of pairs in a batch that one."""
    with pytest.raises(ValueError, match=r"signs \(4 of 9, the first at index \[0, 1\]\)"):
        dist_pairwise(np.stack([np.eye(3), ACROSS, 2 * np.eye(3)]), 2)
    with pytest.raises(ValueError, match=r"expected rank 3.*\(1 of 3, the first at index \[2\]\)"):
        dist_pairwise(np.stack([np.eye(3), 2 * np.eye(3), FLAT]), 2)
    ends = np.stack([np.eye(2)] * 5).reshape(5, 1, 2, 2)
    ends[3, 0] = -ACROSS[1:, 1:]
    with pytest.raises(ValueError, match=r"opposite signs \(1 of 5, the first at index \[3\]\)"):
        balanced_dist(np.stack([np.eye(2)]), ends)


def test_there_are_many():
    count = sum(len(list(cases(name, call))) for name, call in CALLS.items())
    assert count > 3000


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("core.networks.act", 1e300),
        ("core.networks.infinitesimal_action", 1e300),
        ("core.depth_metric.raise_index", 1e150),
        ("intrinsic.relu.path_lifting.lift", 1e300),
        ("intrinsic.relu.path_lifting.pullback", 1e150),
        ("intrinsic.relu.path_lifting.jacobian_product", 1e150),
        ("intrinsic.relu.path_lifting.path_norm", 1e150),
        ("intrinsic.relu.rescaling.conserved_values", 1e300),
    ],
)
def test_what_overflows_says_so(name, scale):
    call = CALLS[name]
    scaled = {
        place: scale * value
        for place, value in call.arguments.items()
        if isinstance(value, np.ndarray)
    }
    with pytest.raises(ValueError, match=r"overflows|out of range"):
        call(scaled)
