"""Arrays of any library, derivative rules, vectors of layers, checks.

Kernels take arrays of NumPy, autograd, PyTorch or JAX with batches in front, shape=[..., m, n],
and give arrays of the same library and type.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
