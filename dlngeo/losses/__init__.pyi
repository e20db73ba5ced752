from .linear_measurements import Factorization as Factorization
from .linear_measurements import LeastSquares as LeastSquares
from .linear_measurements import LinearRegression as LinearRegression
from .linear_measurements import MatrixSensing as MatrixSensing
from .observed_entries import MatrixCompletion as MatrixCompletion
from .observed_entries import SparseMatrixCompletion as SparseMatrixCompletion
