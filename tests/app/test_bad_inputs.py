"""What people get wrong: each case is refused in one line, and leaves everything as it was."""

import io
import re
import zipfile

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlngeo.app.cli import main
from dlngeo.app.files.array_archives import load_arrays
from dlngeo.app.files.matrix_tables import read_matrix
from dlngeo.app.files.table_layouts import Layout

RNG = numpy.random.default_rng(0)
MATRIX = numpy.array([[1.5, 2.0, numpy.nan], [3.0, 4.5, 5.0], [6.0, numpy.nan, 8.0]])
TABLE = "1.5,2,\n3,4.5,5\n6,,8\n"
TRIPLES = "userId,movieId,rating\n"
PROBLEM = """[network]
shape = [2, 2]
depth = [1, 2]
[energy]
name = "squared norm"
[langevin]
beta = [1.0]
chains = 4
steps = 40
step_size = 0.01
thinning = 5
"""


def saved(array) -> bytes:
    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=True)
    return file.getvalue()


def packed(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def network(*factors) -> bytes:
    return packed(*((f"w{place}.npy", saved(factor)) for place, factor in enumerate(factors)))


def picture(image: Image.Image, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


FIRST, SECOND = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 3))
NETWORK = network(FIRST, SECOND)
HEAD = b"\x93NUMPY\x01\x00v\x00"
"""Of NPY files, to the length of what follows, 118 bytes."""


def claimed(description: str) -> bytes:
    return HEAD + description.encode().ljust(117) + b"\n"


