"""Fibres of the end-to-end map, and the Kempf–Ness function on them.

Factors need not be balanced; they and their velocities are of shape=[..., N, d, d] or sequences of
shape=[..., d_p, d_{p-1}], and results are of the kind of the factors.
Shapes that do not fit are refused by a ValueError.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
