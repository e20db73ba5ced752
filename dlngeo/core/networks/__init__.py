"""Deep linear networks: factors, singular frames, Jacobi matrices, balancing.

A network of widths ``(d_0, ..., d_N)`` has factors in the order in which data flow,
``factors[0] = W_1``: one array of shape=[..., N, d, d] if all widths are equal, or a sequence of
shape=[..., d_p, d_{p-1}]. Functions take both, and answer in kind. ``rank=None`` means full.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
