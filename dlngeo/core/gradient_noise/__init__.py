"""Metrics from the covariance of stochastic gradients.

Parameters and vectors are one vector each, shape=[..., D]; what belongs to samples has
shape=[..., n].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
