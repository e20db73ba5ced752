"""Solvers: things that run for a while, and return a frozen result with a status."""

from dlngeo.solvers.learning import FlowResult, learning_flow
from dlngeo.solvers.losses import (
    Factorization,
    LinearRegression,
    MatrixCompletion,
    MatrixSensing,
)

__all__ = [
    "Factorization",
    "FlowResult",
    "LinearRegression",
    "MatrixCompletion",
    "MatrixSensing",
    "learning_flow",
]
