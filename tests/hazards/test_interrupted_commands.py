"""Commands that are killed, interrupted and terminated at random moments lose and spoil nothing."""

import re
import shutil
import signal
import time

import pytest

from tests.hazards.commands import complete, contents, sample
from tests.hazards.processes import Command, hidden, moments, run

KINDS = {"killed": signal.SIGKILL, "interrupted": signal.SIGINT, "terminated": signal.SIGTERM}
CODES = {"interrupted": 130, "terminated": 143}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("task", "n_workers", "n_times"), [(sample, 1, 8), (sample, 2, 6), (complete, 1, 6)]
)
def test_nothing_is_lost(tmp_path, task, n_workers, n_times, kind):
    """Twenty times of each kind, going on where there is something to go on from."""
    arguments, options = task(tmp_path, n_workers)
    began = time.monotonic()
    assert run(*arguments, "--output", tmp_path / "whole", **options) == (0, "")
    longest = time.monotonic() - began
    expected = contents(tmp_path / "whole")
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    expected["mine.txt"] = b"mine"
    n_endings = 0
    for moment in moments(len(kind) + n_workers, 0.8 * longest, n_times):
        command = Command(*arguments, "--output", output, **options)
        command.ask(KINDS[kind], moment)
        code, error = command.end()
        assert not command.left()
        found = contents(output)
        assert found == {name: expected[name] for name in found}, f"after {moment} s"
        assert "mine.txt" in found
        is_python = "Fatal Python error" in error  # which the signal met before the command
        assert code in (0, CODES.get(kind), -KINDS[kind]) or is_python, error
        n_endings += code != 0
        if "dlngeo: interrupted" in error:
            assert re.fullmatch(r"(going on from .*\n)?dlngeo: interrupted.*\n", error), error
            states = list(output.glob("checkpoints/run-*.npz"))
            assert (f"the checkpoints are in {output / 'checkpoints'}" in error) == bool(states)
            # What workers leave that are killed is swept with their checkpoints.
            assert all(path.parent.name == "checkpoints" for path in hidden(output))
        if code == 0:
            assert found == expected
            shutil.rmtree(output)
            output.mkdir()
            (output / "mine.txt").write_text("mine")
    # Those that go on have less to do, and may be done before.
    assert n_endings >= n_times // 4
    code, error = run(*arguments, "--output", output, **options)
    assert code == 0, error
    assert contents(output) == expected
    assert not hidden(output)
    assert not (output / "checkpoints").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out", "whole"]
