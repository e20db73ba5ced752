"""Solvers: things that run for a while, and return a frozen result with a status."""

from dlngeo.core.network_samples import NetworkSamples
from dlngeo.core.samples import SampleLosses
from dlngeo.sampling.driver import LangevinResult, langevin
from dlngeo.solvers.balancing import BalancingFlow, balancing_flow
from dlngeo.solvers.forced_geodesics import ForcedGeodesic, forced_geodesic
from dlngeo.solvers.geodesic_deviation import GeodesicDeviation, geodesic_deviation
from dlngeo.solvers.learning import FlowResult, learning_flow
from dlngeo.solvers.least_squares import LeastSquaresProblem
from dlngeo.solvers.losses import (
    Factorization,
    LinearRegression,
    MatrixCompletion,
    MatrixSensing,
    SparseMatrixCompletion,
)
from dlngeo.solvers.noise_spectrum import NoiseSpectrum, noise_spectrum
from dlngeo.solvers.optimization import Minimum, minimize
from dlngeo.solvers.relu_flow import ReluFlow, relu_flow
from dlngeo.solvers.sgd import NoisyPaths, SGDComparison, compare_sgd, sgd, sgd_diffusion

__all__ = [
    "BalancingFlow",
    "Factorization",
    "FlowResult",
    "ForcedGeodesic",
    "GeodesicDeviation",
    "LangevinResult",
    "LeastSquaresProblem",
    "LinearRegression",
    "MatrixCompletion",
    "MatrixSensing",
    "Minimum",
    "NetworkSamples",
    "NoiseSpectrum",
    "NoisyPaths",
    "ReluFlow",
    "SGDComparison",
    "SampleLosses",
    "SparseMatrixCompletion",
    "balancing_flow",
    "compare_sgd",
    "forced_geodesic",
    "geodesic_deviation",
    "langevin",
    "learning_flow",
    "minimize",
    "noise_spectrum",
    "relu_flow",
    "sgd",
    "sgd_diffusion",
]
