"""Riemannian geometry of deep linear networks.

The core kernels are functions of arrays of any library (``dlngeo.core``); the manifolds
are classes of geomstats and pymanopt (``dlngeo.manifolds``); linear systems are networks
of depth two (``dlngeo.systems``); the solvers run for a while (``dlngeo.solvers``). Names are
loaded when they are first used.
"""

import lazy_loader

from dlngeo.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["core", "intrinsic", "manifolds", "sampling", "solvers", "systems"],
    submod_attrs={
        "core.network": ["balance", "end_to_end", "factorize", "moment_map"],
        "core.thermodynamics": ["entropy", "free_energy"],
        "intrinsic": ["ReluNetwork", "check_conservation", "conservation_laws"],
        "manifolds": [
            "BalancedFactors",
            "BalancedManifold",
            "DeepFixedRank",
            "DepthMetric",
            "Fibre",
            "FixedRankMatrices",
            "OrbitAction",
            "from_geomstats",
        ],
        "solvers": ["balancing_flow", "langevin", "learning_flow", "minimize", "relu_flow"],
    },
)
