"""Samplers of the laws of deep linear networks at a temperature.

Chains that start from arrays of any library come back as NumPy's, in double precision; energies
get arrays of the library that they are of.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
