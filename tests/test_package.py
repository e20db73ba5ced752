"""What the package offers, what it costs to import, and how its modules hang together."""

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import dlngeo
from tests.documents import ROOT, code_blocks

PACKAGE = ROOT / "dlngeo"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
FACES = {name_of(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.pyi")}
"""Of the packages, the names that they export."""

PUBLIC_MODULES = ("dlngeo.modules",)
"""Which are no packages."""


def exported(face: str) -> list[str]:
    return [
        alias.asname or alias.name
        for node in FACES[face].body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield what is imported from this package: a module, and a name of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                if (node.module or "").split(".")[0] == "dlngeo":
                    yield node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "dlngeo":
                    yield alias.name, None


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


LIBRARIES = [
    "geomstats",
    "pymanopt",
    "torch",
    "jax",
    "matplotlib",
    "autograd",
    "scipy",
    "sklearn",
    "pandas",
]
LIGHT = {
    "import dlngeo": LIBRARIES,
    "import dlngeo.core.networks.network, dlngeo.core.balanced.submanifold": LIBRARIES,
    "from dlngeo import langevin": ["sklearn", "pandas", "pymanopt", "torch", "jax"],
    "import dlngeo.losses.linear_measurements": ["sklearn", "pandas", "pymanopt", "torch", "jax"],
}


@pytest.mark.parametrize("code", LIGHT)
def test_import_is_light(code):
    loaded = f"[m for m in {LIGHT[code]!r} if m in sys.modules]"
    assert run(f"import sys; {code}; print({loaded})") == "[]"


@pytest.mark.parametrize(
    ("code", "seconds"),
    [("import dlngeo", 0.15), ("import dlngeo.losses.linear_measurements", 0.5)],
)
def test_import_costs_little_beyond_numpy(code, seconds):
    timed = (
        f"import time, numpy; start = time.process_time(); {code}; "
        "print(time.process_time() - start)"
    )
    assert float(run(timed)) < seconds


def test_version_is_that_of_the_distribution():
    assert dlngeo.__version__ == version("dlngeo")
    assert f"\nversion: {dlngeo.__version__}\n" in (ROOT / "CITATION.cff").read_text()


LOCAL = (".*", "__pycache__", "*.egg-info", "build", "dist", "demo-output")
"""What a checkout gathers beside the project."""


def test_the_source_distribution_holds_the_project(tmp_path):
    """And the wheel the package, with its data."""
    source, built = tmp_path / "source", tmp_path / "built"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*LOCAL))
    shutil.copytree(ROOT / ".ci", source / ".ci")
    expected = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    build = "from setuptools.build_meta import *; build_sdist({0!r}); build_wheel({0!r})"
    subprocess.run(
        [sys.executable, "-c", build.format(str(built))],
        cwd=source,
        check=True,
        capture_output=True,
    )
    name = f"dlngeo-{dlngeo.__version__}"
    with tarfile.open(built / f"{name}.tar.gz") as archive:
        held = {str(Path(entry.name).relative_to(name)) for entry in archive if entry.isfile()}
    assert expected <= held
    with zipfile.ZipFile(built / f"{name}-py3-none-any.whl") as archive:
        installed = {path for path in archive.namelist() if not path.startswith(name)}
    assert installed == {path for path in expected if path.startswith("dlngeo/")}


def test_every_package_has_a_face():
    packages = {name for name in MODULES if (ROOT / name.replace(".", "/")).is_dir()}
    # The command line exports nothing.
    assert set(FACES) == {name for name in packages if not name.startswith("dlngeo.app")}


@pytest.mark.parametrize("face", FACES)
def test_every_public_name_loads(face):
    package = importlib.import_module(face)
    assert sorted(package.__all__) == sorted(exported(face))
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)


@pytest.mark.parametrize("face", FACES)
def test_no_public_name_is_that_of_a_module_beside_it(face):
    """Else importing the module would replace what the face exports."""
    for node in FACES[face].body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                assert f"{face}.{alias.asname or alias.name}" not in MODULES


def python_of(path: Path) -> str:
    """Return the code in a file: a script, a notebook or a text with examples."""
    if path.suffix == ".md":
        return "\n".join(code_blocks(path, "python"))
    text = path.read_text()
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


USES = [
    path.relative_to(ROOT)
    for path in sorted(
        [*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), *ROOT.glob("benchmarks/*.py")]
    )
]


@pytest.mark.parametrize("path", USES, ids=str)
def test_users_import_from_faces(path):
    for module, name in imports(ast.parse(python_of(ROOT / path))):
        assert module in (*FACES, *PUBLIC_MODULES), f"{module} is no face"
        if name is not None and module in FACES:
            assert name in exported(module) or f"{module}.{name}" in (*FACES, *PUBLIC_MODULES)


def test_modules_import_from_modules():
    for own, tree in MODULES.items():
        for module, name in imports(tree):
            if module in FACES:
                assert f"{module}.{name}" in MODULES, f"{own} imports {name} from a face, {module}"


def test_no_import_is_hidden_in_a_function():
    for own, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert not list(imports(node)), f"{own}.{node.name} imports {list(imports(node))}"


def definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Return the functions and classes of a module that have no leading underscore."""
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in nodes if not node.name.startswith("_")]


def words(tree: ast.AST | None) -> set[str]:
    return set() if tree is None else set(re.findall(r"\w+", ast.unparse(tree)))


def test_names_are_unique_in_their_folder():
    homes: dict[tuple[str, str], str] = {}
    for own, tree in MODULES.items():
        # Every command has a function `run`.
        for node in definitions(tree) if own.rpartition(".")[0] != "dlngeo.app.commands" else ():
            other = homes.setdefault((own.rpartition(".")[0], node.name), own)
            assert other == own, f"{node.name} stands in {own} and in {other}"


def test_what_only_its_module_uses_has_an_underscore():
    """In the core: other names stand in a face or elsewhere, or are what a function returns."""
    used = {own: words(tree) for own, tree in MODULES.items()}
    for own, tree in MODULES.items():
        if not own.startswith("dlngeo.core"):
            continue
        public = definitions(tree)
        elsewhere = set(exported(own.rpartition(".")[0])).union(
            *(names for other, names in used.items() if other != own),
            *(words(node.returns) for node in public if isinstance(node, ast.FunctionDef)),
        )
        for node in public if own not in FACES else ():
            assert node.name in elsewhere, f"{own}.{node.name} is used nowhere else"
