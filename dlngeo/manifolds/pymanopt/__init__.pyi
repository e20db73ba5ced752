from .balanced_factors import BalancedFactors as BalancedFactors
from .deep_fixed_rank import DeepFixedRank as DeepFixedRank
from .geomstats_spaces import from_geomstats as from_geomstats
