from . import path_lifting as path_lifting
from . import rescaling as rescaling
from .recovery import intrinsic_kernel as intrinsic_kernel
from .recovery import recover as recover
from .relu_graph import network_of_graph as network_of_graph
from .relu_module import network_of_module as network_of_module
from .relu_network import ReluNetwork as ReluNetwork
