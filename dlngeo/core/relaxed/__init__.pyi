from .strings import RelaxedNetwork as RelaxedNetwork
from .strings import intrinsic_network as intrinsic_network
from .strings import relaxed_network as relaxed_network
