"""Without an optional library, what needs it says which extra to install."""

import subprocess
import sys

import pytest

NEEDS = {
    "from dlngeo.torch import balance_module": "torch",
    "import dlngeo.modules": "torch",
    "from dlngeo.intrinsic.relu import network_of_module": "torch",
    "from dlngeo.sampling import to_inference_data; to_inference_data(None)": "sampling",
    "from dlngeo.sampling.hamiltonian import DepthRootSystem": "sampling",
}


@pytest.mark.parametrize("code", NEEDS)
def test_the_error_names_the_extra(code):
    library = "torch" if NEEDS[code] == "torch" else "mici" if "hamiltonian" in code else "arviz"
    missing = f"import sys; sys.modules[{library!r}] = None; "
    done = subprocess.run(
        [sys.executable, "-c", missing + code], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"pip install 'dlngeo[{NEEDS[code]}]'" in last
