"""Problems of sampling, from TOML files."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy

from dlngeo.app.files.matrix_tables import read_matrix
from dlngeo.app.files.table_layouts import Layout
from dlngeo.app.files.text_tables import DECIMALS, DELIMITERS
from dlngeo.app.files.toml_tables import REQUIRED, Table, read_table
from dlngeo.app.options import LARGEST_DEPTH
from dlngeo.app.problems import ENERGIES, SPECTRAL_ENERGIES, Problem, widths_at
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import shown
from dlngeo.core.base.memory import BYTES_PER_NUMBER, check_memory
from dlngeo.core.networks.factors import check_widths
from dlngeo.sampling.energies import SpectralExpression
from dlngeo.sampling.langevin_dynamics.schemes import LIMIT_SCHEMES, SCHEMES

NETWORK = ("shape", "depth", "rank", "hidden_width")
BYTES_PER_DRAW = 24
"""At least so many are needed to keep a singular value of a draw, and to look at its chain."""

LANGEVIN = (
    *("beta", "kappa", "swap_every"),
    *("chains", "steps", "step_size", "thinning", "burn_in", "scheme", "determinant"),
    *("seed", "start"),
)


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
    energy = chosen.choice("name", tuple(ENERGIES))
    keys, read_parameters = _PARAMETERS[energy]
    chosen.refuse_unknown(("name", *keys))
    parameters = read_parameters(chosen)
    matrices = [value for value in parameters.values() if isinstance(value, numpy.ndarray)]
    shape = _shape(network, matrices[0].shape if matrices else None)
    depths = network.depths("depth")
    rank = network.whole("rank", min(shape))
    hidden_width = network.whole("hidden_width", min(shape))
    for depth in depths:
        if math.inf > depth > LARGEST_DEPTH:
            raise network.error("depth", f"expected at most {LARGEST_DEPTH}, got {depth}")
        with _at(f"{path}, [network]"):
            check_widths(widths_at(depth, shape, hidden_width), rank)
        if depth == math.inf:
            _check_infinite(network, chosen, energy, {*shape, rank, hidden_width})
        if energy == "formula":
            with _at(f"{path}, [energy]"):
                SpectralExpression(depth=depth, **parameters)
    sampling = top.table("langevin", LANGEVIN)
    n_steps = sampling.whole("steps")
    burn_in = sampling.whole("burn_in", n_steps // 4, least=0)
    thinning = sampling.whole("thinning", 10)
    if (n_steps - burn_in) // thinning < 4:
        raise sampling.error(
            "steps",
            f"of {n_steps} steps after {burn_in} of burn_in, one draw in {thinning}, fewer than 4 "
            "draws are left: take more steps, or a smaller thinning",
        )
    n_chains = sampling.whole("chains", 100, least=2)
    betas = sampling.numbers("beta")
    n_draws = (n_steps - burn_in) // thinning * len(betas) * len(depths)
    n_layers = max(depth for depth in (1, *depths) if depth < math.inf)
    n_entries = max(shape) * max(*shape, hidden_width * int(n_layers))
    check_memory(
        n_chains * max(BYTES_PER_DRAW * n_draws * rank, BYTES_PER_NUMBER * n_entries),
        f"{path}, langevin.chains: {n_chains} chains of {n_draws} draws",
        "take fewer chains or steps, or a larger thinning",
    )
    schemes = LIMIT_SCHEMES if math.inf in depths else SCHEMES
    scheme = sampling.choice("scheme", tuple(schemes), "euler-maruyama")
    determinant = sampling.choice("determinant", ("either", "positive", "negative"), "either")
    has_components = shape[0] == shape[1] == rank and energy not in SPECTRAL_ENERGIES
    if determinant != "either" and not has_components:
        raise sampling.error(
            "determinant",
            "singular values are one space, as are matrices that are not square or not of full "
            "rank: leave it out",
        )
    kappa = sampling.number("kappa", 1.0, or_zero=True)
    if scheme == "metropolis" and kappa == 0:
        raise sampling.error("kappa", "the scheme metropolis needs noise: give more than 0")
    swap_every = sampling.whole("swap_every") if "swap_every" in sampling.values else None
    if swap_every is not None and (len(betas) < 2 or kappa == 0):
        raise sampling.error(
            "swap_every",
            "exchanges are between two or more temperatures (beta), with noise (kappa)",
        )
    weight_decay = chosen.number("weight_decay", 0.0, or_zero=True)
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
        betas=betas,
        kappa=kappa,
        swap_every=swap_every,
        n_chains=n_chains,
        n_steps=n_steps,
        thinning=thinning,
        burn_in=burn_in,
        step_size=sampling.number("step_size"),
        scheme=scheme,
        determinant=None if determinant == "either" else determinant,
        seed=sampling.whole("seed", 0, least=0),
        start=sampling.number("start", 1.0),
    )


def _check_infinite(network: Table, chosen: Table, energy: str, sizes: set[int]) -> None:
    """Raise an error if there is no law of infinite depth."""
    if len(sizes) > 1:
        raise network.error(
            "depth", "infinite depth is of square matrices of full rank, all layers of their width"
        )
    if energy != "formula" or "weight_decay" in chosen.values:
        raise network.error(
            "depth",
            "at infinite depth the energy must rise towards singular values zero, or there is no "
            "law: give a formula that does, such as 'log(s)**2 / 2', without weight_decay",
        )


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Say in an error what in the file it is about."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"{place}: {error}") from error


def _read_wells(table: Table) -> dict[str, Any]:
    wells = table.numbers("wells", or_zero=True)
    if len(wells) != 2 or wells[0] >= wells[1]:
        raise table.error("wells", f"expected two values in rising order, got {list(wells)}")
    return {"wells": wells, "barrier": table.number("barrier")}


def _read_target(table: Table) -> dict[str, Any]:
    target = _matrix(table, "target")
    if numpy.isnan(target).any():
        raise table.error(
            "target", "the matrix has missing entries: fill them in, or take 'completion'"
        )
    return {"target": target}


def _read_observed(table: Table) -> dict[str, Any]:
    observed = _matrix(table, "observed")
    return {"observed": numpy.nan_to_num(observed), "mask": numpy.isfinite(observed)}


class _FileLayout(Layout):
    """What a problem tells of the text table that it names."""

    def spell(self, name: str, value: bool) -> str:
        return f"{name} = {str(value).lower()}"


LAYOUT = tuple(field.name for field in fields(Layout))

_PARAMETERS: Mapping[str, tuple[tuple[str, ...], Callable[[Table], dict[str, Any]]]] = {
    "squared norm": ((), lambda table: {}),
    "double well": (("wells", "barrier", "weight_decay"), _read_wells),
    "formula": (("formula", "weight_decay"), lambda table: {"formula": table.text("formula")}),
    "least squares": (("target", *LAYOUT, "weight_decay"), _read_target),
    "completion": (("observed", *LAYOUT, "weight_decay"), _read_observed),
}
"""Keys of each energy beside its name, and its parameters from the table."""


def _shape(network: Table, own: tuple[int, int] | None) -> tuple[int, int]:
    """Return the shape of the end-to-end matrix, which may be that of a file."""
    value = network.read("shape", own or REQUIRED, "[rows, columns] of the matrix")
    is_shape = isinstance(value, list | tuple) and len(value) == 2
    if not is_shape or not all(type(n) is int and n >= 1 for n in value):
        raise network.error("shape", f"expected [rows, columns] of the matrix, got {shown(value)}")
    if own not in (None, tuple(value)):
        raise network.error(
            "shape", f"the matrix in the file has shape {list(own or ())}: leave it out"
        )
    return value[0], value[1]


def _matrix(table: Table, key: str) -> Array:
    """Return the matrix of a file beside the problem, NaN where entries are missing."""
    path = table.path.parent / table.text(key)
    with _at(f"{table.path}, {table.full_name(key)}"):
        file = read_matrix(path, _layout(table))
        check_memory(
            BYTES_PER_NUMBER * math.prod(file.shape),
            f"the matrix of shape {list(file.shape)} in {path}",
            "take fewer rows and columns",
        )
    if not file.known.values.size:
        raise table.error(key, f"all entries of {path} are missing")
    matrix = numpy.full(file.shape, numpy.nan)
    matrix[file.known.rows, file.known.columns] = file.known.values
    return matrix


def _layout(table: Table) -> Layout:
    """Return what is told of a text table."""
    told: dict[str, Any] = {}
    for name, names in (("delimiter", DELIMITERS), ("decimal", DECIMALS)):
        if name in table.values:
            told[name] = table.choice(name, tuple(names))
    for name in ("header", "index", "triples"):
        if name in table.values and not isinstance(table.values[name], bool):
            raise table.error(name, f"expected true or false, got {shown(table.values[name])}")
        told[name] = table.values.get(name)
    if "columns" in table.values:
        told["columns"] = tuple(part.strip() for part in table.text("columns").split(","))
    return _FileLayout(**told)
