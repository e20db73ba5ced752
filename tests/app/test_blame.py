"""Whom to blame for an error, and what is said of it."""

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dlngeo.app.blame import about, one_line, reading, verdict
from dlngeo.core.base.checks import positive

FILE = Path("data.csv")


def caught(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


def fail(error: Exception, context: AbstractContextManager[None]) -> Exception:
    def call() -> None:
        with context:
            raise error

    return caught(call)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        RecursionError(),
        OSError("damaged"),
        MemoryError(),
        ValueError("bad"),
        EOFError(),
    ],
)
def test_libraries_that_read_blame_the_file(error):
    raised = fail(error, reading(FILE, "is no table: convert it"))
    assert str(raised).startswith("data.csv is no table: convert it. (")
    assert verdict(raised)[0] == 2


def test_own_messages_name_the_file_once():
    def read(value: float) -> None:
        with reading(FILE, "is no table"):
            positive(value, "the entry")

    message = str(caught(lambda: read(-1)))
    assert message == "data.csv: the entry must be positive and finite, got -1."
    with pytest.raises(ValueError, match=r"^data\.csv: the entry"), about(FILE):
        read(-1)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 1), (errno.EIO, 1), (errno.EACCES, 2), (errno.ENOENT, 2)]
)
def test_errors_of_the_system(number, code):
    raised = fail(OSError(number, "it says"), reading(FILE, "is no table"))
    assert verdict(raised) == (code, "data.csv: it says")


def test_what_this_package_did_not_mean_is_its_fault():
    code, message = verdict(caught(lambda: [][1]))
    assert code == 1
    assert message.startswith("a fault of the program: IndexError, list index out of range (test_")
    assert verdict(caught(lambda: int("x")))[0] == 1
    assert verdict(caught(lambda: positive(0, "it"))) == (
        2,
        "it must be positive and finite, got 0.",
    )


def test_messages_are_lines_that_can_be_printed():
    assert one_line("a\n b\t\x1b[31mc\udcff é") == "a b \\x1b[31mc\\udcff é"
    assert len(one_line(10**6 * "x")) < 900
