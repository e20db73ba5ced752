"""Problems of sampling, from TOML files."""

import difflib
import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from dlngeo.core.arrays import Array
from dlngeo.core.factors import check_widths
from dlngeo.sampling import LangevinResult, langevin
from dlngeo.sampling.driver import SCHEMES
from dlngeo.sampling.energies import DoubleWell, SpectralExpression, SquaredNorm, WithWeightDecay

SPECTRAL = ("squared norm", "double well", "formula")
ENERGIES = (*SPECTRAL, "least squares", "completion")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "squared norm": (),
    "double well": ("wells", "barrier", "weight_decay"),
    "formula": ("formula", "weight_decay"),
    "least squares": ("target", "weight_decay"),
    "completion": ("observed", "weight_decay"),
}
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
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: convert it.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error
    top = _Table(path, "", content, ("network", "energy", "langevin"))
    network = top.table("network", ("shape", "depth", "rank", "hidden_width"))
    chosen = top.table("energy", None)
    energy = chosen.choice("name", ENERGIES)
    chosen.refuse_unknown(("name", *PARAMETERS[energy]))
    parameters = _parameters(chosen, energy)
    shape = network.shape(next((a.shape for a in parameters.values() if _is_array(a)), None))
    depths = tuple(int(depth) for depth in network.numbers("depth", whole=True))
    rank = network.whole("rank", min(shape))
    hidden_width = network.whole("hidden_width", min(shape))
    for depth in depths:
        try:
            check_widths((shape[1], *[hidden_width] * (depth - 1), shape[0]), rank)
            if energy == "formula":
                SpectralExpression(depth=depth, **parameters)
        except ValueError as error:
            table = chosen if "formula" in str(error) else network
            raise ValueError(f"{path}, [{table.name}]: {error}") from error
    sampling = top.table(
        "langevin",
        (
            *("beta", "kappa", "chains", "steps", "step_size", "thinning", "burn_in", "scheme"),
            *("seed", "start"),
        ),
    )
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


def _is_array(value: Any) -> bool:
    return isinstance(value, numpy.ndarray)


def _parameters(table: "_Table", energy: str) -> dict[str, Any]:
    """Return the arguments of an energy's class."""
    if energy == "double well":
        wells = table.numbers("wells", least=0.0)
        if len(wells) != 2 or wells[0] >= wells[1]:
            raise table.error("wells", f"expected two values in rising order, got {list(wells)}")
        return {"wells": wells, "barrier": table.number("barrier")}
    if energy == "formula":
        return {"formula": table.text("formula")}
    if energy == "least squares":
        target = table.matrix("target")
        if numpy.isnan(target).any():
            raise table.error(
                "target", "the matrix has missing entries: fill them in, or take 'completion'"
            )
        return {"target": target}
    if energy == "completion":
        observed = table.matrix("observed")
        return {"observed": numpy.nan_to_num(observed), "mask": numpy.isfinite(observed)}
    return {}


_REQUIRED: Any = object()


@dataclass(frozen=True)
class _Table:
    """A table of a TOML file, of which values are read by their keys."""

    path: Path
    name: str
    values: Mapping[str, Any]
    known: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.known is not None:
            self.refuse_unknown(self.known)

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Refuse keys that are not among the known ones."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
                raise ValueError(f"{self.path}: there is no key {self._full(key)}: {remedy}")

    def error(self, key: str, message: str) -> ValueError:
        """Return an error about a value."""
        return ValueError(f"{self.path}, {self._full(key)}: {message}.")

    def _full(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _read(self, key: str, default: Any, expected: str) -> Any:
        if key in self.values:
            return self.values[key]
        if default is _REQUIRED:
            raise ValueError(f"{self.path}: {self._full(key)} is missing: give {expected}.")
        return default

    def table(self, key: str, known: tuple[str, ...] | None) -> "_Table":
        """Return a table within, of which the keys are known, or not yet."""
        values = self._read(key, _REQUIRED, f"a table [{key}]")
        if not isinstance(values, dict):
            raise self.error(key, f"expected a table [{key}], got {values!r}")
        return _Table(self.path, self._full(key), values, known)

    def choice(self, key: str, choices: tuple[str, ...], default: Any = _REQUIRED) -> str:
        """Return one of several texts."""
        value = self._read(key, default, f"one of {', '.join(choices)}")
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self.error(key, f"expected one of {', '.join(choices)}, got {value!r}{hint}")
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        value = self._read(key, _REQUIRED, "a text in quotes")
        if not isinstance(value, str):
            raise self.error(key, f"expected a text in quotes, got {value!r}")
        return value

    def whole(self, key: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        """Return an integer."""
        expected = f"an integer of at least {least}"
        value = self._read(key, default, expected)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
            raise self.error(key, f"expected {expected}, got {value!r}")
        return value

    def number(self, key: str, default: Any = _REQUIRED, *, least: float | None = None) -> float:
        """Return a number, positive or at least the least."""
        expected = "a positive number" if least is None else f"a number of at least {least:g}"
        return self._number(key, self._read(key, default, expected), least, expected)

    def numbers(
        self, key: str, *, whole: bool = False, least: float | None = None
    ) -> tuple[float, ...]:
        """Return different positive numbers, of which one may stand without brackets."""
        kind = "integer" if whole else "number"
        expected = f"a positive {kind}, or a list of them"
        value = self._read(key, _REQUIRED, expected)
        values = value if isinstance(value, list) else [value]
        numbers = tuple(self._number(key, item, least, expected) for item in values)
        if not numbers or (whole and any(number != int(number) for number in numbers)):
            raise self.error(key, f"expected {expected}, got {value!r}")
        if len(set(numbers)) < len(numbers):
            raise self.error(key, f"a value is there twice in {value!r}: take it out")
        return numbers

    def _number(self, key: str, value: Any, least: float | None, expected: str) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not (0 < value < math.inf if least is None else least <= value):
            raise self.error(key, f"expected {expected}, got {value!r}")
        if not math.isfinite(value):
            raise self.error(key, f"expected {expected}, finite, got {value!r}")
        return float(value)

    def shape(self, own: tuple[int, int] | None) -> tuple[int, int]:
        """Return the shape of the end-to-end matrix, which may be that of a file."""
        value = self._read("shape", own or _REQUIRED, "[rows, columns] of the matrix")
        is_shape = isinstance(value, list | tuple) and len(value) == 2
        if not is_shape or not all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in value
        ):
            raise self.error("shape", f"expected [rows, columns] of the matrix, got {value!r}")
        if own not in (None, tuple(value)):
            raise self.error(
                "shape", f"the matrix in the file has shape {list(own or ())}: leave it out"
            )
        return value[0], value[1]

    def matrix(self, key: str) -> Array:
        """Return the matrix of a file beside this one, NaN where entries are missing."""
        # Not above: worker processes, which get a problem, have no use for tables and pictures.
        from dlngeo.matrix_files import read_matrix

        path = self.path.parent / self.text(key)
        try:
            file = read_matrix(path)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.path}, {self._full(key)}: {error}") from error
        if not file.known.values.size:
            raise self.error(key, f"all entries of {path} are missing")
        matrix = numpy.full(file.shape, numpy.nan)
        matrix[file.known.rows, file.known.columns] = file.known.values
        return matrix
