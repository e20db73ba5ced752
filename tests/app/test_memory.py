"""Memory: what there is, and what is refused for want of it."""

import resource

import pytest

from dlngeo.app.memory import available_memory, check_memory, in_words


def test_what_fits_passes_and_what_does_not_is_refused():
    there = available_memory()
    assert 2**20 < there < 2**60
    check_memory(there // 2, "the file", "shorten it")
    with pytest.raises(ValueError, match=r"the file takes at least 8 TiB .* are free: shorten it"):
        check_memory(2**43, "the file", "shorten it")


def test_the_limit_of_the_process_counts(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20, 2**20))
    assert available_memory() == 0  # more than that is taken already


def test_sizes_in_words():
    assert in_words(999) == "999 bytes"
    assert in_words(3 * 2**29) == "1.5 GiB"
    assert in_words(10**5000) == "more than a million TiB"
