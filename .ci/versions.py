"""Print what an environment of the ``lowest`` or the ``newest`` versions is made of.

``versions.py lowest`` prints constraints for pip: the versions that pyproject.toml allows at least.
PyTorch is that of constraints.txt in both: most of its builds are gigabytes.

``versions.py newest python`` prints the Python to take: of those that pyproject.toml names the
newest that is found, on the path or among pyenv's, since the newest NumPy and ArviZ are not made
for older ones. The lowest versions are tried with the Python that runs this.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def constraints(which: str) -> Iterator[str]:
    """Yield requirements, one in each line."""
    yield from re.findall(r"^torch==.*", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if which == "lowest":
        for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
            for name, version in re.findall(r"(\S+)>=(\S+)", "\n".join(requirements)):
                if name != "torch":
                    yield f"{name}=={version}"


def pythons() -> Iterator[str]:
    """Yield the Pythons that are found, the newest first, and the one that runs this."""
    minors = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in sorted(map(int, minors), reverse=True):
        if minor <= sys.version_info.minor:
            break
        if found := shutil.which(f"python3.{minor}"):
            yield found
        yield from map(str, pyenv.glob(f"versions/3.{minor}.*/bin/python"))
    yield sys.executable


def serves(python: str) -> bool:
    """Tell whether a Python runs, which those of pyenv's path may not, and makes environments."""
    command = [python, "-c", "import ensurepip, ssl, venv"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if sys.argv[2:] != ["python"]:
    print("\n".join(constraints(sys.argv[1])))
elif sys.argv[1] == "newest":
    print(next(filter(serves, pythons())))
else:
    print(sys.executable)
