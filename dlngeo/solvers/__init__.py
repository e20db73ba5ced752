"""Solvers: things that run for a while, and return a frozen result with a status."""

from dlngeo.sampling.driver import LangevinResult, langevin
from dlngeo.solvers.balancing import BalancingFlow, balancing_flow
from dlngeo.solvers.learning import FlowResult, learning_flow
from dlngeo.solvers.least_squares import LeastSquaresProblem
from dlngeo.solvers.losses import (
    Factorization,
    LinearRegression,
    MatrixCompletion,
    MatrixSensing,
    SparseMatrixCompletion,
)
from dlngeo.solvers.optimization import Minimum, minimize
from dlngeo.solvers.relu_flow import ReluFlow, relu_flow

__all__ = [
    "BalancingFlow",
    "Factorization",
    "FlowResult",
    "LangevinResult",
    "LeastSquaresProblem",
    "LinearRegression",
    "MatrixCompletion",
    "MatrixSensing",
    "Minimum",
    "ReluFlow",
    "SparseMatrixCompletion",
    "balancing_flow",
    "langevin",
    "learning_flow",
    "minimize",
    "relu_flow",
]
