"""Problems of sampling, from TOML files."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from dlngeo.app.toml_tables import REQUIRED, Table, read_table
from dlngeo.core.base.arrays import Array
from dlngeo.core.networks.factors import check_widths
from dlngeo.sampling import LangevinResult, langevin
from dlngeo.sampling.energies import DoubleWell, SpectralExpression, SquaredNorm, WithWeightDecay
from dlngeo.sampling.langevin_dynamics.run import SCHEMES

SPECTRAL = ("squared norm", "double well", "formula")
ENERGIES = (*SPECTRAL, "least squares", "completion")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "squared norm": (),
    "double well": ("wells", "barrier", "weight_decay"),
    "formula": ("formula", "weight_decay"),
    "least squares": ("target", "weight_decay"),
    "completion": ("observed", "weight_decay"),
}
NETWORK = ("shape", "depth", "rank", "hidden_width")
TEMPERATURES = ("beta", "kappa")
CHAINS = ("chains", "steps", "step_size", "thinning", "burn_in", "scheme", "seed", "start")

CHECKPOINT_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Problem:
    """What to sample: networks, an energy, and chains at temperatures.

    Attributes
    ----------
    shape : tuple of int
        ``(d_N, d_0)``.
    depths : tuple of int
    rank : int
    hidden_width : int
    energy : str
        One of `ENERGIES`.
    parameters : dict
        Of the energy.
    weight_decay : float
    betas : tuple of float
    kappa : float
    n_chains, n_steps, thinning, burn_in : int
        Every so many steps a draw is kept, after so many steps.
    step_size : float
    scheme : str
    seed : int
    start : float
        Scale of the random singular values at the start.
    """

    shape: tuple[int, int]
    depths: tuple[int, ...]
    rank: int
    hidden_width: int
    energy: str
    parameters: dict[str, Any]
    weight_decay: float
    betas: tuple[float, ...]
    kappa: float
    n_chains: int
    n_steps: int
    thinning: int
    burn_in: int
    step_size: float
    scheme: str
    seed: int
    start: float

    @property
    def is_spectral(self) -> bool:
        """Whether the energy is a function of singular values."""
        return self.energy in SPECTRAL

    @property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """Arguments of `run` that there are several values of."""
        return {"beta": self.betas, "depth": self.depths}

    def widths(self, depth: int) -> tuple[int, ...]:
        """Return ``(d_0, ..., d_N)``."""
        return (self.shape[1], *[self.hidden_width] * (depth - 1), self.shape[0])

    def energy_at(self, depth: int) -> Any:
        """Return the energy at a depth, with its gradient as a method."""
        energy: Any
        if not self.is_spectral:
            # Not above: it takes seconds, which worker processes need not spend on other energies.
            from dlngeo.solvers.losses import Factorization, MatrixCompletion

        if self.energy == "squared norm":
            energy = SquaredNorm(depth)
        elif self.energy == "double well":
            energy = DoubleWell(**self.parameters)
        elif self.energy == "formula":
            energy = SpectralExpression(depth=depth, **self.parameters)
        elif self.energy == "least squares":
            energy = Factorization(**self.parameters)
        else:
            energy = MatrixCompletion(**self.parameters)
        if self.weight_decay == 0:
            return energy
        return WithWeightDecay(energy, self.weight_decay, depth, self.rank, self.is_spectral)

    def run(
        self,
        *,
        beta: float,
        depth: int,
        rng: numpy.random.Generator,
        checkpoint: Path,
        progress: bool = False,
    ) -> LangevinResult:
        """Run the chains at a temperature and a depth."""
        energy = self.energy_at(depth)
        matrices = rng.standard_normal((self.n_chains, *self.shape))
        matrices *= self.start / math.sqrt(max(self.shape))
        left, sigma, right = numpy.linalg.svd(matrices, full_matrices=False)
        left, sigma, right = left[..., : self.rank], sigma[:, : self.rank], right[:, : self.rank]
        return langevin(
            energy.gradient,
            sigma if self.is_spectral else (left * sigma[:, None]) @ right,
            depth=depth,
            widths=self.widths(depth),
            rank=self.rank,
            beta=beta,
            kappa=self.kappa,
            step_size=self.step_size,
            n_steps=self.n_steps,
            scheme=self.scheme,
            energy=energy,
            rng=rng,
            save_every=self.thinning,
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


def read_problem(path: Path) -> Problem:
    """Read a problem of sampling.

    Files that it names are looked for beside it.

    Raises
    ------
    ValueError
        If there is no such file, or a key or value in it does not fit.
    """
    top = read_table(path, ("network", "energy", "langevin"))
    network = top.table("network", NETWORK)
    chosen = top.table("energy", None)
    energy = chosen.choice("name", ENERGIES)
    chosen.refuse_unknown(("name", *PARAMETERS[energy]))
    parameters = _parameters(chosen, energy)
    shape = _shape(network, next((a.shape for a in parameters.values() if _is_array(a)), None))
    depths = tuple(int(depth) for depth in network.numbers("depth", whole=True))
    rank = network.whole("rank", min(shape))
    hidden_width = network.whole("hidden_width", min(shape))
    for depth in depths:
        with _named(network):
            check_widths((shape[1], *[hidden_width] * (depth - 1), shape[0]), rank)
        if energy == "formula":
            with _named(chosen):
                SpectralExpression(depth=depth, **parameters)
    sampling = top.table("langevin", (*TEMPERATURES, *CHAINS))
    n_steps = sampling.whole("steps")
    burn_in = sampling.whole("burn_in", n_steps // 4, least=0)
    thinning = sampling.whole("thinning", 10)
    if (n_steps - burn_in) // thinning < 4:
        raise sampling.error(
            "steps",
            f"of {n_steps} steps after {burn_in} of burn_in, one draw in {thinning}, fewer than 4 "
            "draws are left: take more steps, or a smaller thinning",
        )
    scheme = sampling.choice("scheme", SCHEMES, "euler-maruyama")
    kappa = sampling.number("kappa", 1.0, least=0.0)
    if scheme == "metropolis" and kappa == 0:
        raise sampling.error("kappa", "the scheme metropolis needs noise: give more than 0")
    weight_decay = chosen.number("weight_decay", 0.0, least=0.0)
    if energy == "completion" and weight_decay == 0 and not parameters["mask"].all():
        raise chosen.error(
            "weight_decay",
            "missing entries are free to go to infinity, so that there is no equilibrium: give "
            "more than 0",
        )
    return Problem(
        shape=shape,
        depths=depths,
        rank=rank,
        hidden_width=hidden_width,
        energy=energy,
        parameters=parameters,
        weight_decay=weight_decay,
        betas=sampling.numbers("beta"),
        kappa=kappa,
        n_chains=sampling.whole("chains", 100, least=2),
        n_steps=n_steps,
        thinning=thinning,
        burn_in=burn_in,
        step_size=sampling.number("step_size"),
        scheme=scheme,
        seed=sampling.whole("seed", 0, least=0),
        start=sampling.number("start", 1.0),
    )


@contextlib.contextmanager
def _named(table: Table) -> Iterator[None]:
    """Say in an error which table it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{table.path}, [{table.name}]: {error}") from error


