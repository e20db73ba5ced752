"""Outputs are held by one run, written whole or not at all, and where they belong."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dlngeo.runs.outputs import (
    OutputError,
    hold_file,
    hold_folder,
    written_file,
    written_files,
)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def write(folder, **texts):
    with hold_folder(folder, list(texts)) as place, written_files(place) as scratch:
        for name, text in texts.items():
            (scratch / name).write_text(text)


def held(folder):
    """Return the texts of all files in a folder."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_is_made_and_written(tmp_path, umask):
    write(tmp_path / "out", a="1", b="2")
    assert held(tmp_path / "out") == {"a": "1", "b": "2"}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "out" / "a").stat().st_mode) == 0o640
    (tmp_path / "out" / "mine").write_text("3")
    write(tmp_path / "out", a="4")
    assert held(tmp_path / "out") == {"a": "4", "b": "2", "mine": "3"}
    with hold_file(tmp_path / "c"), written_file(tmp_path / "c") as file:
        file.write_text("5")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["c", "out"]


def test_what_fails_leaves_all_as_it_was(tmp_path):
    write(tmp_path / "old", a="1")

    def fail(folder):
        with hold_folder(folder, ["a"]) as place, written_files(place) as scratch:
            (scratch / "a").write_text("2")
            raise RuntimeError("no more")

    for name in ("old", "new"):
        with pytest.raises(RuntimeError, match="no more"):
            fail(tmp_path / name)
    assert os.listdir(tmp_path) == ["old"]
    assert held(tmp_path / "old") == {"a": "1"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_told(tmp_path, monkeypatch, call):
    write(tmp_path, a="1", b="1")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError, match=r"could not be written \(No space left.*make room"):
        write(tmp_path, a="2", b="2")
    with (
        pytest.raises(OutputError, match="No space left"),
        written_file(tmp_path / "a") as file,
    ):
        file.write_text("2")
    assert held(tmp_path) == {"a": "1", "b": "1"}


def separate(monkeypatch, *roots):
    """Let folders be file systems of their own."""
    replace = os.replace

    def moved(source, target):
        systems = [[root for root in roots if root in Path(p).parents] for p in (source, target)]
        if systems[0] != systems[1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, moved)


def test_links_stay_and_lead_to_other_file_systems(tmp_path, monkeypatch):
    for name in ("out", "away"):
        (tmp_path / name).mkdir()
    separate(monkeypatch, tmp_path / "out", tmp_path / "away")
    (tmp_path / "link").symlink_to("away")
    write(tmp_path / "link", a="1")
    assert held(tmp_path / "away") == {"a": "1"}
    (tmp_path / "out" / "a").symlink_to("../away/a")
    (tmp_path / "out" / "b").symlink_to("../away/none")
    write(tmp_path / "out", a="2", b="2")
    assert held(tmp_path / "away") == {"a": "2", "none": "2"}
    for place in ("link", "out/a", "out/b"):
        assert (tmp_path / place).is_symlink()
    with hold_file(tmp_path / "out" / "a"), written_file(tmp_path / "out" / "a") as file:
        file.write_text("3")
    assert (tmp_path / "away" / "a").read_text() == "3"
    assert sorted(os.listdir(tmp_path / "out")) == ["a", "b"]


def test_what_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere/at all")
    cases = [
        (hold_folder, "file", "is a file: give a folder"),
        (hold_folder, "a/b", "make it first"),
        (hold_folder, "loop", "cannot be written"),
        (hold_folder, "lost", "make it first"),
        (hold_folder, "a" * 300, "too long"),
        (hold_file, "pipe", "no regular file"),
        (hold_file, ".", "is a folder"),
        (hold_file, "a/b", "make it first"),
        (hold_file, "lost", "make it first"),
        (hold_file, "a" * 300, "too long"),
        (hold_file, "/dev/full", "no regular file"),
    ]
    for hold, name, message in cases:
        names = (["a"],) if hold is hold_folder else ()
        with pytest.raises(ValueError, match=message), hold(tmp_path / name, *names):  # type: ignore[operator]
            pass
    with pytest.raises(ValueError, match="no regular file"), hold_folder(tmp_path, ["pipe"]):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "loop", "lost", "pipe"]


def test_a_link_that_leads_nowhere_is_followed_in_the_message(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "out")
    for hold in (hold_file, lambda path: hold_folder(path, ())):
        with pytest.raises(ValueError, match=r"there is no folder .*none for the output .*link"):
            hold(tmp_path / "link").__enter__()


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("a" * 255)
    with hold_file(path), written_file(path) as file:
        file.write_text("1")
    assert held(tmp_path) == {path.name: "1"}


KILLED = """
import os, signal, sys
from pathlib import Path
from dlngeo.runs.outputs import hold_file, hold_folder, written_file, written_files
folder = Path(sys.argv[1])
with hold_folder(folder, ["a"]) as place, hold_file(place / "b") as b:
    with written_files(place) as scratch, written_file(b) as file:
        (scratch / "a").write_text("1")
        file.write_text("1")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_goes_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = os.listdir(tmp_path)
    assert len(left) == 4
    assert all(name.startswith(".dlngeo-") for name in left)
    (tmp_path / ".dlngeo-notes").write_text("mine")
    write(tmp_path, a="2")
    # Of the other output it stays until that is held.
    assert len(os.listdir(tmp_path)) == 4
    with hold_file(tmp_path / "b"):
        pass
    assert held(tmp_path) == {"a": "2", ".dlngeo-notes": "mine"}
