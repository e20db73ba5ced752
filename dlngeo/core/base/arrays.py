"""Arrays of any namespace: NumPy, autograd, PyTorch and JAX.

A kernel takes the namespace from its arguments, so that one implementation serves
them all and differentiation passes through it. This module holds what the namespaces
do not share: which one an array belongs to, whether it is being differentiated, and
how a derivative rule is attached to a kernel.
"""

import sys
from types import ModuleType
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy

Array = Any
"""An array of one of the namespaces; their types share no common base."""


_NUMPY = {numpy.ndarray}


def _is_autograd_box(array: Array) -> bool:
    tracer = sys.modules.get("autograd.tracer")
    return tracer is not None and isinstance(array, tracer.Box)


def namespace(*arrays: Array) -> ModuleType:
    """Return the array namespace that the arguments share.

    Values traced by autograd belong to ``autograd.numpy``, also beside NumPy arrays.

    Raises
    ------
    TypeError
        If the arguments are not arrays, or belong to different libraries.
    """
    if _NUMPY.issuperset(map(type, arrays)):
        return array_api_compat.numpy  # the usual case, without the search
    if any(_is_autograd_box(array) for array in arrays):
        import autograd.numpy

        return autograd.numpy
    try:
        found = array_api_compat.array_namespace(*arrays)
        if not any(library in found.__name__ for library in ("numpy", "torch", "jax")):
            raise TypeError(f"{found.__name__} is none of them")
        return found
    except TypeError as error:
        kinds = ", ".join(sorted({type(array).__name__ for array in arrays}))
        is_network = any(hasattr(array, "factors") for array in arrays)
        raise TypeError(
            f"expected arrays of one library (NumPy, PyTorch or JAX), got {kinds}: "
            + (
                "a network is no point of a space, take space.from_factors(network)."
                if is_network
                else "convert lists and tables by numpy.asarray."
            )
        ) from error


def is_traced(*arrays: Array) -> bool:
    """Tell whether any of the arrays is being differentiated, compiled or mapped.

    Traced arrays have no definite values, so they are not validated; and where a kernel
    has a fast form in singular frames, they take the form that can be differentiated.
    """
    for array in arrays:
        if type(array) is numpy.ndarray:
            continue
        if _is_autograd_box(array):
            return True
        if array_api_compat.is_torch_array(array):
            import torch

            if (
                (array.requires_grad and torch.is_grad_enabled())
                or torch._C._functorch.is_functorch_wrapped_tensor(array)
                or torch.autograd.forward_ad.unpack_dual(array).tangent is not None
            ):
                return True
        elif array_api_compat.is_jax_array(array):
            import jax

            if isinstance(array, jax.core.Tracer):
                return True
    return False


def to_numpy(array: Array) -> numpy.ndarray:
    """Return an array of any library on the host, in double precision.

    Raises
    ------
    NotImplementedError
        If it has no definite values, or what differentiates it would lose track.
    """
    if is_traced(array):
        raise NotImplementedError(
            "this function runs on the host, on definite values, and has no derivative here: "
            "detach() a tensor that requires grad; it cannot be traced by jax.jit, torch.func or "
            "vmap."
        )
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu().numpy()
    return numpy.asarray(array, dtype=float)


def from_numpy(array: numpy.ndarray, like: Array) -> Array:
    """Return a NumPy array in the library, on the device and of the type of another array.

    Integers stand for floats.
    """
    if _is_autograd_box(like):
        return array.astype(like.dtype)
    xp = namespace(like)
    dtype = like.dtype if "float" in str(like.dtype) else xp.asarray(0.0).dtype
    return xp.asarray(array, dtype=dtype, device=array_api_compat.device(like))


def in_precision_of(model: Array, array: Array) -> Array:
    """Return an array in the floating type of another one of its library.

    Raises
    ------
    TypeError
        If they are of different libraries.
    """
    if array.dtype == model.dtype:
        namespace(model, array)
        return array
    if _is_autograd_box(array):
        return array.astype(model.dtype)
    return namespace(model, array).asarray(array, dtype=model.dtype)


def transpose(array: Array) -> Array:
    """Transpose the last two axes."""
    return array.swapaxes(-1, -2)


def symmetric_part(array: Array) -> Array:
    """Return ``(A + Aᵀ) / 2``."""
    return (array + transpose(array)) / 2


def quotient(array: Array, divisor: Array) -> Array:
    """Return ``array / divisor``, zero where the divisor is."""
    xp = namespace(array, divisor)
    is_zero = divisor == 0
    result = array / xp.where(is_zero, xp.ones_like(divisor), divisor)
    return xp.where(is_zero, xp.zeros_like(result), result)


def eye(rows: int, columns: int, like: Array) -> Array:
    """Return the ``rows × columns`` identity, of the library, type and device of an array."""
    if _is_autograd_box(like):
        return namespace(like).eye(rows, columns, dtype=like.dtype)
    xp = namespace(like)
    return xp.eye(rows, columns, dtype=like.dtype, device=array_api_compat.device(like))


def diagonal_matrix(values: Array) -> Array:
    """Return the matrix with the given diagonal, shape=[..., r] to [..., r, r]."""
    return values[..., None, :] * eye(values.shape[-1], values.shape[-1], values)


def off_diagonal(matrix: Array) -> Array:
    """Return square matrices, shape=[..., r, r], with zeros on the diagonal.

    A sum over ``l ≠ k`` is made of these: taking ``l = k`` off the whole sum leaves its round-off.
    """
    size = matrix.shape[-1]
    return matrix * (1 - eye(size, size, matrix))


def round_off(array: Array) -> float:
    """Return the machine precision of the array's type."""
    return float(namespace(array).finfo(array.dtype).eps)


def eigh(symmetric: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return eigenvalues and eigenvectors; NaN where a trial step went out of all bounds."""
    is_wild = ~numpy.isfinite(symmetric).all(axis=(-2, -1))
    if is_wild.any():
        symmetric = numpy.where(is_wild[..., None, None], 0.0, symmetric)
    lam, frame = numpy.linalg.eigh(symmetric)
    return numpy.where(is_wild[..., None], numpy.nan, lam), frame
