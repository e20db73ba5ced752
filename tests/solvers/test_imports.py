"""What the solvers load: a flow needs no optimiser, and a loss no library but its own."""

import subprocess
import sys

import pytest

HEAVY = ("sklearn", "pandas", "pymanopt", "torch", "jax", "matplotlib")


@pytest.mark.parametrize(
    "statement",
    [
        "import dlngeo.losses",
        "from dlngeo.solvers import Factorization",
        "from dlngeo import learning_flow",
        "from dlngeo import balancing_flow, relu_flow",
        "from dlngeo.solvers import sgd, forced_geodesic",
    ],
)
def test_what_is_loaded(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert loaded == "[]"
