"""The losses of `dlngeo.losses`, beside the solvers that take them."""

from dlngeo.losses.linear_measurements import Factorization as Factorization
from dlngeo.losses.linear_measurements import LinearRegression as LinearRegression
from dlngeo.losses.linear_measurements import MatrixSensing as MatrixSensing
from dlngeo.losses.observed_entries import MatrixCompletion as MatrixCompletion
from dlngeo.losses.observed_entries import SparseMatrixCompletion as SparseMatrixCompletion
