"""Problems of sampling: networks, an energy, and chains at temperatures.

They stand apart from the files that they are read from, as every worker process loads them.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from dlngeo.losses.linear_measurements import Factorization
from dlngeo.losses.observed_entries import MatrixCompletion
from dlngeo.sampling.energies import DoubleWell, SpectralExpression, WeightDecay
from dlngeo.sampling.langevin_dynamics.run import LangevinResult, langevin
from dlngeo.sampling.langevin_dynamics.temperatures import Ladder

CHECKPOINT_SECONDS = 10.0

SPECTRAL_ENERGIES: Mapping[str, Callable[..., Any]] = {
    "squared norm": lambda depth: WeightDecay(depth),
    "double well": lambda depth, **parameters: DoubleWell(**parameters),
    "formula": lambda depth, **parameters: SpectralExpression(depth=depth, **parameters),
}
"""Energies of singular values by their names in files: functions of the depth and parameters."""

ENERGIES: Mapping[str, Callable[..., Any]] = {
    **SPECTRAL_ENERGIES,
    "least squares": lambda depth, **parameters: Factorization(**parameters),
    "completion": lambda depth, **parameters: MatrixCompletion(**parameters),
}
"""These, and the losses of end-to-end matrices."""


def widths_at(depth: float, shape: tuple[int, int], hidden_width: int) -> tuple[int, ...]:
    """Return ``(d_0, ..., d_N)``; at infinite depth the two ends."""
    n_hidden = 0 if depth == math.inf else int(depth) - 1
    return (shape[1], *[hidden_width] * n_hidden, shape[0])


@dataclass(frozen=True, eq=False)
class Problem:
    """What to sample: networks, an energy, and chains at temperatures.

    Attributes
    ----------
    shape : tuple of int
        ``(d_N, d_0)``.
    depths : tuple of int, or inf
    rank : int
    hidden_width : int
    energy : str
        One of `ENERGIES`.
    parameters : dict
        Of the energy.
    weight_decay : float
    betas : tuple of float
    kappa : float
    swap_every : int or None
        Steps between exchanges of replicas at the temperatures; None without.
    n_chains, n_steps, thinning, burn_in : int
        Every so many steps a draw is kept, after so many steps.
    step_size : float
    scheme : str
    determinant : str or None
        Component to which chains are confined.
    seed : int
    start : float
        Scale of the random singular values at the start.
    """

    shape: tuple[int, int]
    depths: tuple[float, ...]
    rank: int
    hidden_width: int
    energy: str
    parameters: dict[str, Any]
    weight_decay: float
    betas: tuple[float, ...]
    kappa: float
    swap_every: int | None
    n_chains: int
    n_steps: int
    thinning: int
    burn_in: int
    step_size: float
    scheme: str
    determinant: str | None
    seed: int
    start: float

    @property
    def is_spectral(self) -> bool:
        """Whether the energy is a function of singular values."""
        return self.energy in SPECTRAL_ENERGIES

    @property
    def has_small_frames(self) -> bool:
        """Whether frames can be integrated over: one row, one column or two by two."""
        return min(self.shape) == 1 or self.shape == (2, 2)

    @property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """Arguments of `run` that there are several values of."""
        if self.swap_every is None:
            return {"beta": self.betas, "depth": self.depths}
        return {"beta": (Ladder(sorted(self.betas), self.swap_every),), "depth": self.depths}

    def widths(self, depth: float) -> tuple[int, ...]:
        """Return ``(d_0, ..., d_N)``; at infinite depth the two ends."""
        return widths_at(depth, self.shape, self.hidden_width)

    def energy_at(self, depth: float) -> Any:
        """Return the energy at a depth."""
        energy = ENERGIES[self.energy](depth, **self.parameters)
        if self.weight_decay == 0:
            return energy
        return energy + self.weight_decay * WeightDecay(int(depth))

    def run(
        self,
        *,
        beta: float | Ladder,
        depth: float,
        rng: numpy.random.Generator,
        checkpoint: Path,
        progress: bool = False,
    ) -> LangevinResult:
        """Run the chains at a temperature, or a ladder of them, and a depth."""
        matrices = rng.standard_normal((self.n_chains, *self.shape))
        matrices *= self.start / math.sqrt(max(self.shape))
        left, sigma, right = numpy.linalg.svd(matrices, full_matrices=False)
        left, sigma, right = left[..., : self.rank], sigma[:, : self.rank], right[:, : self.rank]
        if self.determinant is not None:
            signs = numpy.linalg.slogdet(matrices)[0]
            left[..., -1] *= (signs if self.determinant == "positive" else -signs)[:, None]
        return langevin(
            initial=sigma if self.is_spectral else (left * sigma[:, None]) @ right,
            depth=depth,
            widths=None if depth == math.inf else self.widths(depth),
            rank=self.rank,
            beta=beta,
            kappa=self.kappa,
            step_size=self.step_size,
            n_steps=self.n_steps,
            scheme=self.scheme,
            determinant=self.determinant,
            energy=self.energy_at(depth),
            rng=rng,
            save_every=self.thinning,
            burn_in=self.burn_in,
            checkpoint=checkpoint,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            progress=progress,
        )

    @property
    def digest(self) -> str:
        """A name for the problem, and all of its data."""
        state = hashlib.sha256()
        for name, value in sorted((vars(self) | self.parameters).items()):
            shown = value.tobytes() if isinstance(value, numpy.ndarray) else repr(value).encode()
            if name != "parameters":
                state.update(name.encode() + b"=" + shown + b";")
        return state.hexdigest()
