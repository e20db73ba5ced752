"""How runs end."""

from dataclasses import dataclass

import pytest

from dlngeo.outcomes import Outcome, interruptible


@dataclass(frozen=True)
class Run(Outcome):
    steps: int


def test_results_say_how_they_ended():
    """Its fields are given by keyword, beside those of the result."""
    run = Run(3, success=True, interrupted=False, status="done")
    assert (run.steps, run.success, run.status) == (3, True, "done")
    assert isinstance(run, Outcome)
    with pytest.raises(TypeError):
        Run(3, True, False, "done")  # type: ignore[misc,call-arg] # what is refused


def test_the_keyboard_ends_the_block_alone():
    """What was done stays, and it is told."""
    done = []
    with interruptible() as interruption:
        for step in range(10):
            if step == 3:
                raise KeyboardInterrupt
            done.append(step)
    assert interruption.happened
    assert done == [0, 1, 2]


def test_other_endings_pass():
    with interruptible() as interruption:
        pass
    assert not interruption.happened
    with pytest.raises(ValueError, match="other"), interruptible():
        raise ValueError("other")
