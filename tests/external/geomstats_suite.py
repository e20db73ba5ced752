"""Run the test cases that geomstats ships on spaces of ours.

geomstats' own runner retries a failing random test and draws sizes at import. Here every
law of a test case runs once, with fixed sizes and a fixed seed.
"""

import inspect
import zlib
from collections.abc import Sequence

import geomstats.backend as gs
import pytest
from geomstats.test.random import RandomDataGenerator

SIZES = {"n_points": (1, 3), "n_reps": (2,), "n_times": (1, 3)}
LAWS = {"random", "vec", "shape", "mathprop"}


def laws(test_case: type, exempt: dict[str, str]) -> list:
    """Return the laws of a test case as parameters ``(name, arguments)``.

    Laws need no expected value; geomstats marks them. Those in ``exempt`` are left out,
    with the reason; a name that is no law is an error.
    """
    names = {
        name
        for name, function in inspect.getmembers(test_case, inspect.isfunction)
        if LAWS & {mark.name for mark in getattr(function, "pytestmark", [])}
    }
    unknown = set(exempt) - names
    assert not unknown, f"{sorted(unknown)} are no laws of {test_case.__name__}"
    parameters = []
    for name in sorted(names - set(exempt)):
        wanted = inspect.signature(getattr(test_case, name)).parameters
        sizes = [size for size in SIZES if size in wanted]
        for arguments in _products(sizes):
            label = "-".join([name, *[f"{key}={value}" for key, value in arguments.items()]])
            parameters.append(pytest.param(name, arguments, id=label))
    return parameters


def laws_on(cases: Sequence, test_case: type, exempt: dict[str, str]) -> list:
    """Return every law on every case, as parameters ``(*case, name, arguments)``.

    The sizes alternate from case to case: with as many cases as combinations of sizes, each law
    has all of them.
    """
    sizes: dict[str, list] = {}
    for law in laws(test_case, exempt):
        sizes.setdefault(law.values[0], []).append(law)
    return [
        pytest.param(*case.values, *law.values, id=f"{case.id}-{law.id}")
        for i, case in enumerate(cases)
        for j, options in enumerate(sizes.values())
        for law in [options[(i + j) % len(options)]]
    ]


def _products(sizes: list[str]) -> list[dict[str, int]]:
    combinations: list[dict[str, int]] = [{}]
    for size in sizes:
        combinations = [
            {**combination, size: value} for combination in combinations for value in SIZES[size]
        ]
    return combinations


def check(test_case, name: str, arguments: dict[str, int], atol: float) -> None:
    """Run one law of a prepared test case, with a seed of its own."""
    gs.random.seed(zlib.crc32(name.encode()))
    test_case.setup_method()
    law = getattr(test_case, name)
    if "atol" in inspect.signature(law).parameters:
        law(**arguments, atol=atol)
    else:
        law(**arguments)


def partial_identity(shape: tuple[int, int], rank: int):
    """Return the matrix of a rank whose singular values are one, as near the identity as can be."""
    return gs.eye(shape[0], rank) @ gs.eye(rank, shape[1])


class Neighbourhood(RandomDataGenerator):
    """Random points near a centre, and vectors short enough to stay inside the space.

    Two random points of ours need not be joined by a path, since square matrices of full rank
    have two components, nor by one shortest geodesic; and long vectors lead out of a space
    that ends where a singular value vanishes. The singular values of the centre are one.
    """

    def __init__(self, space, centre):
        # geomstats divides random vectors by the amplitude.
        super().__init__(space, amplitude=8.0)
        self._centre = centre

    def random_point(self, n_points=1):
        """Project a centre with noise on the space."""
        batch = () if n_points == 1 else (n_points,)
        noise = gs.random.normal(size=(*batch, *self.space.shape))
        return self.space.projection(self._centre + 0.15 * noise)
