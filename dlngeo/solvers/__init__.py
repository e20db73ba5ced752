"""Solvers: things that run for a while, and return a frozen result with a status."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
