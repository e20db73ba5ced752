"""Print constraints for pip: the ``lowest`` versions that the package allows, or the ``newest``.

PyTorch is that of constraints.txt in both: most of its builds are gigabytes.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

print(*re.findall(r"^torch==.*", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
if sys.argv[1] == "lowest":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        for name, version in re.findall(r"(\S+)>=(\S+)", "\n".join(requirements)):
            if name != "torch":
                print(f"{name}=={version}")
