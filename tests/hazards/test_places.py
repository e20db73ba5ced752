"""Commands on full disks, in folders of others, on other file systems, and beside each other."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import pytest

from tests.hazards.commands import TABLE, complete, contents, sample
from tests.hazards.processes import ENVIRONMENT, Command, run

ROOT = Path(__file__).parents[2]


def balance(folder: Path) -> list:
    numpy.savez(folder / "network.npz", *numpy.random.default_rng(0).normal(size=(2, 30, 30)))
    return ["balance", folder / "network.npz"]


def limited(size: int):
    """Let no file grow beyond a number of bytes, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_keeps_what_was_there(tmp_path):
    """And a picture that finds no room costs the picture alone."""
    arguments, options = sample(tmp_path, 1)
    assert run(*arguments, "--output", tmp_path / "whole", **options) == (0, "")
    expected = contents(tmp_path / "whole")
    output = tmp_path / "out"
    code, error = run(*arguments, "--output", output, preexec_fn=limited(5000), **options)
    assert code == 1
    assert "could not be written (File too large)" in error
    assert error.count("\n") == 1
    assert not output.exists()
    # There is room for checkpoints, and none for what is in all of them.
    size = (tmp_path / "whole" / "samples.nc").stat().st_size - 1000
    code, error = run(*arguments, "--output", output, preexec_fn=limited(size), **options)
    assert code == 1
    assert f"the checkpoints are in {output / 'checkpoints'}" in error
    assert contents(output) == {}
    size = (tmp_path / "whole" / "samples.nc").stat().st_size + 20000
    assert size < (tmp_path / "whole" / "report.png").stat().st_size
    code, error = run(*arguments, "--output", output, preexec_fn=limited(size), **options)
    assert code == 0
    assert "going on from" in error
    assert "report.png could not be drawn" in error
    assert contents(output) == {n: c for n, c in expected.items() if n != "report.png"}
    network = balance(tmp_path)
    code, error = run(*network, "--output", tmp_path / "b.npz", preexec_fn=limited(5000))
    assert code == 1
    assert "could not be written (File too large)" in error
    assert not (tmp_path / "b.npz").exists()


MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$1 none "$2" || exit 99
cd "$2" && shift 2 && "$@"
code=$?
find . -type f
exit $code
"""


def on_a_small_disk(size: str, place: Path, *arguments: object) -> tuple[int, str, set[str]]:
    """Run a command beside whose output there is a disk of that size; return what is on it."""
    place.mkdir()
    ended = subprocess.run(
        [*MOUNT, ON_A_SMALL_DISK, "sh", size, place, *map(str, arguments)],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False,
    )  # fmt: skip
    files = {line[2:] for line in ended.stdout.splitlines() if line.startswith("./")}
    return ended.returncode, ended.stderr, files


def can_mount() -> bool:
    """Tell whether the system lets users have disks of their own."""
    with contextlib.suppress(FileNotFoundError), tempfile.TemporaryDirectory() as folder:
        return on_a_small_disk("4k", Path(folder) / "disk", "true")[0] == 0
    return False


if can_mount():

    @pytest.mark.parametrize(
        ("command", "size", "expected", "kept"),
        [
            (lambda folder: complete(folder, 1)[0], "16k", 0, {TABLE, "result.json"}),
            (lambda folder: complete(folder, 1)[0], "4k", 1, set()),
            (lambda folder: sample(folder, 1)[0], "120k", 1, {"checkpoints/.dlngeo-problem"}),
            (lambda folder: sample(folder, 2)[0], "120k", 1, {"checkpoints/.dlngeo-problem"}),
            (lambda folder: sample(folder, 1)[0], "8k", 1, set()),
            (balance, "8k", 1, set()),
        ],
    )
    def test_a_disk_that_is_full(tmp_path, command, size, expected, kept):
        """What is not whole is not there; checkpoints are, and are named."""
        arguments = command(tmp_path)
        output = tmp_path / "disk" / "out"
        program = [sys.executable, "-m", "dlngeo", *arguments, "--output", output]
        code, error, files = on_a_small_disk(size, tmp_path / "disk", *program)
        assert code == expected, error
        assert "(No space left on device)" in error
        assert error.count("\n") == 1
        states = {file for file in files if file.startswith("out/checkpoints/run-")}
        assert files - states == {f"out/{name}" for name in kept}
        assert (f"the checkpoints are in {output / 'checkpoints'}" in error) == bool(states)
        assert bool(states) == ("checkpoints/.dlngeo-problem" in kept)


def without_privilege() -> None:
    """Have modes of files heed the superuser too; others have no such privilege to lose."""
    drop, override, read_search = 24, 1, 2
    for privilege in (override, read_search):
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).prctl(drop, privilege)


@pytest.mark.parametrize("command", ["complete", "sample", "balance"])
def test_folders_that_cannot_be_written_are_refused_first(tmp_path, command):
    tasks = {"complete": lambda: complete(tmp_path, 1)[0], "sample": lambda: sample(tmp_path, 1)[0]}
    arguments = tasks.get(command, lambda: balance(tmp_path))()
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    closed.chmod(0o555)
    try:
        place = closed / "out"
        code, error = run(*arguments, "--output", place, preexec_fn=without_privilege)
        assert code == 2
        assert "cannot be written" in error
        assert error.count("\n") == 1
        if command == "complete":
            place = closed / "open"
            assert run(*arguments, "--output", place, preexec_fn=without_privilege) == (0, "")
            assert TABLE in contents(place)
    finally:
        closed.chmod(0o755)


APART = """
import errno, os
from pathlib import Path
def apart(call):
    def moved(source, target):
        places = [Path(path).resolve() for path in (source, target)]
        if len({{Path({root!r}) in place.parents for place in places}}) == 2:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        call(source, target)
    return moved
os.rename, os.replace, os.link = map(apart, (os.rename, os.replace, os.link))
"""


def test_another_file_system(tmp_path):
    """One that is there, and a folder to which nothing can be moved."""
    arguments, _ = complete(tmp_path, 1)
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "link").symlink_to(away)
    before = APART.format(root=str(away))
    assert run(*arguments, "--output", tmp_path / "link", before=before) == (0, "")
    assert (tmp_path / "link").is_symlink()
    assert {TABLE, "report.png", "result.json"} == set(contents(away))
    assert len(os.listdir(away)) == 3


def test_a_file_system_that_is_there(tmp_path):
    """That of memory, nearly everywhere."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else tmp_path
    arguments, options = sample(tmp_path, 1)
    assert run(*arguments, "--output", tmp_path / "whole", **options) == (0, "")
    with tempfile.TemporaryDirectory(dir=root) as away:
        (tmp_path / "link").symlink_to(away)
        assert run(*arguments, "--output", tmp_path / "link", **options) == (0, "")
        assert contents(Path(away)) == contents(tmp_path / "whole")


def test_two_at_once(tmp_path):
    """The second is told who is there; the first goes on undisturbed."""
    arguments, _ = complete(tmp_path, 1)
    assert run(*arguments, "--output", tmp_path / "whole") == (0, "")
    output = tmp_path / "out"
    both = [Command(*arguments, "--output", output) for _ in range(2)]
    endings = [command.end() for command in both]
    assert sorted(code for code, _ in endings) == [0, 2]
    (first,) = (own for own, (code, _) in zip(both, endings, strict=True) if code == 0)
    (error,) = (error for code, error in endings if code == 2)
    assert f"in use by process {first.process.pid} on " in error
    assert contents(output) == contents(tmp_path / "whole")
    assert sorted(os.listdir(output)) == [TABLE, "report.png", "result.json"]
