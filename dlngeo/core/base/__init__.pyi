from .arrays import Array as Array
from .arrays import from_numpy as from_numpy
from .arrays import is_traced as is_traced
from .arrays import namespace as namespace
from .arrays import real_array as real_array
from .arrays import to_numpy as to_numpy
from .primitives import Primitive as Primitive
from .primitives import scalar_primitive as scalar_primitive
