"""Kernels with derivative rules of their own, under every differentiating library.

A kernel that goes through a singular value decomposition must not be differentiated by the
library: the rule of the decomposition divides by differences of singular values. The rules given
here divide by sums; a rule that is itself made of differentiable kernels gives derivatives of any
order.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypedDict, TypeVar

import numpy

from dlngeo.core.base.arrays import Array, is_traced, namespace

P = ParamSpec("P")
R = TypeVar("R")


class Rules(TypedDict):
    """Rules of a primitive, as its decorator takes them."""

    jvp: Callable
    vjp: Callable


_PLAIN = {numpy.ndarray, bool, int, float, str, type(None)}
"""Types of which nothing is differentiated: the usual case, without the search."""


def refuse(*_: Any, **__: Any) -> Any:
    """Serve as the rule of a kernel that has none, instead of a silent NaN.

    Raises
    ------
    NotImplementedError
        Always.
    """
    raise NotImplementedError(
        "this derivative is not implemented. Curvature kernels of the balanced manifold (second "
        "fundamental form, Weingarten map, mean curvature, O'Neill's tensor) have none, its "
        "tangent projector and the metric of infinite depth have first derivatives, the entropy "
        "has second ones."
    )


def primitive(
    *,
    static: Sequence[str] = (),
    jvp: Callable = refuse,
    vjp: Callable = refuse,
    operator: Callable | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a kernel derivative rules of its own.

    The kernel takes arrays, or sequences of arrays such as the factors of a network, and returns
    an array or a tuple of arrays. Where nothing is differentiated it is called as it stands.
    Rules get and give what has the structure of the kernel's arguments: an array for an array, a
    sequence for a sequence. Cotangents may have the batch axes of the result: what was
    broadcast is summed.

    Parameters
    ----------
    static : sequence of str
        Names of the parameters that are not arrays, which come last: hashable, or lists of what
        is.
    jvp : callable
        ``jvp(arguments, result, tangents, **static)``: the tangents of the result.
    vjp : callable
        ``vjp(arguments, result, cotangents, **static)``: a tuple of cotangents, one for each
        of the arguments.
    operator : callable, optional
        Of a kernel that solves ``A(x) = b`` for its last argument ``b``, with a symmetric ``A``:
        ``operator(arguments, **static)`` is ``A``, the last of the arguments left out. JAX drops
        the rule of a function whose linear argument it transposes, but knows that of a linear
        solve by itself, which takes the place of the rules there.

    Returns
    -------
    decorator : callable
    """

    def decorator(kernel: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(kernel)
        names = tuple(name for name in signature.parameters if name not in static)

        @functools.wraps(kernel)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            given = _leaves((*args[: len(names)], *kwargs.values()))
            if not is_traced(*[leaf for leaf in given if type(leaf) not in _PLAIN]):
                return kernel(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = [bound.arguments[name] for name in names]
            structure = tuple(len(a) if _is_sequence(a) else None for a in arguments)
            options = tuple((name, _hashable(bound.arguments[name])) for name in static)
            leaves = list(_leaves(arguments))
            rule = _Rule(kernel, jvp, vjp, operator, names, structure, options)
            return _function(namespace(*leaves).__name__)(rule, *leaves)

        return wrapper

    return decorator


def rules_of_gradients(gradients: Callable[..., Sequence[Array]]) -> Rules:
    """Return the rules of a kernel of matrices, shape=[..., m, n], to a number, shape=[...].

    Parameters
    ----------
    gradients : callable
        Takes what the kernel takes, and returns its gradient by each of the matrices.
    """

    def jvp(arguments: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
        slopes = gradients(*arguments, **static)
        terms = [
            namespace(slope, tangent).sum(slope * tangent, axis=(-2, -1))
            for slope, tangent in zip(slopes, tangents, strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    def vjp(arguments: tuple, result: Array, cotangent: Array, **static: Any) -> tuple:
        slopes = gradients(*arguments, **static)
        return tuple(cotangent[..., None, None] * slope for slope in slopes)

    return {"jvp": jvp, "vjp": vjp}


# --- arguments and their structure --------------------------------------------------------


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _leaves(arguments: Sequence) -> Iterator[Array]:
    for argument in arguments:
        if _is_sequence(argument):
            yield from argument
        else:
            yield argument


@dataclass(frozen=True)
class _Rule:
    """A kernel with its rules, as functions of arrays that stand one after the other.

    Attributes
    ----------
    kernel, jvp_rule, vjp_rule : callable
    operator : callable or None
    names : tuple of str
        Parameters that are arrays, or sequences of arrays.
    structure : tuple of int or None
        Length of each that is a sequence, None for one that is an array.
    static : tuple of pairs
        Names and values of the other parameters.
    """

    kernel: Callable
    jvp_rule: Callable
    vjp_rule: Callable
    operator: Callable | None
    names: tuple[str, ...]
    structure: tuple[int | None, ...]
    static: tuple[tuple[str, Any], ...]

    def arguments(self, leaves: Sequence[Array]) -> tuple:
        """Return what the kernel takes."""
        rest = iter(leaves)
        return tuple(
            next(rest) if length is None else tuple(next(rest) for _ in range(length))
            for length in self.structure
        )

    def value(self, *leaves: Array) -> Any:
        arguments = dict(zip(self.names, self.arguments(leaves), strict=True))
        return self.kernel(**arguments, **dict(self.static))

    def jvp(self, leaves: Sequence[Array], result: Any, tangents: Sequence[Array]) -> Any:
        arguments, moves = self.arguments(leaves), self.arguments(tangents)
        return self.jvp_rule(arguments, result, moves, **dict(self.static))

    def vjp(self, leaves: Sequence[Array], result: Any, cotangents: Any) -> tuple[Array, ...]:
        pulled = self.vjp_rule(self.arguments(leaves), result, cotangents, **dict(self.static))
        pairs = zip(_leaves(pulled), leaves, strict=True)
        return tuple(_sum_to_shape(cotangent, leaf) for cotangent, leaf in pairs)


def _sum_to_shape(cotangent: Array, array: Array) -> Array:
    """Return a cotangent without the batch axes along which the array was broadcast."""
    if tuple(cotangent.shape) == tuple(array.shape):
        return cotangent
    xp = namespace(cotangent)
    more = cotangent.ndim - array.ndim
    if more > 0:
        cotangent = xp.sum(cotangent, axis=tuple(range(more)))
    axes = tuple(
        axis
        for axis, (size, own) in enumerate(zip(cotangent.shape, array.shape, strict=True))
        if size != own == 1
    )
    return xp.sum(cotangent, axis=axes, keepdims=True) if axes else cotangent


# --- libraries ----------------------------------------------------------------------------

# Each library gets one function, of rules and arrays: it keeps what it is given to differentiate.


@functools.cache
def _function(library: str) -> Callable:
    """Return the function of a rule and arrays that a library differentiates."""
    build = {"autograd": _autograd, "torch": _torch, "jax": _jax}
    return build[next(name for name in build if name in library)]()


def _autograd() -> Callable:
    from autograd.core import defvjp_argnums
    from autograd.extend import primitive as autograd_primitive

    function = autograd_primitive(lambda rule, *leaves: rule.value(*leaves))

    def unpacked(value: Any) -> Any:
        # A traced tuple is a sequence, but no tuple.
        return value if hasattr(value, "ndim") else tuple(value[i] for i in range(len(value)))

    def pull_back(argnums: tuple, result: Any, arguments: tuple, _: dict) -> Callable:
        rule, *leaves = arguments

        def cotangents_of(cotangents: Any) -> tuple:
            pulled = rule.vjp(leaves, unpacked(result), unpacked(cotangents))
            return tuple(pulled[i - 1] for i in argnums)

        return cotangents_of

    defvjp_argnums(function, pull_back)
    return lambda rule, *leaves: unpacked(function(rule, *leaves))


def _torch() -> Callable:
    import torch

    def own(result: Array, leaves: tuple) -> Array:
        # PyTorch refuses an argument that comes back as it is.
        return result.clone() if any(result is leaf for leaf in leaves) else result

    class Function(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(rule: _Rule, *leaves: Array) -> Any:
            result = rule.value(*leaves)
            if isinstance(result, tuple):
                return tuple(own(part, leaves) for part in result)
            return own(result, leaves)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
            ctx.rule, *leaves = inputs
            outputs = output if isinstance(output, tuple) else (output,)
            ctx.save_for_backward(*leaves, *outputs)
            ctx.save_for_forward(*leaves, *outputs)
            ctx.n_leaves = len(leaves)
            ctx.is_tuple = isinstance(output, tuple)

        @staticmethod
        def _saved(ctx: Any) -> tuple:
            saved = ctx.saved_tensors
            result = saved[ctx.n_leaves :]
            return saved[: ctx.n_leaves], result if ctx.is_tuple else result[0]

        @staticmethod
        def backward(ctx: Any, *cotangents: Array) -> tuple:
            leaves, result = Function._saved(ctx)
            pulled = ctx.rule.vjp(leaves, result, cotangents if ctx.is_tuple else cotangents[0])
            return (None, *pulled)

        @staticmethod
        def jvp(ctx: Any, _: None, *tangents: Array) -> Any:
            leaves, result = Function._saved(ctx)
            moves = [
                torch.zeros_like(leaf) if tangent is None else tangent
                for leaf, tangent in zip(leaves, tangents, strict=True)
            ]
            return ctx.rule.jvp(leaves, result, moves)

    return Function.apply


def _jax() -> Callable:
    import jax

    @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
    def value(rule: _Rule, *leaves: Array) -> Any:
        return rule.value(*leaves)

    @value.defjvp
    def _(rule: _Rule, leaves: tuple, tangents: tuple) -> tuple:
        result = value(rule, *leaves)
        return result, rule.jvp(leaves, result, tangents)

    def solution(rule: _Rule, operator: Callable, *leaves: Array) -> Array:
        *coefficients, right_hand_side = leaves
        return jax.lax.custom_linear_solve(
            operator(rule.arguments(leaves)[:-1], **dict(rule.static)),
            right_hand_side,
            lambda _, b: rule.value(*coefficients, b),
            symmetric=True,
        )

    def function(rule: _Rule, *leaves: Array) -> Any:
        if rule.operator is not None:
            return solution(rule, rule.operator, *leaves)
        return value(rule, *leaves)

    return function
