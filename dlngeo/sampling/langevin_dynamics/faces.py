"""The faces of the Langevin equation: what initial states are, and of which network."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, in_batch
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.components import check_determinant, check_initial
from dlngeo.core.networks.factors import check_widths, is_infinite, network_shape, widths_of
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.networks.network import end_to_end
from dlngeo.sampling.langevin_dynamics.equation import Equation

FACTORS, OBSERVABLES, SINGULAR_VALUES = "factors", "observables", "singular values"


class Face(NamedTuple):
    """Where chains live.

    Attributes
    ----------
    name : str
        Factors, observables or singular values.
    widths : tuple of int
        At infinite depth the two ends.
    rank : int
    start : tuple of array
        Balanced factors, or a matrix alone; of singular values the diagonal one.
    is_stacked : bool
        Whether factors come and go as one array.
    is_infinite : bool
        Whether the depth is infinite.
    """

    name: str
    widths: tuple[int, ...]
    rank: int
    start: tuple[Array, ...]
    is_stacked: bool = False
    is_infinite: bool = False

    @property
    def depth(self) -> float:
        """Depth of the network."""
        return math.inf if self.is_infinite else len(self.widths) - 1

    @property
    def is_of_factors(self) -> bool:
        """Whether chains are of factors."""
        return self.name == FACTORS

    @property
    def is_spectral(self) -> bool:
        """Whether chains are of singular values."""
        return self.name == SINGULAR_VALUES

    @property
    def points(self) -> Array:
        """What the energy is a function of at the start: matrices, or values in falling order."""
        if self.is_spectral:
            return -numpy.sort(-numpy.diagonal(self.start[0], axis1=-2, axis2=-1), axis=-1)
        return end_to_end(self.start)

    def repeated(self, times: int) -> "Face":
        """Return the face whose chains start several times each, one set after the other."""
        return self._replace(start=tuple(numpy.concatenate([a] * times) for a in self.start))


def face_of(
    initial: Any, depth: float | None, widths: Sequence[int] | None, rank: int | None
) -> Face:
    """Return the face that initial states of any library are of.

    Raises
    ------
    ValueError
        If they are of none, or do not fit depth, widths or rank.
    """
    if isinstance(initial, tuple | list):
        layers = tuple(host_array(layer, "a factor") for layer in initial)
        dimensions = [layer.ndim for layer in layers]
        if dimensions != [3] * max(len(layers), 1):
            raise ValueError(
                "factors of chains must be a tuple of arrays [chains, d_p, d_{p-1}], got shapes "
                f"{[layer.shape for layer in layers]}: give one array for matrices or singular "
                "values, and one chain as [1, ...]."
            )
        return _face_of_factors(layers, False, depth, widths, rank)
    array = host_array(initial, "the initial state")
    if array.ndim == 4:
        return _face_of_factors(tuple(array.swapaxes(0, 1)), True, depth, widths, rank)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(
            "initial must be factors [chains, N, d, d], end-to-end matrices [chains, d_N, d_0] or "
            f"singular values [chains, r], got shape {array.shape}: one chain is [1, ...]."
        )
    if depth is None:
        raise ValueError("matrices and singular values need the depth of the network: give depth=.")
    if array.ndim == 2:
        return _face_of_values(array, depth, widths, rank)
    widths, rank = _network_shape(array, depth, widths, rank)
    exact_frames(array, rank)
    return Face(OBSERVABLES, widths, rank, (array,), is_infinite=is_infinite(depth))


def _face_of_values(
    values: Array, depth: float, widths: Sequence[int] | None, rank: int | None
) -> Face:
    is_other = ~(values > 0).all(axis=1)
    if is_other.any():
        raise ValueError(
            "an array [chains, r] holds singular values, which must be positive"
            f"{in_batch(is_other)}: give one matrix as [1, d_N, d_0]."
        )
    n_values = values.shape[1]
    if rank not in (None, n_values):
        raise ValueError(f"there are {n_values} singular values: leave out rank={rank}.")
    rows, columns = (n_values, n_values) if widths is None else (widths[-1], widths[0])
    matrix = numpy.zeros((len(values), rows, columns))
    diagonal = numpy.arange(min(n_values, rows, columns))
    matrix[:, diagonal, diagonal] = values[:, : len(diagonal)]
    widths, rank = _network_shape(matrix, depth, widths, n_values)
    return Face(SINGULAR_VALUES, widths, rank, (matrix,), is_infinite=is_infinite(depth))


def _network_shape(
    matrix: Array, depth: float, widths: Sequence[int] | None, rank: int | None
) -> tuple[tuple[int, ...], int]:
    """Return widths and rank of a network over matrices; of infinite depth it has the ends."""
    if not is_infinite(depth):
        return network_shape(matrix, depth, widths, rank)
    rank = check_observable(matrix, depth, rank)
    if widths is not None:
        raise ValueError(
            "at infinite depth hidden layers are as wide as the rank: leave out widths."
        )
    return matrix.shape[:-3:-1], rank


def _face_of_factors(
    layers: tuple[Array, ...],
    is_stacked: bool,
    depth: float | None,
    widths: Sequence[int] | None,
    rank: int | None,
) -> Face:
    if depth not in (None, len(layers)):
        raise ValueError(f"there are {len(layers)} factors: leave out depth={depth}.")
    if len({len(layer) for layer in layers}) > 1:
        raise ValueError(f"factors of {[len(layer) for layer in layers]} chains: give one number.")
    own, rank = check_widths(widths_of(layers), rank)
    if widths is not None and tuple(widths) != own:
        raise ValueError(f"the factors have the widths {own}: leave out widths={widths}.")
    layers = balance(layers, rank)
    exact_frames(end_to_end(layers), rank)
    return Face(FACTORS, own, rank, layers, is_stacked)


def check_component(face: Face, equation: Equation) -> None:
    """Raise a ValueError if initial states are not of the component that chains are confined to."""
    determinant = equation.determinant
    has_components = equation.has_components and not face.is_spectral
    check_determinant(determinant, equation.space, has_components=has_components)
    if determinant is not None:
        check_initial(end_to_end(face.start), determinant)
