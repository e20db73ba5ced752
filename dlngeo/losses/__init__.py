"""Losses ``E(X)`` of the end-to-end matrix, with their gradients.

``loss(X)`` is the value, shape=[...], and ``loss.gradient(X)`` the Euclidean gradient,
shape=[..., m, n], at matrices ``X`` of shape ``[..., m, n]``. All but the sparse one are made of
array operations only, so NumPy, autograd, PyTorch and JAX arrays serve, if data and argument
are of one library. A function of matrices in any of them serves as a loss too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
