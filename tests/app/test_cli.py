"""The command line: what it says of itself."""

import importlib
import subprocess
import sys

import pytest

import dlngeo
from dlngeo.app.cli import main


def run(*arguments):
    command = [sys.executable, "-m", "dlngeo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout == f"dlngeo {dlngeo.__version__}\n"
    assert "complete" in run("--help").stdout
    assert "--observed" in run("complete", "--help").stdout


def test_without_a_command_it_prints_its_help(capsys):
    assert main([]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_it_completes_in_shells(shell, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["--print-completion", shell])
    assert ending.value.code == 0
    printed = capsys.readouterr().out
    assert "complete" in printed
    assert "--observed" in printed or "observed" in printed


def test_help_imports_nothing_heavy():
    code = "import sys, dlngeo.app.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "scipy", "matplotlib", "geomstats", "pandas"} & set(loaded.stdout.split())


@pytest.mark.parametrize("has_states", [False, True])
def test_an_interrupt_while_the_command_is_loaded(tmp_path, has_states, monkeypatch, capsys):
    """It names the checkpoints, if there are any."""
    states = tmp_path / "out" / "checkpoints"
    states.mkdir(parents=True)
    if has_states:
        (states / "run-0-0.npz").touch()

    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupt)
    assert main(["sample", "problem.toml", "--output", str(tmp_path / "out")]) == 130
    error = capsys.readouterr().err
    assert (f"the checkpoints are in {states}" in error) == has_states
    assert error.startswith("dlngeo: interrupted")
    assert error.count("\n") == 1
