"""The code in the texts of the project."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def code_blocks(path: Path, language: str) -> list[str]:
    """Return the blocks of a language in a Markdown file.

    Each is below as many empty lines as are above it in the file: errors name the line of the file.
    """
    text = path.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text.count("\n", 0, match.start(1)) + match[1] for match in found]
