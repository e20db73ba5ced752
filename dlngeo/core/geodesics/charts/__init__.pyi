from .balanced_chart import BalancedChart as BalancedChart
from .chart import Chart as Chart
from .chart import ObservableChart as ObservableChart
from .depth_root_chart import DepthRootChart as DepthRootChart
from .logarithmic_chart import LogarithmicChart as LogarithmicChart
from .straight_chart import StraightChart as StraightChart
