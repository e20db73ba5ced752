"""Solvers: things that run for a while, and return a frozen result with a status.

Integrators and optimisers are those of SciPy and pymanopt: flows and minima of arrays of any
library come back as NumPy's, in double precision.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
