"""Functions that need optional libraries: the one way in which they are taken in."""

import functools
import importlib
import importlib.util
from collections.abc import Callable


def on_demand(module: str, name: str) -> Callable:
    """Return a function of a module that needs an optional library.

    It is imported when it is asked for: most sessions never need it.
    """
    return getattr(importlib.import_module(module), name)


@functools.cache
def compiled_loop(module: str, name: str) -> Callable | None:
    """Return a loop of a module that needs Numba; None where Numba is not installed."""
    return None if importlib.util.find_spec("numba") is None else on_demand(module, name)
