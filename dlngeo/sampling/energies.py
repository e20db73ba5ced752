r"""Energies to sample from: of singular values, and with weight decay.

Those of singular values are ``E(σ) = Σ_k f(σ_k)``: ``energy(σ)`` is the value, shape=[...], and
``energy.gradient(σ)`` its derivatives, shape=[..., r], at singular values of shape ``[..., r]``.
The losses of `dlngeo.solvers.losses` are their like for end-to-end matrices.
"""

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.networks.frames import singular_frames


@dataclass(frozen=True)
class SquaredNorm:
    r"""The squared norm of the parameters, as balanced factors have it.

    .. math:: E = \tfrac12 \|W\|^2 = \tfrac{N}{2} \sum_k σ_k^{2/N}

    Parameters
    ----------
    depth : int
        ``N``.

    References
    ----------
    [MY25]; THEORY 4.
    """

    depth: int

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self.depth / 2 * (sigma ** (2 / self.depth)).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        return sigma ** (2 / self.depth - 1)


@dataclass(frozen=True)
class DoubleWell:
    r"""Two wells for every singular value.

    .. math:: E = b \sum_k \Big(\frac{4 (σ_k - w_1)(σ_k - w_2)}{(w_2 - w_1)^2}\Big)^2

    Parameters
    ----------
    wells : tuple of float
        ``w_1`` and ``w_2``, the minima, where ``E`` is zero.
    barrier : float
        ``b``, the energy of one value halfway.
    """

    wells: tuple[float, float]
    barrier: float

    def _bend(self, sigma: Array) -> Array:
        first, second = self.wells
        return 4 * (sigma - first) * (sigma - second) / (second - first) ** 2

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self.barrier * (self._bend(sigma) ** 2).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        first, second = self.wells
        slope = 4 * (2 * sigma - first - second) / (second - first) ** 2
        return 2 * self.barrier * self._bend(sigma) * slope


@dataclass(frozen=True)
class SpectralExpression:
    r"""A formula for one singular value ``s``, in which ``N`` is the depth.

    .. math:: E = \sum_k f(σ_k)

    It is read by the grammar of Python's expressions, of which numbers, ``pi``, ``+ - * / **``,
    brackets and the functions of `FUNCTIONS` serve; nothing is executed. SymPy differentiates it.

    Parameters
    ----------
    formula : str
        ``f``, for example ``"N/2 * s**(2/N) + (s - 1)**2"``.
    depth : int

    Raises
    ------
    ValueError
        If it holds anything else, or does not depend on ``s``.
    """

    formula: str
    depth: int

    def __post_init__(self) -> None:
        self._functions  # noqa: B018  # that it can be read

    def __getstate__(self) -> dict[str, Any]:
        # Compiled functions cannot be sent to other processes; they are made anew.
        return {"formula": self.formula, "depth": self.depth}

    @cached_property
    def _functions(self) -> tuple[Callable, Callable]:
        import sympy

        s = sympy.Symbol("s", positive=True)
        expression = _parse(self.formula, {"s": s, "N": sympy.Integer(self.depth), "pi": sympy.pi})
        if s not in expression.free_symbols:
            raise ValueError(f"the formula {self.formula!r} does not depend on s: nothing acts.")
        slope = sympy.diff(expression, s)
        return sympy.lambdify(s, expression, "numpy"), sympy.lambdify(s, slope, "numpy")

    def __call__(self, sigma: Array) -> Array:
        """Return ``E``."""
        return self._functions[0](sigma).sum(axis=-1)

    def gradient(self, sigma: Array) -> Array:
        """Return ``∂E/∂σ``."""
        return numpy.broadcast_to(self._functions[1](sigma), sigma.shape)


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh")

_MAX_LENGTH = 1000


def _parse(formula: str, names: dict[str, Any]) -> Any:
    """Return the SymPy expression of a formula, without evaluating it as a program."""
    import sympy

    shown = repr(formula if len(formula) <= 60 else formula[:57] + "...")

    def refuse(node: ast.AST) -> ValueError:
        part = ast.get_source_segment(formula.strip(), node) or formula
        return ValueError(
            f"the formula {shown} holds {part[:60]!r}: write numbers, {', '.join(names)}, "
            f"+ - * / ** and {', '.join(FUNCTIONS)}."
        )

    def number(value: Any, node: ast.AST) -> Any:
        """Return a value, if constants stay within double precision."""
        if value.is_number and not (value.is_real and abs(float(value)) < math.inf):
            raise refuse(node)
        return value

    def build(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return number(sympy.sympify(value), node)
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in OPERATORS:
                return OPERATORS[type(sign)](build(operand))
            case ast.BinOp(op=sign, left=left, right=right) if type(sign) in OPERATORS:
                a, b = build(left), build(right)
                if isinstance(sign, ast.Div) and b == 0:
                    raise refuse(node)
                # Exact powers of numbers may have more digits than there is memory.
                if isinstance(sign, ast.Pow) and a.is_number and b.is_number:
                    a, b = a.evalf(), b.evalf()
                return number(OPERATORS[type(sign)](a, b), node)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if (
                name in FUNCTIONS
            ):
                return number(getattr(sympy, name)(build(argument)), node)
        raise refuse(node)

    if len(formula) > _MAX_LENGTH:
        raise ValueError(f"a formula has at most {_MAX_LENGTH} characters, got {len(formula)}.")
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"the formula {shown} cannot be read ({error}): write it like 'N/2 * s**(2/N)'."
        ) from error
    return build(tree.body)


@dataclass(frozen=True, eq=False)
class WithWeightDecay:
    r"""An energy with that of weight decay, as balanced factors have it.

    .. math:: E + \tfrac{η}{2} \|W\|^2 = E + \tfrac{ηN}{2} \sum_k σ_k^{2/N}

    Parameters
    ----------
    energy : object
        Of singular values, or of end-to-end matrices, ``energy(X)`` and ``energy.gradient(X)``.
    rate : float
        ``η``.
    depth, rank : int
    is_spectral : bool
        Whether the energy is one of singular values.

    References
    ----------
    [LM25]; THEORY 4.
    """

    energy: Any
    rate: float
    depth: int
    rank: int
    is_spectral: bool

    def __call__(self, point: Array) -> Array:
        """Return the value at singular values, or matrices."""
        sigma = point
        if not self.is_spectral:
            sigma = numpy.linalg.svd(point, compute_uv=False)[..., : self.rank]
        return self.energy(point) + self.rate * SquaredNorm(self.depth)(sigma)

    def gradient(self, point: Array) -> Array:
        """Return the gradient at singular values, or matrices, of rank ``r``."""
        slope, decay = self.energy.gradient(point), SquaredNorm(self.depth)
        if self.is_spectral:
            return slope + self.rate * decay.gradient(point)
        frames = singular_frames(point, self.rank)
        return slope + self.rate * frames.with_values(decay.gradient(frames.sigma))
