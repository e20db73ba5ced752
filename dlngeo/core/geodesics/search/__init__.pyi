from .bounds import lower_bound as lower_bound
from .turns import Turns as Turns
from .turns import shortest_turns as shortest_turns
