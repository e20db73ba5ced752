from .conjugate_gradients import conjugate_gradient as conjugate_gradient
from .derivatives import jacobian as jacobian
from .derivatives import pull as pull
from .derivatives import push as push
from .integration import Status as Status
from .integration import Trajectory as Trajectory
from .integration import integrate as integrate
from .shooting import shoot as shoot
