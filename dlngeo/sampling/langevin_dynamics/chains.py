"""Chains on their way: state, random numbers and trace, in memory and in checkpoints."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.functions import returned
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.networks.components import determinant_sign
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics.checkpoint import as_text
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.schemes import Kernel
from dlngeo.sampling.langevin_dynamics.states import from_arrays, to_arrays


class Chains:
    """Chains that a kernel moves.

    Parameters
    ----------
    kernel : Kernel
    equation : Equation
    start : tuple of array
        Balanced factors, or a matrix alone.
    random : numpy.random.Generator
    n_steps : int
        Steps that there are to be.
    save_every : int or None
        Record every so many steps.
    burn_in : int
        Steps of which nothing is recorded.
    record : callable, optional
        What to record besides singular values and energy.
    """

    def __init__(
        self,
        kernel: Kernel,
        equation: Equation,
        start: tuple[Array, ...],
        random: numpy.random.Generator,
        n_steps: int,
        save_every: int | None,
        burn_in: int,
        record: Callable[[Array], dict[str, Any]] | None,
    ):
        self.kernel, self.equation, self.random = kernel, equation, random
        # Without a trace one is due after the last step.
        self._every = n_steps + 1 if save_every is None else save_every
        self._burn_in, self._record = burn_in, record
        self._n_steps, self._n_draws = n_steps, self._draws_after(n_steps)
        self._draws: dict[str, Array] = {}
        # In one place, so that an interrupt finds a state and its random numbers together.
        self._now: tuple[Any, int, Any] = (kernel.init(start), 0, random.bit_generator.state)
        with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            measured = self._measure(self.state)
        self._shapes = {
            name: (len(values), self._n_draws, *values.shape[1:])
            for name, values in measured.items()
        }
        for name, shape in self._shapes.items():
            check_numbers(
                shape, f"the record of {name}", "take fewer steps or chains, or a larger save_every"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What is recorded."""
        return tuple(self._shapes)

    @property
    def state(self) -> Any:
        """The state after the last step."""
        return self._now[0]

    @property
    def n_steps(self) -> int:
        """Steps taken."""
        return self._now[1]

    @property
    def frames(self) -> SingularFrames:
        """End-to-end matrices in singular frames, with values in descending order."""
        return self.kernel.frames(self.state)

    @property
    def n_stuck(self) -> Array:
        """How many steps in a row were rejected up to now, shape=[chains]."""
        return self.kernel.counts(self.state).get("n_stuck", numpy.zeros(1, dtype=int))

    @property
    def trace(self) -> dict[str, Array]:
        """What was recorded, shape=[chains, draws, ...]."""
        n_draws = self._draws_after(self.n_steps)
        return {name: values[:, :n_draws] for name, values in self._draws.items()}

    def advance(self) -> None:
        """Take a step, and record."""
        state, n_steps = self.kernel.step(self.state, self.random), self.n_steps + 1
        n_draws = self._draws_after(n_steps)
        if n_draws > self._draws_after(self.n_steps):
            for name, values in self._measure(state).items():
                if name not in self._draws:
                    self._draws[name] = numpy.full(self._shapes[name], math.nan)
                self._draws[name][:, n_draws - 1] = values
        # Last, so that a step that was interrupted while it was recorded is taken again.
        self._now = (state, n_steps, self.random.bit_generator.state)

    def rewind(self) -> None:
        """Take back random numbers that were drawn for a step that was not taken."""
        self.random.bit_generator.state = self._now[2]

    def pack(self) -> dict[str, Any]:
        """Return all that is needed to go on, as arrays."""
        state, n_steps, random = self._now
        trace = {f"trace.{name}": values for name, values in self._draws.items()}
        return to_arrays(state) | trace | {"n_steps": n_steps, "random": as_text(random)}

    def load(self, arrays: dict[str, Array]) -> None:
        """Go on from what `pack` returned.

        Raises
        ------
        ValueError
            If that cannot be.
        """
        state, random = from_arrays(arrays, self.state), json.loads(str(arrays["random"]))
        own, n_steps = to_arrays(self.state), arrays["n_steps"].item()
        for name, array in to_arrays(state).items():
            if array.shape != own[name].shape or array.dtype != own[name].dtype:
                raise ValueError(
                    f"the state is of other arrays, {name} is {array.dtype} {array.shape}"
                )
            if not numpy.isfinite(array).all():
                raise ValueError(f"the state is not finite in {name}")
        if not isinstance(n_steps, int) or not 0 <= n_steps <= self._n_steps:
            raise ValueError(f"there are {n_steps} of {self._n_steps} steps")
        n_draws = self._draws_after(n_steps)
        draws = {name: arrays[f"trace.{name}"] for name in self._shapes if n_draws}
        for name, array in draws.items():
            if array.shape != self._shapes[name] or array.dtype != float:
                raise ValueError(f"the trace of {name} is {array.dtype} {array.shape}")
        if n_draws and not numpy.isfinite(draws["singular_values"][:, :n_draws]).all():
            raise ValueError("the trace has a hole")
        self._now, self._draws = (state, n_steps, random), draws
        self.rewind()

    def _draws_after(self, n_steps: int) -> int:
        return max(n_steps - self._burn_in, 0) // self._every

    def _measure(self, state: Any) -> dict[str, Array]:
        """Return what is to be recorded of states."""
        frames = self.kernel.frames(state)
        values = {"singular_values": frames.sigma}
        if self.equation.has_value:
            values["energy"] = self.equation.values(frames)
        if self.equation.crosses:
            values["determinant_sign"] = determinant_sign(frames)
        if self._record is not None:
            recorded = self._record(self.equation.point(frames))
            is_named = isinstance(recorded, Mapping) and all(isinstance(n, str) for n in recorded)
            if not is_named:
                raise ValueError(
                    "record must give a dictionary of arrays [chains, ...], got "
                    f"{type(recorded).__name__}: name them, as {{'entries': array}}."
                )
            for name, array in recorded.items():
                values[name] = returned(array, "record")
                if values[name].shape[:1] != (len(frames.sigma),):
                    raise ValueError(
                        f"record must give arrays [chains, ...] of {len(frames.sigma)} chains, got "
                        f"{values[name].shape} for {name!r}."
                    )
        return values
