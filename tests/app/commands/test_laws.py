"""The command ``dlngeo laws``."""

import subprocess
import sys

import pytest

from dlngeo.app.cli import main


@pytest.mark.parametrize(
    ("arguments", "row"),
    [
        (["2,2,5,2,4"], ["2-2-5-2-4", "32", "20", "20", "12", "yes"]),
        (["1,2,2,1"], ["1-2-2-1", "8", "7", "6", "1", "no"]),
        (["1,2,2,1", "--bias"], ["1-2-2-1", "13", "6", "6", "7", "yes"]),
        (["3,4,2", "--relu", "--bias"], ["3-4-2", "26", "4", "4", "22", "yes"]),
        (["3, 2"], ["3-2", "6", "0", "0", "6", "yes"]),
    ],
)
def test_table(arguments, row, capsys):
    assert main(["laws", "--widths", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == row
    assert len(lines[1]) == len(lines[2])
    assert lines[-1].startswith(row[0])
    assert ("scalar-to-scalar part" in lines[-1]) == (row[-1] == "no")


def test_several_networks(capsys):
    assert main(["laws", "--widths", "2,2,2", "784,64,32,10", "--relu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["2-2-2", "784-64-32-10"]
    assert len({len(line) for line in lines[1:4]}) == 1


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ("2,0,2", "positive"),
        ("2,-1", "positive"),
        ("3", "at least two"),
        ("a,b", "'a,b'"),
        ("2,,3", "commas"),
        ("2,2.5", "integers"),
        ("", "commas"),
        ("300,300,300,300", "too large"),
    ],
)
def test_refusals(widths, message, capsys):
    assert main(["laws", "--widths", widths]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_widths_are_required(capsys):
    assert main(["laws"]) == 2
    error = capsys.readouterr().err
    assert "--widths" in error
    assert error.count("\n") == 1


def test_counting_needs_no_sympy():
    code = (
        "import sys; from dlngeo.app.cli import main; main(['laws', '--widths', '2,2,2']); "
        "print('sympy' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
