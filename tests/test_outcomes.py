"""How runs end."""

from dataclasses import dataclass

import numpy
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


@dataclass(frozen=True, eq=False)
class Chains(Outcome):
    factors: tuple
    trace: dict
    grid: dict
    runs: tuple
    beta: numpy.ndarray
    step_size: float
    scheme: str
    widths: tuple
    rates: numpy.ndarray | None


def test_results_are_printed_in_a_few_lines():
    arrays = [numpy.zeros((4, 2, 3)), numpy.zeros((4, 2))]
    chains = Chains(
        tuple(arrays), {"energy": arrays[1], "a": arrays[0]}, {"beta": (1.0, 2.0)}, (Run, Run),
        numpy.ones(1000), 0.1, "em", (2, 3), None, success=True, interrupted=False,
        status="took 7 steps.",
    )  # fmt: skip
    assert repr(chains) == str(chains)
    assert repr(chains).splitlines() == [
        "Chains: took 7 steps.",
        "  beta [1000]",
        "  trace: energy [4, 2], a [4, 2, 3]; grid: beta (1.0, 2.0)",
        "  factors=[4, 2, 3] [4, 2], runs=2 type, step_size=0.1, scheme='em', widths=(2, 3), ...",
    ]


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


def test_interrupts_of_compiled_code():
    """Python makes an error of the interpreter of one that compiled code did not look for."""

    def fail(cause):
        with interruptible() as interruption:
            raise SystemError("returned a result with an exception set") from cause
        return interruption.happened

    assert fail(KeyboardInterrupt())
    outer = SystemError()
    outer.__cause__ = KeyboardInterrupt()
    assert fail(outer)
    with pytest.raises(SystemError):
        fail(ValueError())
