"""What `import dlngeo` costs and offers."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import dlngeo


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "module", ["dlngeo", "dlngeo.core.networks.network, dlngeo.core.balanced.submanifold"]
)
def test_import_is_light(module):
    heavy = "geomstats pymanopt torch jax matplotlib autograd scipy sklearn"
    loaded = f"[m for m in {heavy.split()!r} if m in sys.modules]"
    assert run(f"import sys, {module}; print({loaded})") == "[]"


def test_import_costs_little_beyond_numpy():
    code = (
        "import time, numpy; start = time.process_time(); import dlngeo; "
        "print(time.process_time() - start)"
    )
    assert float(run(code)) < 0.15


def test_every_public_name_loads():
    for name in dlngeo.__all__:
        assert getattr(dlngeo, name) is not None
        assert name in dir(dlngeo)


def test_version_is_that_of_the_distribution():
    assert dlngeo.__version__ == version("dlngeo")
