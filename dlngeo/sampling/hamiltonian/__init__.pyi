from .balanced_system import BalancedSystem as BalancedSystem
from .root_systems import DepthRootSystem as DepthRootSystem
from .root_systems import ObservableSystem as ObservableSystem
