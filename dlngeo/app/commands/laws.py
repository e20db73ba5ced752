"""``dlngeo laws``: count the conservation laws of networks."""

import argparse
import re

from dlngeo.intrinsic.conservation.laws import conservation_laws


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    kind = "relu" if options.relu else "linear"
    networks = [_widths(text) for text in options.widths]
    counted = [conservation_laws(widths, kind, options.bias) for widths in networks]
    names = ["-".join(map(str, widths)) for widths in networks]
    column = max(len("widths"), *map(len, names)) + 2
    print(f"{'ReLU' if options.relu else 'linear'}, {'with' if options.bias else 'without'} biases")
    print(
        f"{'widths':<{column}}{'parameters':>10}{'laws':>8}{'known':>8}{'dim Lie':>10}"
        f"{'complete':>11}"
    )
    for name, laws in zip(names, counted, strict=True):
        print(
            f"{name:<{column}}{laws.n_parameters:>10}{laws.n_laws:>8}{laws.n_known:>8}"
            f"{laws.lie_algebra_dimension:>10}{'yes' if laws.complete else 'no':>11}"
        )
    print()
    for name, laws in zip(names, counted, strict=True):
        print(f"{name}: {laws.status}")


def _widths(text: str) -> tuple[int, ...]:
    """Return the widths in a text."""
    if not re.fullmatch(r" *-?\d+ *(, *-?\d+ *)*", text, re.ASCII):
        raise ValueError(
            f"--widths must be integers with commas between, as in 2,2,5,2,4; got {text[:80]!r}."
        )
    return tuple(int(part) for part in text.split(","))
