from .run import LangevinResult as LangevinResult
from .run import langevin as langevin
from .temperatures import Ladder as Ladder
