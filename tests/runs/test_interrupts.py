"""What asks a program to end interrupts it as Ctrl-C does."""

import signal
import threading

import pytest

from dlngeo.runs.interrupts import ENDINGS, interruptible_by_signals, uninterrupted


@pytest.mark.parametrize("number", ENDINGS)
def test_every_ending_is_an_interrupt(number):
    before = signal.getsignal(number)
    with interruptible_by_signals() as asked:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert asked.number == number
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible_by_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_short_block_ends_first():
    done = []

    def run():
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            done.append(1)
        done.append(2)

    with interruptible_by_signals() as asked, pytest.raises(KeyboardInterrupt):
        run()
    assert done == [1]
    assert asked.number == signal.SIGTERM


def test_other_threads_have_no_handlers():
    failures = []

    def run():
        try:
            with interruptible_by_signals(), uninterrupted():
                pass
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failures
