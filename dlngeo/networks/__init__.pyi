from .exact_curves import ExactLearning as ExactLearning
from .exact_curves import exact_learning as exact_learning
from .linear_network import LinearNetwork as LinearNetwork
