"""Solvers: things that run for a while, and return a frozen result with a status."""

from dlngeo.core.network_samples import NetworkSamples
from dlngeo.core.samples import SampleLosses
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
from dlngeo.solvers.sgd import NoisyPaths, SGDComparison, compare_sgd, sgd, sgd_diffusion

__all__ = [
    "BalancingFlow",
    "Factorization",
    "FlowResult",
    "ForcedGeodesic",
    "GeodesicDeviation",
    "LeastSquaresProblem",
    "LinearRegression",
    "MatrixCompletion",
    "MatrixSensing",
    "Minimum",
    "NetworkSamples",
    "NoiseSpectrum",
    "NoisyPaths",
    "SGDComparison",
    "SampleLosses",
    "SparseMatrixCompletion",
    "balancing_flow",
    "compare_sgd",
    "forced_geodesic",
    "geodesic_deviation",
    "learning_flow",
    "minimize",
    "noise_spectrum",
    "sgd",
    "sgd_diffusion",
]
