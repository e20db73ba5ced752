"""Figures of the geometry: each draws into the axes that it is given, or into the current ones."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
