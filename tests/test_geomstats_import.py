"""geomstats can be imported after dlngeo, whatever NumPy has removed, and NumPy stays as it is."""

import subprocess
import sys

import pytest

CODE = """
import numpy
if hasattr(numpy, "trapz"):
    del numpy.trapz  # as NumPy 2.4 has done
    numpy.__all__.remove("trapz")
{first}
import geomstats.backend as gs
import autograd.numpy
assert float(gs.trapz(gs.array([1.0, 2.0, 3.0]), gs.array([0.0, 1.0, 2.0]))) == 4.0
assert not hasattr(numpy, "trapz")
assert not hasattr(autograd.numpy, "trapz")
"""


@pytest.mark.parametrize("backend", ["numpy", "autograd"])
def test_the_name_is_there_while_a_backend_is_loaded(backend, monkeypatch):
    monkeypatch.setenv("GEOMSTATS_BACKEND", backend)
    subprocess.run([sys.executable, "-c", CODE.format(first="import dlngeo")], check=True)


def test_without_dlngeo_it_fails_by_itself():
    """If geomstats no longer does, `dlngeo/geomstats_import.py` can go."""
    command = [sys.executable, "-c", CODE.format(first="")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot import name 'trapz'" in done.stderr
