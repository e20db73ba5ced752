from .geodesics import plot_geodesic_circles as plot_geodesic_circles
from .networks import plot_loss_paths as plot_loss_paths
from .networks import plot_report as plot_report
from .singular_values import plot_over_singular_values as plot_over_singular_values
from .style import STYLE as STYLE
from .style import depth_colour as depth_colour
from .thermodynamics import plot_thermodynamics as plot_thermodynamics
