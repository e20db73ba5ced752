"""Balanced copies of PyTorch modules."""

import torch

from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import output_bias
from dlngeo.torch.affine_modules import output_error, read_module
from dlngeo.torch.writing import module_like


def balance_module(module: torch.nn.Module, rank: int | None = None) -> torch.nn.Module:
    r"""Return a balanced copy of a module whose map is affine, with the same outputs.

    The weights become those of `dlngeo.core.networks.balancing.balance`. Biases ``b_p`` add up to
    ``Σ_p W_{>p} b_p`` at the output whatever the factors are: the last layer takes all of it, and
    the biases of hidden layers become zero.

    Every layer of the copy has a weight of its own: what layers share is untied, and what is
    computed anew in every call, by weight normalisation or a mask, is baked in as it is when the
    module evaluates. That the outputs are the same is checked in the end.

    Parameters
    ----------
    module : torch.nn.Module
        As ``LinearNetwork.from_module`` reads it: of Linear layers, in Sequential modules or with
        a ``forward`` of its own.
    rank : int, optional
        Rank of the end-to-end matrix, the smallest width by default.

    Returns
    -------
    balanced : like module
        A copy; parameters keep their type, device and ``requires_grad``.

    Raises
    ------
    ValueError
        If a layer is of another kind, the end-to-end matrix has a lower rank, or the outputs of
        the copy differ, as where the rank truncates.

    References
    ----------
    THEORY 2, 5.
    """
    read = read_module(module)
    hidden = [None] * (len(read.weights) - 1)
    balanced = balance(read.weights, rank)
    result = module_like(module, balanced, [*hidden, output_bias(read.weights, read.biases)])
    error = output_error(result, read.weights, read.biases)
    if not error <= 1:
        raise ValueError(
            f"the balanced copy has other outputs, off by {error:.1e} times what round-off "
            "explains: with a rank below that of the end-to-end matrix it is truncated, give none."
        )
    return result