def refuse(folder, arguments: list[str], message: str, capsys, code: int = 2) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert re.search(message, printed.err), printed.err
    assert printed.err.startswith("dlngeo: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


COMMANDS = {
    "": [
        (["unknown"], "invalid choice: 'unknown'"),
        (["--unknown"], "unrecognized|required|invalid"),
        (["--print-completion", "sh"], "invalid choice"),
        (["--print-completion"], "expected one argument"),
    ],
    "complete": [
        ([], "no input"),
        (["nothing.csv"], "no file nothing.csv"),
        (["."], "is a folder"),
        ([""], "path"),
        (["a\0b"], "path"),
        (["nothing.csv", "more.csv"], "unrecognized arguments: more.csv"),
        (["/dev/null"], "no regular file"),
        (["-"], "no file -"),
        (["table.csv"], "give --output"),
        (["--demo", "table.csv", "--output", "out"], "leave out table.csv"),
        (["--demo", "--rank", "100000", "--output", "out"], "the smallest width 213"),
        (["table.csv", "--output", "table.csv"], "is a file"),
        (["table.csv", "--output", "a/b"], "make it first"),
        (["table.csv", "--output", "."], "overwrite the input"),
        (["table.csv", "--output", ""], "path"),
        (["table.csv", "--output"], "expected one argument"),
        (["report.png", "--output", "out"], "rename"),
        *(
            (["table.csv", "--output", "out", f"{option}={value}"], message)
            for option, values, message in [
                ("--rank", ("0", "-1", "4"), "the smallest width 3"),
                ("--rank", ("1_0", "1.5", "x", "", "9" * 20, "٣", "0x1", "1e0"), "an integer"),
                ("--depth", ("0", "-1", "101", "1000000000"), "from 1 to 100"),
                ("--depth", ("1_0", "1.5", "x", "", "9" * 20, "True"), "an integer"),
                ("--observed", ("0", "1", "-0.5", "1.5", "1e400"), "between 0 and 1"),
                ("--observed", ("nan", "inf", "x", "", "1_0", "0x1", "1,5", "٣"), "a number"),
                ("--observed", ("0.0001",), "only one entry"),
                ("--seed", ("-1",), "at least 0"),
                ("--seed", ("1.5", "x", "", "1_0", str(2**63)), "an integer"),
                ("--solver", ("newton", "", "Flow"), "invalid choice"),
                ("--delimiter", ("|", "", ","), "invalid choice"),
                ("--decimal", (",", "", "."), "invalid choice"),
                ("--columns", ("a", "1,2", "1,1,2", ""), "must be three"),
                ("--columns", ("a,b,c", "1,2,9", "0,1,2", "-1,1,2"), "no column"),
                ("--delimiter", ("tab", "space"), "holds the text"),
            ]
            for value in values
        ),
        *(
            (["table.csv", "--output", "out", *options], message)
            for options, message in [
                (["--unknown"], "unrecognized"),
                (["--depth", "1", "--rank", "2"], "no hidden layer"),
                (["--depth"], "expected one argument"),
                (["--triples", "--index"], "need no --index"),
                (["--columns", "1,2,3", "--no-triples"], "give one"),
                (["--triples"], "every entry needs one"),
            ]
        ),
        (["matrix.npy", "--output", "out", "--header"], "no text table"),
        (["matrix.npy", "--output", "out", "--triples"], "no text table"),
    ],
    "balance": [
        ([], "required"),
        (["network.npz"], "--output"),
        (["--output", "out.npz"], "FACTORS"),
        (["nothing.npz", "--output", "out.npz"], "no file nothing.npz"),
        ([".", "--output", "out.npz"], "no file"),
        (["network.npz", "--output", "."], "is a folder"),
        (["network.npz", "--output", "a/b.npz"], "make it first"),
        (["network.npz", "--output", "table.csv/b.npz"], "make it first"),
        (["network.npz", "--output", ""], "path"),
        (["network.npz", "--output", "a\0b"], "path"),
        (["network.npz", "--output", "a" * 300], "too long"),
        (["a" * 5000, "--output", "out.npz"], "too long"),
        (["network.npz", "other.npz", "--output", "out.npz"], "unrecognized"),
        (["table.csv", "--output", "out.npz"], "numpy.savez"),
        (["matrix.npy", "--output", "out.npz"], "numpy.savez"),
        *(
            (["network.npz", "--output", "out.npz", f"--rank={rank}"], message)
            for rank, message in [
                *((rank, "between 1 and the smallest width 2") for rank in ("0", "-1", "3")),
                *((rank, "an integer") for rank in ("1_0", "2.0", "x", "", "9" * 20)),
            ]
        ),
    ],
    "laws": [
        ([], "--widths"),
        (["--widths"], "expected at least one argument"),
        (["--widths", "2,2", "--unknown"], "unrecognized"),
        *(
            ([f"--widths={widths}"], message)
            for widths, message in [
                *((widths, "integers with commas") for widths in ("", "a", "2,2,", "2;3", "2 2")),
                *(
                    (widths, "integers with commas")
                    for widths in ("1_0,2", "٣,2", "0x10,2", "1e3,2")
                ),
                *((widths, "integers with commas") for widths in ("2,2.0", "nan,2", "True,2")),
                *((widths, "positive") for widths in ("3", "2,0", "2,-1", "-2,3", "9" * 20 + ",2")),
                *((widths, "fit into memory") for widths in ("1000000000,2", "10000000,10000000")),
                ("300,300,300,300", "too large"),
                ("2" + 300 * ",2", "300 layers is too large"),
            ]
        ),
    ],
    "sample": [
        ([], "no problem"),
        (["problem.toml"], "--output"),
        (["nothing.toml", "--output", "out"], "no file nothing.toml"),
        ([".", "--output", "out"], "no file"),
        (["problem.toml", "--output", "table.csv"], "is a file"),
        (["problem.toml", "--output", "a/b"], "make it first"),
        (["problem.toml", "--output", ""], "path"),
        (["table.csv", "--output", "out"], "not TOML"),
        *(
            (["problem.toml", "--output", "out", f"--workers={workers}"], message)
            for workers, message in [
                *((workers, "at least 1") for workers in ("0", "-1")),
                *((workers, "an integer") for workers in ("1.5", "x", "1_0", "nan", "9" * 20)),
            ]
        ),
    ],
}
LINES = [
    ([command, *arguments] if command else arguments, message)
    for command, cases in COMMANDS.items()
    for arguments, message in cases
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("arguments", "message"), LINES, ids=lambda value: str(value)[:60])
def test_command_lines(tmp_path, arguments, message, capsys):
    (tmp_path / "table.csv").write_text(TABLE)
    (tmp_path / "matrix.npy").write_bytes(saved(MATRIX))
    (tmp_path / "network.npz").write_bytes(NETWORK)
    (tmp_path / "problem.toml").write_text(PROBLEM)
    (tmp_path / "report.png").write_bytes(picture(Image.new("L", (4, 4))))
    refuse(tmp_path, arguments, message, capsys)


TABLES = {
    "": "is empty",
    "\n \n": "is empty",
    "5\n": "--observed",
    "5,\n,\n": "only one entry",
    ",\n,\n": "all entries are missing",
    "1.5,2\n3,4\n": "measure the error\\.$",
    "1,7,3\n2,8,4\n5,9,1\n": "--observed .*or --triples",
    "1.5,2,x7\n3,4,5\n": "--header",
    "1.5,2,3\n3,4,x7\n": "'x7' in row 2.* or --triples",
    "2.5,2.5\n2.5,\n2.5,2.5\n": "all equal",
    "1,2\0\n3,\n": "NUL",
    b"1,\xe9\n2,3\n": "UTF-8",
    TABLE.encode("utf-16"): "UTF-8",
    b"PK\x03\x04" + bytes(range(256)): "UTF-8",
    b"\x1f\x8b\x08" + bytes(range(200, 240)): "UTF-8",
    "<html><body>1,2</body></html>\n": "no rows",
    "[[1,2],[3,null]]\n": "no rows",
    '""\n': "is empty",
    '1.5,"2"x\n3,\n': "no table",
    "1.5,2\n" * 200_000 + "1\n": "1 columns in line 200001",
    '1.5,"2\n3,\n': "no table",
    "1.5," + "x" * 200_000 + "\n2,3\n": "holds the text|--header",
    "1,inf\n2,\n": "infinite",
    "1,1e999\n2,\n": "infinite",
    "5e-324,1e-323,\n5e-324,,5e-324\n": "rescale",
    "1.5,True\n3,\n": "'True'",
    "1.5,2020-01-01\n3,\n": "'2020-01-01'",
    "🙂,2\n3,\n": "--header",
    "a,b\nc,d\n": "holds the text",
    "1.5 2\n3 4 5\n": "columns in line 2",
    TRIPLES: "no rows",
    TRIPLES + "1,2,x\n1,3,4\n": "'x' in row 1",
    TRIPLES + "1,,3\n1,2,4\n": "no movieId in row 1",
    TRIPLES + ",1,3\n1,2,4\n": "no userId in row 1",
    TRIPLES + "1,2,\n1,3,\n": "all entries are missing",
    TRIPLES + "1,2,3\n1,3,\n": "only one entry",
    TRIPLES + "1,2,3\n1,2,4\n1,2,5\n": "only one entry",
    TRIPLES + "1,2,3\n1,2,3,4\n": "4 columns in line 3",
    TRIPLES + "1,2,3,4\n2,3,4,5\n": "4 columns in line 2",
    TRIPLES + "1,2,inf\n1,3,2\n": "infinite",
    TRIPLES + "1,2,3\n1,3,3\n2,2,3\n": "all equal",
    TRIPLES + "1,2,1_0\n1,3,2\n": "'1_0' in row 1",
    TRIPLES + "1,2,0x10\n1,3,2\n": "'0x10' in row 1",
}


@pytest.mark.parametrize("content", TABLES, ids=lambda content: repr(content)[:40])
def test_tables(tmp_path, content, capsys):
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    refuse(tmp_path, ["complete", "table.csv", "--output", "out"], TABLES[content], capsys)


ARRAYS = {
    "vector": (saved(MATRIX[0]), "two axes"),
    "stack": (saved(MATRIX[None]), "two axes"),
    "number": (saved(1.0), "two axes"),
    "empty": (saved(MATRIX[:0]), "two axes"),
    "booleans": (saved(MATRIX > 2), "bool"),
    "complex": (saved(MATRIX * 1j), "complex128"),
    "texts": (saved(MATRIX.astype(str)), "<U32"),
    "bytes": (saved(MATRIX.astype("S8")), "S8"),
    "objects": (saved(MATRIX.astype(object)), "numpy.save"),
    "dates": (saved(numpy.zeros((3, 3), "M8[D]")), "datetime64"),
    "records": (saved(numpy.zeros((2, 2), [("a", float)])), "entries"),
    "infinite": (saved(numpy.where(MATRIX > 7, numpy.inf, MATRIX)), "infinite"),
    "all missing": (saved(MATRIX * numpy.nan), "all entries are missing"),
    "none missing": (saved(numpy.arange(9).reshape(3, 3)), "--observed"),
    "zero": (saved(numpy.where(numpy.isnan(MATRIX), MATRIX, 0)), "all equal"),
    "nothing": (b"", "numpy.save"),
    "text": (b"hello", "numpy.save"),
    "cut off": (saved(MATRIX)[:-10], "numpy.save"),
    "several arrays": (NETWORK, "numpy.save"),
    "too large a claim": (
        claimed("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }"),
        "numpy.save",
    ),
    "two gigabytes": (
        claimed("{'descr': '<f8', 'fortran_order': False, 'shape': (16384, 16384), }"),
        "claims 2 GiB of numbers, but holds 0 bytes",
    ),
    "a side that is no integer": (
        claimed("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 3), }"),
        "is no shape: save",
    ),
    "brackets": (claimed("(" * 100), "numpy.save"),
    "code": (
        claimed("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1, 1), }"),
        "numpy.save",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(tmp_path, case, capsys):
    content, message = ARRAYS[case]
    (tmp_path / "matrix.npy").write_bytes(content)
    refuse(tmp_path, ["complete", "matrix.npy", "--output", "out"], message, capsys)


PICTURES = {
    "text": (b"hello", "not a table"),
    "nothing": (b"", "not a table"),
    "cut off": (picture(Image.effect_noise((40, 40), 50))[:500], "cannot be read"),
    "full": (picture(Image.new("L", (4, 4), 7)), "--observed"),
    "transparent": (picture(Image.new("RGBA", (4, 4), (1, 2, 3, 0))), "all entries are missing"),
    "very large": (
        picture(Image.new("L", (4, 4))).replace(b"\0\0\0\4\0\0\0\4", b"\0\1\0\0\0\1\0\0"),
        "not a table|cannot be read",
    ),
    "32 bits": (picture(Image.new("I", (4, 4)), "TIFF"), "8 bits"),
    "archive": (NETWORK, "not a table"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_pictures(tmp_path, case, capsys):
    content, message = PICTURES[case]
    (tmp_path / "picture.png").write_bytes(content)
    refuse(tmp_path, ["complete", "picture.png", "--output", "out"], message, capsys)


NETWORKS = {
    "nothing": (b"", "numpy.savez"),
    "text": (b"hello", "numpy.savez"),
    "one array": (saved(FIRST), "numpy.savez"),
    "no arrays": (packed(), "no arrays"),
    "too large a claim": (
        packed(
            ("a.npy", claimed("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,), }"))
        ),
        "numpy.savez",
    ),
    "encrypted": (NETWORK.replace(b"\x14\0\0\0", b"\x14\0\1\0"), "numpy.savez.*encrypted"),
    "more behind an array": (packed(("a.npy", saved(FIRST) + b"more")), "followed by"),
    "cut off": (NETWORK[:200], "numpy.savez"),
    "a member cut off": (packed(("a.npy", saved(FIRST)[:-9])), "numpy.savez"),
    "a text among arrays": (packed(("a.npy", saved(FIRST)), ("note.txt", b"x")), "note.txt"),
    "a text that is called an array": (packed(("a.npy", b"x")), "a, which is no array"),
    "two of a name": (packed(("a.npy", saved(FIRST)), ("a", saved(SECOND))), "two arrays"),
    "vector": (network(FIRST[0]), "w0 in"),
    "stack": (network(FIRST[None]), "w0 in"),
    "number": (network(numpy.float64(3)), "w0 in"),
    "booleans": (network(FIRST > 0), "bool"),
    "complex": (network(FIRST * 1j), "complex128"),
    "texts": (network(FIRST.astype(str)), "real numbers"),
    "objects": (network(FIRST.astype(object)), "numpy.savez"),
    "dates": (network(numpy.zeros((2, 2), "M8[s]")), "real numbers"),
    "NaN": (network(FIRST * numpy.nan), "w0 in .* NaN"),
    "infinite": (network(FIRST, SECOND * numpy.inf), "w1 in .* NaN or infinite"),
    "no rows": (network(numpy.zeros((0, 2))), "rank 0"),
    "no inner rows": (network(numpy.zeros((0, 3)), numpy.zeros((2, 0))), "rank 0"),
    "zero": (network(0 * FIRST, SECOND), "rank 0"),
    "widths": (network(FIRST, FIRST), "do not chain"),
    "low rank": (network(numpy.ones((3, 2)), numpy.ones((4, 3))), "smaller rank"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_networks(tmp_path, case, capsys):
    content, message = NETWORKS[case]
    (tmp_path / "network.npz").write_bytes(content)
    refuse(tmp_path, ["balance", "network.npz", "--output", "out.npz"], message, capsys)


LARGE = ("1000000000", "9" * 20)
NO_NUMBERS = ("nan", "inf", "true", '"1"', "[[1]]", "{}")
VALUES = {
    "depth = [1, 2]": [
        *((f"depth = {value}", "network.depth") for value in ("0", "-1", "1.5", "[]", "[1, 1]")),
        *((f"depth = {value}", "network.depth") for value in (*LARGE, "101", "1e9", "1979-05-27")),
        *((f"depth = {value}", "network.depth") for value in NO_NUMBERS),
        *(
            (f"depth = 2\n{key} = {value}", f"{key}|memory")
            for key in ("rank", "hidden_width")
            for value in ("0", "-1", "1.0", "true", '"1"', "[1]", *LARGE)
        ),
        ("depth = 2\nrank = 3", "rank"),
        ("depth = 2\nranks = 2", "did you mean rank"),
    ],
    "shape = [2, 2]": [
        *((f"shape = {value}", "network.shape") for value in ("2", "[2]", "[2, 2, 2]", "[0, 2]")),
        *((f"shape = {value}", "network.shape") for value in ("[-1, 2]", "[2.0, 2]", '["2", 2]')),
        *((f"shape = {value}", "network.shape") for value in ("[true, 2]", "{}", '"2 x 2"')),
        ("shape = [1000000000, 2]", "memory"),
        ("shape = [100000, 100000]", "memory"),
        ("", "shape is missing"),
    ],
    "beta = [1.0]": [
        *((f"beta = {value}", "langevin.beta") for value in ("0", "-1", "[]", "[1, 1]", "[1, -1]")),
        *((f"beta = {value}", "langevin.beta") for value in ("-0.0", "1e400", *NO_NUMBERS)),
        ("", "beta is missing"),
    ],
    "chains = 4": [
        *((f"chains = {value}", "langevin.chains") for value in ("0", "1", "-1", "1.5", "[4]")),
        *((f"chains = {value}", "langevin.chains") for value in (*LARGE, *NO_NUMBERS)),
        *((f"seed = {value}", "langevin.seed") for value in ("-1", "1.5", "true", "9" * 20)),
        *((f"start = {value}", "langevin.start") for value in ("0", "-1", "nan", "true")),
        *((f"kappa = {value}", "langevin.kappa") for value in ("-1", "nan", "inf", "true")),
        *((f"scheme = {value}", "langevin.scheme") for value in ('"euler"', "1", "true", "[]")),
        *((f"burn_in = {value}", "burn_in") for value in ("-1", "1.5", "true", "40", "9" * 20)),
        ('scheme = "metropolis"\nkappa = 0', "needs noise"),
    ],
    "steps = 40": [
        *((f"steps = {value}", "langevin.steps") for value in ("0", "3", "-1", "1.5", "true")),
        ("steps = 9223372036854775807", "of memory"),
        ("steps = " + "9" * 20, "langevin.steps"),
    ],
    "step_size = 0.01": [
        *((f"step_size = {value}", "step_size") for value in ("0", "-1", *NO_NUMBERS)),
    ],
    "thinning = 5": [
        *((f"thinning = {value}", "thinning|draws are left") for value in ("0", "-1", "1.5")),
        ("thinning = 100", "draws are left"),
    ],
    'name = "squared norm"': [
        *((f"name = {value}", "energy.name") for value in ('"norm"', "1", "true", "[]", "{}")),
        ("", "name is missing"),
        ('name = "Squared norm"', "did you mean 'squared norm'"),
        ('name = "squared norm"\nweight_decay = 1', "no key energy.weight_decay"),
        ('name = "double well"', "wells is missing"),
        ('name = "double well"\nwells = [1]\nbarrier = 1', "two values"),
        ('name = "double well"\nwells = [2, 1]\nbarrier = 1', "rising order"),
        ('name = "double well"\nwells = [1, 2]\nbarrier = -1', "energy.barrier"),
        ('name = "formula"', "formula is missing"),
        ('name = "formula"\nformula = 3', "text in quotes"),
        *(
            (f'name = "formula"\nformula = "{formula}"', "formula")
            for formula in (
                *(
                    "",
                    "s+",
                    "(s",
                    "t",
                    "1",
                    "nan",
                    "oo",
                    "1/0",
                    "[s]",
                    "s > 1",
                    "s = 1",
                    "lambda: s",
                ),
                *(
                    "s.__class__",
                    "9**9**9**9",
                    "factorial(10**9)",
                    "Piecewise((1,s>1))",
                    "log(s)*I",
                ),
                *("__import__('os').getcwd()", "s if s else 1", "s+" * 20_000 + "s"),
                "(" * 500 + "s" + ")" * 500,
            )
        ),
        ('name = "formula"\nformula = "s"\nweight_decay = -1', "weight_decay"),
        ('name = "least squares"', "target is missing"),
        ('name = "least squares"\ntarget = ""', "is a folder"),
        ('name = "least squares"\ntarget = "nothing.csv"', "no file"),
        ('name = "least squares"\ntarget = "problem.toml"', "not a table"),
        ('name = "least squares"\ntarget = "gaps.csv"', "missing entries"),
        ('name = "least squares"\ntarget = "wide.csv"', "leave it out"),
        ('name = "completion"\nobserved = "gaps.csv"', "weight_decay"),
        ('name = "completion"\nobserved = "none.csv"\nweight_decay = 1', "are missing"),
        ('name = "completion"\nobserved = "asked.csv"\nweight_decay = 1', "header = true"),
        ('name = "completion"\nobserved = "gaps.csv"\nheader = "no"', "energy.header"),
        ('name = "completion"\nobserved = "gaps.csv"\ndelimiter = "|"', "energy.delimiter"),
        ('name = "completion"\nobserved = "gaps.csv"\ncolumns = [1]', "energy.columns"),
    ],
}
CHANGES = [(old, new, message) for old, pairs in VALUES.items() for new, message in pairs]


@pytest.mark.parametrize(("old", "new", "message"), CHANGES, ids=lambda value: str(value)[:50])
def test_problems(tmp_path, old, new, message, capsys):
    (tmp_path / "gaps.csv").write_text("1,2.5\n3,\n")
    (tmp_path / "wide.csv").write_text("1,2.5,3\n3,4,5\n")
    (tmp_path / "none.csv").write_text(",\n,\n")
    (tmp_path / "asked.csv").write_text("0,1\n3,4\n")
    (tmp_path / "problem.toml").write_text(PROBLEM.replace(old, new))
    refuse(tmp_path, ["sample", "problem.toml", "--output", "out"], message, capsys)


FILES = {
    "nothing": (b"", "network is missing"),
    "text": (b"hello", "not TOML"),
    "Latin": (b'a = "\xe9"', "UTF-8"),
    "UTF-16": (PROBLEM.encode("utf-16"), "UTF-8"),
    "NUL": (PROBLEM.encode() + b"\0", "not TOML"),
    "twice": (PROBLEM.encode() + b"[network]\n", "not TOML"),
    "unknown table": (PROBLEM.encode() + b"[chains]\n", "no key chains"),
    "unknown key": (PROBLEM.encode() + b"step = 1\n", "did you mean"),
    "no table": (b"network = 3\n", "expected a table"),
    "brackets": (b"a = " + b"[" * 5000, "cannot be read.*recursion"),
    "many digits": (PROBLEM.encode() + b"seed = " + b"9" * 5000, "toml cannot be read.*digits"),
    "many bits": (PROBLEM.encode() + b"seed = 0x" + b"f" * 5000, "langevin.seed: .* 20000 bits"),
    "long": (b"# " + b"x" * 10**6, "1000002 bytes, more than"),
}


@pytest.mark.parametrize("case", FILES)
def test_problem_files(tmp_path, case, capsys):
    content, message = FILES[case]
    (tmp_path / "problem.toml").write_bytes(content)
    refuse(tmp_path, ["sample", "problem.toml", "--output", "out"], message, capsys)


RUNS = {
    "standing still": ("step_size = 0.01", "step_size = 1e-320", "another step_size"),
    "running away": ("step_size = 0.01", "step_size = 1e300", "stuck"),
    "far away": ("chains = 4", "chains = 4\nstart = 1e300", "stuck"),
}


@pytest.mark.parametrize("case", RUNS)
def test_runs_that_fail_leave_their_checkpoints(tmp_path, case, capsys):
    old, new, message = RUNS[case]
    (tmp_path / "problem.toml").write_text(PROBLEM.replace(old, new))
    assert main(["sample", "problem.toml", "--output", "out"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "the checkpoints are in" in error
    assert error.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoints"]


CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "1", "2.5", "-3", "1e3", "1,5", "0x10", "1_000", "inf", "a", '"', "# x"]
    ),
    st.text(max_size=4),
    st.floats().map(str),
)
LISTS = st.lists(st.lists(CELLS, max_size=4), max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(cells=LISTS, delimiter=st.sampled_from([",", ";", "\t", " "]), end=st.sampled_from("\n\r"))
def test_any_text_is_read_or_refused(tmp_path_factory, cells, delimiter, end):
    path = tmp_path_factory.mktemp("any") / "table.csv"
    path.write_bytes(end.join(map(delimiter.join, cells)).encode(errors="replace"))
    read_or_refused(path)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=80))
@pytest.mark.parametrize("suffix", [".csv", ".npy", ".png"])
def test_any_bytes_are_read_or_refused(tmp_path_factory, suffix, content):
    path = tmp_path_factory.mktemp("any") / f"matrix{suffix}"
    path.write_bytes(content)
    read_or_refused(path)


def read_or_refused(path):
    try:
        file = read_matrix(path, Layout())
    except ValueError:
        return
    rows, columns, values = file.known
    assert numpy.isfinite(values).all()
    assert (rows < file.shape[0]).all()
    assert (columns < file.shape[1]).all()
    assert file.description


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_no_network(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "network.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"numpy\.savez"):
        load_arrays(path)
