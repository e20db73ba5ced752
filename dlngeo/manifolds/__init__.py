"""Manifold classes over the core: thin, in the grammar of geomstats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "balanced": ["BalancedManifold", "BalancedMetric"],
        "deep_fixed_rank": ["DeepFixedRank"],
        "depth_metric": ["DepthMetric"],
        "fixed_rank": ["FixedRankMatrices"],
        "quotient": ["OrbitAction", "OrbitBundle"],
    },
)
