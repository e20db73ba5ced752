"""Bad files: whatever is in them, a command ends soon, in one line, and leaves no trace."""

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
    before = sorted(tmp_path.iterdir())
    ended = server.run([command, file, "--output", "out"], tmp_path)
    assert ended.code == 2, ended
    assert ended.err.startswith("dlngeo: ")
    assert ended.err.count("\n") == 1
    assert file in ended.err
    assert len(ended.err) < 1000
    assert sorted(tmp_path.iterdir()) == before
