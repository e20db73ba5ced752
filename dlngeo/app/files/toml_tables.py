"""Tables of TOML files, whose errors name the key and say what to do."""

import difflib
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlngeo.app.blame import reading
from dlngeo.core.base.checks import nonnegative, positive, shown

MOST_BYTES = 2**16
"""Size of a file beyond which it is refused; what people write has a hundredth of it."""

REQUIRED: Any = object()
"""Stands for the default of a key that has none."""


@dataclass(frozen=True)
class Table:
    """A table of a TOML file, of which values are read by their keys."""

    path: Path
    name: str
    values: Mapping[str, Any]
    known: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.known is not None:
            self.refuse_unknown(self.known)

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Refuse keys that are not among the known ones."""
        for key in self.values:
            if key not in known:
                near = difflib.get_close_matches(key[:80], known, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
                raise ValueError(
                    f"{self.path}: there is no key {self.full_name(key)[:80]}: {remedy}"
                )

    def error(self, key: str, message: str) -> ValueError:
        """Return an error about a value."""
        return ValueError(f"{self.path}, {self.full_name(key)}: {message}.")

    def full_name(self, key: str) -> str:
        """Return the name of a key in the file."""
        return f"{self.name}.{key}" if self.name else key

    def read(self, key: str, default: Any, expected: str) -> Any:
        """Return a value of any kind, or the default; what is expected goes into the error."""
        if key in self.values:
            return self.values[key]
        if default is REQUIRED:
            raise ValueError(f"{self.path}: {self.full_name(key)} is missing: give {expected}.")
        return default

    def table(self, key: str, known: tuple[str, ...] | None) -> "Table":
        """Return a table within, of which the keys are known, or not yet."""
        values = self.read(key, REQUIRED, f"a table [{key}]")
        if not isinstance(values, dict):
            raise self.error(key, f"expected a table [{key}], got {shown(values)}")
        return Table(self.path, self.full_name(key), values, known)

    def choice(self, key: str, choices: tuple[str, ...], default: Any = REQUIRED) -> str:
        """Return one of several texts."""
        value = self.read(key, default, f"one of {', '.join(choices)}")
        if value not in choices:
            near = difflib.get_close_matches(shown(value), choices, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self.error(key, f"expected one of {', '.join(choices)}, got {shown(value)}{hint}")
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        value = self.read(key, REQUIRED, "a text in quotes")
        if not isinstance(value, str):
            raise self.error(key, f"expected a text in quotes, got {shown(value)}")
        return value

    def whole(self, key: str, default: Any = REQUIRED, *, least: int = 1) -> int:
        """Return an integer."""
        expected = f"an integer of at least {least}"
        value = self.read(key, default, expected)
        if type(value) is not int or not least <= value < 2**63:
            raise self.error(key, f"expected {expected}, got {shown(value)}")
        return value

    def number(self, key: str, default: Any = REQUIRED, *, or_zero: bool = False) -> float:
        """Return a finite number that is positive, or zero if it may be."""
        expected = "a number of at least 0" if or_zero else "a positive number"
        return self._number(key, self.read(key, default, expected), or_zero, expected)

    def numbers(self, key: str, *, or_zero: bool = False) -> tuple[float, ...]:
        """Return different numbers like `number`, of which one may stand without brackets."""
        expected = "a positive number, or a list of them"
        return self._several(key, expected, lambda item: self._number(key, item, or_zero, expected))

    def depths(self, key: str) -> tuple[float, ...]:
        """Return different depths, positive integers or inf, as `numbers`."""
        expected = "a positive integer or inf, or a list of them"

        def depth(item: Any) -> float:
            if item == math.inf:
                return math.inf
            number = self._number(key, item, False, expected)
            if number != int(number):
                raise self.error(key, f"expected {expected}, got {shown(item)}")
            return int(number)

        return self._several(key, expected, depth)

    def _several(self, key: str, expected: str, read: Callable[[Any], float]) -> tuple[float, ...]:
        value = self.read(key, REQUIRED, expected)
        values = value if isinstance(value, list) else [value]
        numbers = tuple(map(read, values))
        if not numbers:
            raise self.error(key, f"expected {expected}, got {shown(value)}")
        if len(set(numbers)) < len(numbers):
            raise self.error(key, f"a value is there twice in {shown(value)}: take it out")
        return numbers

    def _number(self, key: str, value: Any, or_zero: bool, expected: str) -> float:
        try:
            return nonnegative(value, key) if or_zero else positive(value, key)
        except ValueError as error:
            raise self.error(key, f"expected {expected}, got {shown(value)}") from error


def read_table(path: Path, known: tuple[str, ...]) -> Table:
    """Return the whole of a TOML file, of which the keys are known.

    Raises
    ------
    ValueError
        If there is no such file, or it is not TOML or has other keys.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than {MOST_BYTES}: it is no problem.")
    with reading(path, "cannot be read"):
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8: convert it.") from error
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}.") from error
    return Table(path, "", content, known)
