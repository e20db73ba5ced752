"""Formulas of one variable, as text: read without executing them."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from dlngeo.core.base.checks import instance

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


def parse(formula: str, names: dict[str, Any]) -> Any:
    """Return the SymPy expression of a formula, without evaluating it as a program.

    Raises
    ------
    ValueError
        If it holds anything but numbers, the names, `OPERATORS`, brackets and `FUNCTIONS`.
    """
    import sympy

    formula = instance(formula, str, "the formula")
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
