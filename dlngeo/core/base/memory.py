"""Memory: what there is, and that nothing larger is begun."""

import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path

try:
    import resource
except ImportError:  # of systems without limits of processes
    resource = None  # type: ignore[assignment]

BYTES_PER_NUMBER = 64
"""At least so many are needed to work on a number of a file: its value, its place, and copies."""

SMALL = 2**24
"""So many bytes are there: to ask takes longer than to take them."""


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse what needs more memory than there is.

    Parameters
    ----------
    needed : int
        Bytes, at least.
    what : str
        What needs them.
    remedy : str

    Raises
    ------
    ValueError
        If so; it says how much is needed and how much there is.
    """
    if needed <= SMALL:
        return
    there = _available_memory()
    if needed > there:
        raise ValueError(
            f"{what} takes at least {in_words(needed)} of memory, more than the {in_words(there)} "
            f"that are free: {remedy}."
        )


def check_numbers(shape: Iterable[int], what: str, remedy: str) -> None:
    """Refuse an array of double precision, larger than those it is made of, that has no room.

    Parameters
    ----------
    shape : iterable of int
    what : str
        What the array is, which the message names with its shape.
    remedy : str

    Raises
    ------
    ValueError
        If there is no room.
    """
    sizes = tuple(shape)
    check_memory(8 * math.prod(sizes), f"{what}, of shape {list(sizes)},", remedy)


def _available_memory() -> int:
    """Return how many bytes this process may still take.

    The least of what the machine has, what its control group is given, and what is left of the
    process's own limit of addresses.
    """
    bounds = [*_of_the_machine(), *_of_the_group(), *_of_the_process()]
    return max(min(bounds, default=2**63), 0)


def _of_the_machine() -> list[int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    return []


def _of_the_group() -> list[int]:
    """Return what is left to the control group (version 2), whose cached files can be dropped."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        name = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        top = Path("/sys/fs/cgroup")
        group = top / name if (top / name / "memory.max").is_file() else top
        most, used = (int((group / f"memory.{kind}").read_text()) for kind in ("max", "current"))
        numbers = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return [most - used + int(numbers["inactive_file"])]
    return []


def _of_the_process() -> list[int]:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        if most != resource.RLIM_INFINITY:
            return [most - pages * resource.getpagesize()]
    return []


def in_words(number: int) -> str:
    """Return a number of bytes in words."""
    if number >= 2**60:
        return "more than a million TiB"
    size, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size >= 1024:
            size, unit = size / 1024, larger
    return f"{size:.3g} {unit}"
