"""Samplers of the laws of deep linear networks at a temperature."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
