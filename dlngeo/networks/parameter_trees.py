"""Layers of networks from parameters alone: state dicts of PyTorch, trees of JAX."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, instance, shown

Layers = tuple[list[Array], list[Array | None]]
"""Weights, shape=[d_p, d_{p-1}], and biases, shape=[d_p] or None."""

_REMEDY = "read the module itself (LinearNetwork.from_module), or give the weights alone."


def layers_of_state(state: Mapping[str, Any], prefix: str = "") -> Layers:
    """Return the layers of a state dict of PyTorch, in its order: ``*.weight`` and ``*.bias``.

    Parameters
    ----------
    state : dict
        Arrays or tensors by name, as of ``module.state_dict()``.
    prefix : str
        Only names that begin with it are read, as "head.".

    Raises
    ------
    ValueError
        If there is no weight, one is no matrix, or something is no weight or bias.
    """
    instance(state, Mapping, "the state dict")
    weights: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    for name, value in state.items():
        if not name.startswith(prefix):
            continue
        layer, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias"):
            raise ValueError(
                f"expected weights and biases of Linear layers, got {name}, as of normalisation or "
                f"weights that are computed: {_REMEDY}"
            )
        array = host_array(_detached(value), name)
        if array.ndim != (2 if kind == "weight" else 1):
            raise ValueError(
                f"expected weights and biases of Linear layers, got {name} of shape {array.shape}, "
                f"as of convolution or normalisation: {_REMEDY}"
            )
        (weights if kind == "weight" else biases)[layer] = array
    if not weights:
        names = ", ".join(map(str, list(state)[:5])) or "nothing"
        raise ValueError(f"no weight has a name that begins with {prefix!r}: there are {names}.")
    lonely = [layer for layer in biases if layer not in weights]
    if lonely:
        raise ValueError(f"layer {lonely[0]} has a bias but no weight: {_REMEDY}")
    return list(weights.values()), [biases.get(layer) for layer in weights]


def layers_of_tree(tree: Any) -> Layers:
    """Return the layers of a tree of JAX: dicts with a kernel, which is transposed, and a bias.

    Layers stand in lists in the order in which data flow. In dicts it is that of the numbers that
    their names end with, as of ``Dense_0, Dense_1``; without numbers that of the dict.

    Parameters
    ----------
    tree : dict or list
        Nested; of layers with ``kernel`` and ``bias``, as in Flax, or ``w`` and ``b``, as in Haiku:
        ``y = x @ kernel + bias``.

    Raises
    ------
    ValueError
        If something is no such layer, or names are numbered in part.
    """
    layers = list(_dense_layers(tree, "the tree"))
    if not layers:
        raise ValueError("expected a tree of layers with a kernel, got an empty one.")
    return [kernel.T for kernel, _ in layers], [bias for _, bias in layers]


def _dense_layers(tree: Any, place: str) -> Iterator[tuple[Array, Array | None]]:
    if isinstance(tree, Mapping):
        for kernel, bias in (("kernel", "bias"), ("w", "b")):
            if kernel in tree:
                yield _dense_layer(dict(tree), kernel, bias, place)
                return
        for name in _in_order(list(tree), place):
            yield from _dense_layers(tree[name], f"{name} of {place}")
    elif isinstance(tree, list):
        for p, part in enumerate(tree):
            yield from _dense_layers(part, f"entry {p} of {place}")
    else:
        raise ValueError(
            f"expected dicts and lists of layers with a kernel, got {type(tree).__name__} as "
            f"{place}: give the weights, of which outputs are rows, to LinearNetwork(weights, "
            "biases)."
        )


def _dense_layer(
    layer: dict[str, Any], kernel: str, bias: str, place: str
) -> tuple[Array, Array | None]:
    unknown = set(layer) - {kernel, bias}
    matrix = host_array(layer[kernel], f"{kernel} of {place}")
    if unknown or matrix.ndim != 2:
        raise ValueError(
            f"expected a layer with a matrix {kernel} and perhaps {bias}, got {kernel} of shape "
            f"{matrix.shape} beside {shown(sorted(unknown))} in {place}: convolutions and "
            "normalisation are not read."
        )
    return matrix, None if layer.get(bias) is None else host_array(
        layer[bias], f"{bias} of {place}"
    )


def _in_order(names: list[Any], place: str) -> list[Any]:
    """Return names in the order of their numbers, if they have some."""
    numbers = [re.search(r"(\d+)$", str(name)) for name in names]
    if not any(numbers):
        return names
    stems = {str(name).rstrip("0123456789") for name in names}
    if len(stems) > 1:
        raise ValueError(
            f"the order of the layers {shown(names)} in {place} is not told by their numbers: give "
            "a list of them, in the order in which data flow."
        )
    return sorted(names, key=lambda name: int(re.search(r"\d+$", str(name)).group()))  # type: ignore[union-attr]


def _detached(value: Any) -> Any:
    return value.detach() if hasattr(value, "detach") else value
