from .affine_modules import linear_runs as linear_runs
from .balancing import balance_module as balance_module
from .depth_sgd import DepthSGD as DepthSGD
