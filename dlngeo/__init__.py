"""Riemannian geometry of deep linear networks.

The kernels are functions of arrays of any library (``dlngeo.core``); the manifolds are classes
of geomstats and pymanopt (``dlngeo.manifolds``); ``dlngeo.thermodynamics`` holds entropy and
equilibrium, ``dlngeo.intrinsic`` conservation laws and ReLU networks, ``dlngeo.systems`` linear
systems, which are networks of depth two; ``dlngeo.losses`` holds losses of the end-to-end
matrix, ``dlngeo.networks`` serves networks as people train them, and ``dlngeo.torch`` those of
PyTorch; ``dlngeo.sampling`` draws from laws, ``dlngeo.solvers`` run for a while, and
``dlngeo.plotting`` draws figures. Names are loaded when they are first used.
"""

import lazy_loader

from dlngeo import geomstats_import
from dlngeo.version import __version__ as __version__

geomstats_import.install()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
