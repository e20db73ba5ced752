"""Kernels with derivative rules of their own, under every differentiating library."""

import functools
from collections.abc import Callable
from typing import Any

from dlngeo.core.base.arrays import Array, is_traced, namespace


class Primitive:
    """A kernel with a derivative rule of its own, under every differentiating library.

    A kernel that goes through a singular value decomposition must not be differentiated
    by the library: the rule of the decomposition divides by differences of singular
    values. The rules given here divide by sums; a rule that is itself made of
    differentiable kernels gives derivatives of any order.

    Parameters
    ----------
    value : callable
        ``value(*arrays, **static)``: an array or a tuple of arrays.
    jvp : callable
        ``jvp(arrays, result, tangents, **static)``: the tangents of the result.
    vjp : callable
        ``vjp(arrays, result, cotangents, **static)``: a tuple of cotangents, one for
        each of the arrays.
    """

    def __init__(self, value: Callable, jvp: Callable, vjp: Callable):
        self._value = value
        self._jvp = jvp
        self._vjp = vjp
        self._for_static = functools.lru_cache(maxsize=None)(self._build)

    def __call__(self, *arrays: Array, **static: Any) -> Any:
        if not is_traced(*arrays):
            return self._value(*arrays, **static)
        build = {"autograd": self._autograd, "torch": self._torch, "jax": self._jax}
        library = namespace(*arrays).__name__
        kind = next(name for name in build if name in library)
        return self._for_static(build[kind], tuple(static.items()))(*arrays)

    @staticmethod
    def _build(build: Callable, static: tuple) -> Callable:
        return build(dict(static))

    def _autograd(self, static: dict) -> Callable:
        from autograd.core import defvjp_argnums
        from autograd.extend import primitive

        function = primitive(lambda *arrays: self._value(*arrays, **static))

        def unpacked(value: Any) -> Any:
            # A traced tuple is a sequence, but no tuple.
            return value if hasattr(value, "ndim") else tuple(value[i] for i in range(len(value)))

        def pull_back(argnums: tuple, result: Any, arrays: tuple, _: dict) -> Callable:
            def cotangents_of(cotangents: Any) -> tuple:
                pulled = self._vjp(arrays, unpacked(result), unpacked(cotangents), **static)
                return tuple(pulled[i] for i in argnums)

            return cotangents_of

        defvjp_argnums(function, pull_back)
        return lambda *arrays: unpacked(function(*arrays))

    def _torch(self, static: dict) -> Callable:
        import torch

        rule = self

        class Function(torch.autograd.Function):
            generate_vmap_rule = True

            @staticmethod
            def forward(*arrays: Array) -> Any:
                return rule._value(*arrays, **static)

            @staticmethod
            def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
                outputs = output if isinstance(output, tuple) else (output,)
                ctx.save_for_backward(*inputs, *outputs)
                ctx.save_for_forward(*inputs, *outputs)
                ctx.n_inputs = len(inputs)
                ctx.is_tuple = isinstance(output, tuple)

            @staticmethod
            def _saved(ctx: Any) -> tuple:
                saved = ctx.saved_tensors
                result = saved[ctx.n_inputs :]
                return saved[: ctx.n_inputs], result if ctx.is_tuple else result[0]

            @staticmethod
            def backward(ctx: Any, *cotangents: Array) -> tuple:
                arrays, result = Function._saved(ctx)
                return rule._vjp(
                    arrays,
                    result,
                    cotangents if ctx.is_tuple else cotangents[0],
                    **static,
                )

            @staticmethod
            def jvp(ctx: Any, *tangents: Array) -> Any:
                arrays, result = Function._saved(ctx)
                tangents = tuple(
                    torch.zeros_like(array) if tangent is None else tangent
                    for array, tangent in zip(arrays, tangents, strict=True)
                )
                return rule._jvp(arrays, result, tangents, **static)

        return Function.apply

    def _jax(self, static: dict) -> Callable:
        import jax

        @jax.custom_jvp
        def function(*arrays: Array) -> Any:
            return self._value(*arrays, **static)

        @function.defjvp
        def _(arrays: tuple, tangents: tuple) -> tuple:
            result = function(*arrays)
            return result, self._jvp(arrays, result, tangents, **static)

        return function


def scalar_primitive(value: Callable, gradient: Callable) -> Primitive:
    """Return a primitive for a number that depends on a matrix, by its gradient.

    Parameters
    ----------
    value, gradient : callable
        ``value(matrix, **static)``, shape=[...], and ``gradient(matrix, **static)``,
        shape=[..., m, n].
    """

    def jvp(arrays: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
        slope = gradient(*arrays, **static)
        return namespace(slope, *tangents).sum(slope * tangents[0], axis=(-2, -1))

    def vjp(arrays: tuple, result: Array, cotangent: Array, **static: Any) -> tuple[Array]:
        return (cotangent[..., None, None] * gradient(*arrays, **static),)

    return Primitive(value, jvp, vjp)


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
