from .formats import LinearSystem as LinearSystem
from .gramians import controllability_gramian as controllability_gramian
from .gramians import hankel_singular_values as hankel_singular_values
from .gramians import observability_gramian as observability_gramian
from .realizations import BalancedRealization as BalancedRealization
from .realizations import balanced_realization as balanced_realization
from .realizations import balanced_truncation as balanced_truncation
from .stability import ROUND_OFF as ROUND_OFF
