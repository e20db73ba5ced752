from .balancing import balance_module as balance_module
from .depth_sgd import DepthSGD as DepthSGD
