"""The command line: what it says of itself."""

import subprocess
import sys

import dlngeo


def run(*arguments):
    command = [sys.executable, "-m", "dlngeo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout == f"dlngeo {dlngeo.__version__}\n"
    assert "complete" in run("--help").stdout
    assert "--observed" in run("complete", "--help").stdout
    assert run().returncode == 2


def test_help_imports_nothing_heavy():
    code = "import sys, dlngeo.app.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "matplotlib", "geomstats"} & set(loaded.stdout.split())
