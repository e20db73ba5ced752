"""Compiled loops, which need the extra ``fast``: the one way in which they are taken in."""

import functools
import importlib
import importlib.util
from collections.abc import Callable


@functools.cache
def compiled_loop(module: str, name: str) -> Callable | None:
    """Return a loop of a module that needs Numba; None where Numba is not installed.

    It is imported when it is first asked for: Numba takes a while, and most sessions never need
    it.
    """
    if importlib.util.find_spec("numba") is None:
        return None
    return getattr(importlib.import_module(module), name)
