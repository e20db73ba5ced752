"""The import of geomstats 2.8 under NumPy 2.4 and later.

Its backends take ``trapz`` from NumPy, which removed the old name of ``trapezoid`` in version 2.4,
and need nothing else that later versions lack. The name is there while a backend is loaded, by
whoever it is imported first, and is gone afterwards; NumPy is as it was.
"""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_BACKENDS = {
    "geomstats._backend.numpy": ("numpy",),
    "geomstats._backend.autograd": ("numpy", "autograd.numpy"),
}
"""The libraries from which a backend takes ``trapz``."""


class BackendFinder:
    """Finds the backends of geomstats, to load them beside the name that they expect."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is loaded; None for all that is no such backend."""
        if name not in _BACKENDS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = functools.partial(_load, spec.loader.exec_module, _BACKENDS[name])
            spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec


def _load(
    execute: Callable[[ModuleType], None], libraries: tuple[str, ...], module: ModuleType
) -> None:
    # All are imported before any has the name: autograd copies those of NumPy.
    lacking = [importlib.import_module(library) for library in libraries]
    with contextlib.ExitStack() as names:
        for library in lacking:
            names.enter_context(_old_name(library))
        execute(module)


@contextlib.contextmanager
def _old_name(library: ModuleType) -> Iterator[None]:
    """Name ``trapezoid`` also ``trapz``, where this is no name any more."""
    if hasattr(library, "trapz"):
        yield
        return
    library.trapz = library.trapezoid  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del library.trapz  # type: ignore[attr-defined]


def install() -> None:
    """Let geomstats be imported from now on."""
    if BackendFinder not in sys.meta_path:
        sys.meta_path.insert(0, BackendFinder)