def _is_array(value: Any) -> bool:
    return isinstance(value, numpy.ndarray)


def _parameters(table: Table, energy: str) -> dict[str, Any]:
    """Return the arguments of an energy's class."""
    if energy == "double well":
        wells = table.numbers("wells", least=0.0)
        if len(wells) != 2 or wells[0] >= wells[1]:
            raise table.error("wells", f"expected two values in rising order, got {list(wells)}")
        return {"wells": wells, "barrier": table.number("barrier")}
    if energy == "formula":
        return {"formula": table.text("formula")}
    if energy == "least squares":
        target = _matrix(table, "target")
        if numpy.isnan(target).any():
            raise table.error(
                "target", "the matrix has missing entries: fill them in, or take 'completion'"
            )
        return {"target": target}
    if energy == "completion":
        observed = _matrix(table, "observed")
        return {"observed": numpy.nan_to_num(observed), "mask": numpy.isfinite(observed)}
    return {}


def _shape(network: Table, own: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape of the end-to-end matrix, which may be that of a file."""
    value = network.read("shape", own or REQUIRED, "[rows, columns] of the matrix")
    is_shape = isinstance(value, list | tuple) and len(value) == 2
    if not is_shape or not all(type(n) is int and n >= 1 for n in value):
        raise network.error("shape", f"expected [rows, columns] of the matrix, got {value!r}")
    if own not in (None, tuple(value)):
        raise network.error(
            "shape", f"the matrix in the file has shape {list(own or ())}: leave it out"
        )
    return value[0], value[1]


def _matrix(table: Table, key: str) -> Array:
    """Return the matrix of a file beside the problem, NaN where entries are missing."""
    # Not above: worker processes, which get a problem, have no use for tables and pictures.
    from dlngeo.app.matrix_files import read_matrix

    path = table.path.parent / table.text(key)
    try:
        file = read_matrix(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{table.path}, {table.full_name(key)}: {error}") from error
    if not file.known.values.size:
        raise table.error(key, f"all entries of {path} are missing")
    matrix = numpy.full(file.shape, numpy.nan)
    matrix[file.known.rows, file.known.columns] = file.known.values
    return matrix
