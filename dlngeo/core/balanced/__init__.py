"""The balanced manifold: tangent spaces, bases, curvature, alignment.

Factors are balanced, of shape=[..., N, d, d] or a sequence of shape=[..., d_p, d_{p-1}], vectors
have the same shapes, and results are of the kind of the factors. ``rank=None`` means the smallest
width. Factors that are not balanced of the rank are refused by a ValueError.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
