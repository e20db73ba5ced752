from .diffusion import DiffusionGeometry as DiffusionGeometry
from .diffusion import Submanifold as Submanifold
from .graph_metric import Products as Products
from .network_samples import NetworkSamples as NetworkSamples
from .samples import SampleLosses as SampleLosses
