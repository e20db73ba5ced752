"""Manifold classes over the core: thin, in the grammar of geomstats."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "balanced": ["BalancedManifold", "BalancedMetric"],
        "balanced_factors": ["BalancedFactors"],
        "deep_fixed_rank": ["DeepFixedRank"],
        "depth_metric": ["DepthMetric"],
        "fibre": ["Fibre", "FibreMetric", "GroupMetric"],
        "fixed_rank": ["FixedRankMatrices"],
        "geomstats_spaces": ["from_geomstats"],
        "quotient": ["OrbitAction", "OrbitBundle"],
        "relaxed_depth_metric": ["RelaxedDepthMetric"],
    },
)
