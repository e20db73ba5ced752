"""Relaxed balanced networks and their metric.

A `RelaxedNetwork` says what offsets, widths and rank tell; matrices have shape=[..., d_N, d_0].
The metric and its geodesics take networks that `strings.check_intrinsic` lets pass.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
