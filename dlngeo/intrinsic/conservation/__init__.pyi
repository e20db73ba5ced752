from .drift import check_conservation as check_conservation
from .law_spaces import conservation_laws_of as conservation_laws_of
from .law_spaces import polynomial_laws as polynomial_laws
from .laws import conservation_laws as conservation_laws
from .polynomials import network_polynomials as network_polynomials
