"""What a run knows of its kernel, and the table of the schemes that it can choose from.

A new scheme is a file with its kernels, and a line in the table.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama
from dlngeo.sampling.langevin_dynamics.faces import Face
from dlngeo.sampling.langevin_dynamics.hidden_frames import FactorKernel
from dlngeo.sampling.langevin_dynamics.infinite_depth import LogarithmicEulerMaruyama
from dlngeo.sampling.langevin_dynamics.matrix_steps import FrameKernel, MatrixKernel
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from dlngeo.sampling.langevin_dynamics.second_order import SecondOrder


class Kernel(Protocol):
    """A Markov kernel: how chains go on by a step.

    A state is one of `dlngeo.sampling.langevin_dynamics.states`, all that the next step depends
    on. What a kernel needs of its equation it checks when it is made.
    """

    def init(self, factors: Sequence[Array]) -> Any:
        """Return the state over balanced factors; a matrix is the only factor of its network."""

    def step(self, state: Any, rng: numpy.random.Generator) -> Any:
        """Return the state after a step."""

    def frames(self, state: Any) -> SingularFrames:
        """Return end-to-end matrices in singular frames, with values in descending order."""

    def factors(self, state: Any) -> Layers:
        """Return the factors of a state, or the matrix alone: what `init` takes."""

    def counts(self, state: Any) -> dict[str, Array]:
        """Return what was counted along each chain, shape=[chains]: "n_accepted" and the like."""


SCHEMES: dict[str, Callable[[Equation, float], MatrixKernel]] = {
    "euler-maruyama": EulerMaruyama,
    "second-order": SecondOrder,
    "metropolis": Metropolis,
}
"""The kernels of end-to-end matrices, made of an equation and a step size."""

LIMIT_SCHEMES: dict[str, Callable[[Equation, float], FrameKernel]] = {
    "euler-maruyama": LogarithmicEulerMaruyama
}
"""Those of infinite depth."""


def kernel_of(scheme: str, face: Face, equation: Equation, step_size: float) -> Kernel:
    """Return the kernel of a scheme that serves a face: over that of matrices, of factors.

    Raises
    ------
    ValueError
        If there is none.
    """
    if face.is_infinite:
        if scheme not in LIMIT_SCHEMES:
            raise ValueError(
                f"the scheme {scheme!r} is of finite depth: at infinite depth take "
                f"{', '.join(LIMIT_SCHEMES)}."
            )
        return LIMIT_SCHEMES[scheme](equation, step_size)
    kernel = SCHEMES[scheme](equation, step_size)
    return FactorKernel(kernel) if face.is_of_factors else kernel
