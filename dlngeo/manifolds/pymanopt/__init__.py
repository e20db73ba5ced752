"""Manifolds in the grammar of pymanopt, over NumPy arrays.

Where a method has no docstring here, that of pymanopt holds (``help`` shows it). Points and vectors
of other shapes, with NaN or infinite entries are a ValueError. Points and vectors that are
tuples of arrays are vectors: they add up and scale. `typical_dist` is of the order of the
distance of a point from zero; random points and vectors are drawn by NumPy's global generator, as
pymanopt's.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
