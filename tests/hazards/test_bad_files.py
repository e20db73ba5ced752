"""Bad files: whatever is in them, a command ends soon, in one line, and leaves no trace."""

import os
from collections.abc import Iterator

import pytest

from tests.hazards.bad_files import CASES
from tests.hazards.bounded_commands import Server

LISTED = [(kind, name) for kind, (_, _, makers) in CASES.items() for name in makers]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_bad_files(tmp_path, server, kind, name):
    command, file, makers = CASES[kind]
    makers[name](tmp_path / file)
    before = list(tmp_path.iterdir())
    ended = server.run([command, file, "--output", "out"], tmp_path)
    assert ended.code == 2, ended
    assert ended.err.startswith("dlngeo: ")
    assert ended.err.count("\n") == 1
    assert file in ended.err
    assert len(ended.err) < 1000
    # Of several runs those before the one that failed may be there to go on from.
    made = [path.name for path in tmp_path.iterdir() if path not in before]
    assert made == (["out"] if "the checkpoints are in" in ended.err else [])


def test_names_that_are_no_text(tmp_path, server):
    file, output = os.fsdecode(b"\xff\xe9.csv"), os.fsdecode(b"out\xff")
    (tmp_path / file).write_text("1.5,2,x\n4,,6\n2,3,5\n")
    ended = server.run(["complete", file, "--output", output], tmp_path)
    assert ended.code == 2
    assert ended.err.startswith("dlngeo: \\udcff\\udce9.csv")
    (tmp_path / file).write_text("1.5,2,3\n4,,6\n2,3,5\n")
    ended = server.run(["complete", file, "--output", output], tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(os.listdir(tmp_path / output)) == ["report.png", "result.json", file]
