r"""Conservation laws of gradient flows: how many there are, and whether the known ones are all.

A function ``h`` is conserved by every flow ``θ̇ = -∇(f∘φ)(θ)`` if ``⟨∇h, ∇φ_i⟩ = 0`` for all
entries of ``φ``. Near a generic point there are ``D - dim Lie`` independent ones, where ``Lie`` is
the Lie algebra that the ``∇φ_i`` generate.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from dlngeo.core.base.checks import flag
from dlngeo.intrinsic.conservation.lie_algebra import LieDimension, lie_dimension, network_chain
from dlngeo.intrinsic.conservation.network_laws import (
    Laws,
    NetworkLaws,
    check_network,
    known_count,
    n_parameters_of,
    scalar_parts,
)

LARGEST, DEEPEST = 2000, 100
"""Dimension of the Lie algebra up to which it is computed: about a minute."""


@dataclass(frozen=True, eq=False)
class ConservationLaws:
    """Count of the conservation laws of a map ``φ`` near a generic point.

    Attributes
    ----------
    n_parameters : int
        Number ``D`` of parameters.
    n_laws : int
        Maximal number of independent laws, ``D - dim Lie``.
    lie_algebra_dimension : int
        Dimension of the Lie algebra at a generic point.
    n_known : int
        Number of independent known laws.
    complete : bool
        Whether the known laws are all: every other is a function of them, locally.
    is_proved : bool
        Whether the numbers are proved, by bounds that meet or by a theorem; otherwise they are
        certified by random points modulo two primes.
    known : NetworkLaws or PolynomialLaws
        The known laws, as a function of the parameters, with ``names``.
    status : str
        What is known, how, and what the known laws miss.
    """

    n_parameters: int
    n_laws: int
    lie_algebra_dimension: int
    n_known: int
    complete: bool
    is_proved: bool
    known: Laws
    status: str


def conservation_laws(
    widths: Sequence[int], kind: str = "linear", bias: bool = False
) -> ConservationLaws:
    r"""Count the conservation laws of a network's gradient flow.

    For linear networks ``φ`` is the end-to-end matrix, and with biases also the end-to-end bias
    ``Σ_p W_{>p} b_p``. The known laws bound the dimension of the Lie algebra from above, exact
    arithmetic at a random point from below: where the bounds meet the count is proved.

    For ReLU networks ``φ`` is the path-lifting, all products of weights along the paths from
    inputs, or biases, to outputs. At parameters without a zero its differential has the rank of
    the incidence matrix of paths and parameters. A vector that sums to zero along all paths is
    a difference of potentials of the hidden neurons; so the rank is ``D`` less their number, and
    the known laws, one a hidden neuron, are complete for all sizes.

    Parameters
    ----------
    widths : sequence of int
        ``(d_0, ..., d_N)``, from the inputs to the outputs.
    kind : str
        "linear" or "relu".
    bias : bool
        Whether every layer has a bias.

    Returns
    -------
    laws : ConservationLaws
        Linear networks with a scalar-to-scalar part, at depth three and more, have more laws than
        the known ones: ``status`` names it.

    Raises
    ------
    ValueError
        If the widths are not those of a network, or a deep linear network is too large for the
        exact count.

    References
    ----------
    [MGP23]; [MPG25]; THEORY 6.
    """
    widths = check_network(widths, kind)
    bias = flag(bias, "bias")
    n_parameters = n_parameters_of(widths, bias)
    n_known = known_count(widths, kind, bias)
    parts = [] if kind == "relu" or bias else scalar_parts(widths)
    bound = n_parameters - n_known - sum(further for _, further in parts)
    depth = len(widths) - 1
    how = "the bounds meet"
    if kind == "relu" or depth == 1 or (depth == 2 and not bias and bound > LARGEST):
        dimension, how = LieDimension(bound, True), "by a theorem"
    elif bound <= LARGEST and depth <= DEEPEST:
        dimension = lie_dimension(network_chain(widths, bias), bound)
    elif depth > DEEPEST:
        raise ValueError(
            f"a linear network of {depth} layers is too large for the exact count, which ends at "
            f"{DEEPEST}. Its entries of the moment map are {n_known} independent laws; take fewer "
            "layers to see whether these are all."
        )
    else:
        raise ValueError(
            f"a linear network of widths {widths} is too large for the exact count: its Lie "
            f"algebra has up to {bound} dimensions, more than {LARGEST}. Its entries of the moment "
            f"map are {n_known} independent laws; scale the widths down in proportion to see "
            "whether these are all."
        )
    note = "".join(
        f" The scalar-to-scalar part {part} follows the gradient of one function, which has "
        f"{n_parameters_of(part, False) - 1} local integrals: {further} beyond the moment map."
        for part, further in parts
    )
    laws = count_laws(n_parameters, dimension, n_known, NetworkLaws(widths, kind, bias), how)
    return dataclasses.replace(laws, status=laws.status + note)


def count_laws(
    n_parameters: int, lie: LieDimension, n_known: int, known: Laws, how: str = "the bounds meet"
) -> ConservationLaws:
    """Return the count of laws that a Lie algebra leaves, and how it is proved if it is."""
    n_laws = n_parameters - lie.dimension
    complete = n_known == n_laws
    if n_laws == 0:
        counts = "there are no laws"
    elif complete:
        counts = f"complete: the known laws, {n_known} of them independent, are all"
    else:
        counts = f"not complete: {n_known} of {n_laws} laws are known"
    evidence = "certified at random points modulo two primes"
    return ConservationLaws(
        n_parameters=n_parameters,
        n_laws=n_laws,
        lie_algebra_dimension=lie.dimension,
        n_known=n_known,
        complete=complete,
        is_proved=lie.is_proved,
        known=known,
        status=f"{counts} ({f'proved: {how}' if lie.is_proved else evidence}).",
    )
