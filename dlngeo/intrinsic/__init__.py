"""Intrinsic dynamics of training: conservation laws, and when they close the equation of ``φ``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
