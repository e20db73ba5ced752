"""``dlngeo complete``, from files to files."""

import json

import numpy
import pytest
from PIL import Image

from dlngeo.app.cli import main
from dlngeo.app.commands import complete
from dlngeo.solvers import completion

RESULTS = ("report.png", "result.json")


def low_rank(rows=30, columns=24, rank=2):
    rng = numpy.random.default_rng(0)
    return 5 + rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))


def with_gaps(matrix, missing=0.4):
    """Return a noisy matrix with missing entries: the noise makes the flow stop early."""
    rng = numpy.random.default_rng(1)
    noisy = matrix + 0.3 * rng.normal(size=matrix.shape)
    return numpy.where(rng.uniform(size=matrix.shape) < missing, numpy.nan, noisy)


def record(output):
    return json.loads((output / "result.json").read_text())


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "gaps.npy"
    numpy.save(path, with_gaps(low_rank(16, 12)))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results"


def test_array(array, output, capsys):
    arguments = ["complete", str(array), "--rank", "4", "--depth", "4", "--center"]
    assert main([*arguments, "--output", str(output)]) == 0
    assert {file.name for file in output.iterdir()} == {"gaps.npy", *RESULTS}
    given, completed = numpy.load(array), numpy.load(output / "gaps.npy")
    is_known = numpy.isfinite(given)
    numpy.testing.assert_array_equal(completed[is_known], given[is_known])
    assert numpy.isfinite(completed).all()
    table = capsys.readouterr().out
    assert str(output) in table
    assert "is taken off first" in table
    assert table.startswith(f"gaps.npy: 16 x 12 matrix, {is_known.sum()} of 192 entries known\n")
    assert [line.split()[0] for line in table.splitlines()[3:7]] == ["1", "2", "3", "4"]
    assert set(array.parent.iterdir()) == {array, output}
    assert {file.stat().st_mode for file in output.iterdir()} == {array.stat().st_mode}


def test_depth_recovers_a_low_rank_matrix(tmp_path, output):
    path = tmp_path / "full.npy"
    numpy.save(path, low_rank())
    arguments = ["complete", str(path), "--observed", "0.5", "--rank", "8", "--center"]
    assert main([*arguments, "--output", str(output)]) == 0
    errors = {row["depth"]: row["hidden_rmse"] for row in record(output)["depths"]}
    spread = low_rank().std()
    assert errors[1] > 0.9 * spread
    assert errors[2] < 0.3 * errors[1]
    assert errors[3] < 0.1 * errors[1]
    entries = record(output)["entries"]
    assert entries["observed"] == entries["hidden"] == 360
    assert entries["held_out"] == 36


def test_results_depend_on_the_seed_alone(tmp_path):
    path = tmp_path / "full.npy"
    numpy.save(path, with_gaps(low_rank(12, 10), missing=0))
    completed = {}
    for name, seed in {"a": "0", "b": "0", "c": "1"}.items():
        arguments = [
            "complete",
            str(path),
            "--observed",
            "0.6",
            "--center",
            "--rank",
            "1",
            "--seed",
            seed,
        ]
        assert main([*arguments, "--output", str(tmp_path / name)]) == 0
        completed[name] = numpy.load(tmp_path / name / "full.npy")
    numpy.testing.assert_array_equal(completed["a"], completed["b"])
    assert (completed["a"] != completed["c"]).any()


@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "tsv")])
@pytest.mark.parametrize("header", [True, False])
def test_table(tmp_path, output, delimiter, suffix, header):
    matrix = with_gaps(low_rank(12, 10))
    cells = [["" if numpy.isnan(x) else f"{x:.3f}0" for x in row] for row in matrix]
    cells[0][0], cells[1][1] = "NaN", "1e1"
    lines = [["t", *"abcdefghi"]] * header + cells
    path = tmp_path / f"table.{suffix}"
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
    assert main(["complete", str(path), "--rank", "1", "--output", str(output)]) == 0
    written = [line.split(delimiter) for line in (output / path.name).read_text().splitlines()]
    assert len(written) == len(lines)
    if header:
        assert written.pop(0) == lines[0]
    for row, before in zip(written, cells, strict=True):
        for cell, old in zip(row, before, strict=True):
            assert numpy.isfinite(float(cell))
            assert cell == old or old in ("", "NaN")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_picture(tmp_path, output, mode):
    channels = len(mode)
    y, x = numpy.mgrid[:16, :20] / 16
    pixels = numpy.stack([128 + 60 * numpy.sin(3 * x + k) * y for k in range(channels)], -1)
    picture = Image.fromarray(numpy.squeeze(pixels.astype(numpy.uint8)))
    path = tmp_path / "waves.png"
    picture.save(path)
    arguments = ["complete", str(path), "--observed", "0.6", "--rank", "4"]
    assert main([*arguments, "--output", str(output)]) == 0
    with Image.open(output / "waves.png") as completed:
        assert completed.mode == mode
        assert completed.size == picture.size
        is_kept = numpy.asarray(completed) == numpy.asarray(picture)
    assert is_kept.mean() >= 0.6
    results = record(output)
    assert results["shape"] == [16, 20 * channels]
    assert results["entries"]["observed"] == 192 * channels
    rows = {row["depth"]: row for row in results["depths"]}
    assert rows[3]["hidden_psnr_db"] > rows[1]["hidden_psnr_db"] + 6
    with Image.open(output / "report.png") as report:
        assert report.width > 1500


def test_transparent_pixels_are_missing(tmp_path, output):
    pixels = numpy.full((12, 12, 4), 255, dtype=numpy.uint8)
    pixels[..., :3] = numpy.arange(12)[:, None, None] * 20
    pixels[3:5, 4:9, 3] = 0
    path = tmp_path / "hole.png"
    Image.fromarray(pixels).save(path)
    assert main(["complete", str(path), "--rank", "2", "--output", str(output)]) == 0
    with Image.open(output / "hole.png") as completed:
        difference = numpy.asarray(completed).astype(float) - pixels[..., :3]
    assert abs(difference[pixels[..., 3] == 255]).max() == 0
    assert abs(difference).max() < 20


@pytest.mark.parametrize("solver", ["trust-regions", "conjugate-gradient", "steepest-descent"])
def test_optimisers_find_the_low_rank_matrix(tmp_path, output, solver):
    path = tmp_path / "full.npy"
    numpy.save(path, low_rank())
    arguments = ["complete", str(path), "--observed", "0.5", "--rank", "8", "--solver", solver]
    assert main([*arguments, "--center", "--output", str(output)]) == 0
    results = record(output)
    assert results["parameters"]["solver"] == solver
    errors = {row["depth"]: row["hidden_rmse"] for row in results["depths"]}
    spread = low_rank().std()
    # Rank 8 is too much: what is right of it comes with depth.
    assert errors[2] < 0.7 * errors[1]
    assert errors[3] < 0.1 * spread
    rows = {row["depth"]: row for row in results["depths"]}
    assert rows[1]["hidden_width"] == 8


def triples(path, matrix, order, *, names=("row", "col", "value"), delimiter=","):
    """Write a matrix with gaps as triples, with labels that are not positions."""
    lines = [delimiter.join(names)]
    for place in order:
        i, j = divmod(int(place), matrix.shape[1])
        value = "" if numpy.isnan(matrix[i, j]) else repr(float(matrix[i, j]))
        lines.append(delimiter.join((f"user{i:02d}", str(100 + j), value)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("names", "delimiter"), [(("row", "col", "value"), ","), (("Row", "Column", "Value"), ";")]
)
@pytest.mark.parametrize("solver", [None, "flow"])
def test_triples(tmp_path, output, solver, names, delimiter):
    matrix = low_rank()
    rng = numpy.random.default_rng(3)
    order = rng.permutation(matrix.size)[: matrix.size // 2]
    gaps = matrix.copy()
    gaps.flat[order[:20]] = numpy.nan
    path = triples(tmp_path / "ratings.csv", gaps, order, names=names, delimiter=delimiter)
    chosen = [] if solver is None else ["--solver", solver]
    arguments = ["complete", str(path), "--rank", "4", "--center", *chosen]
    assert main([*arguments, "--output", str(output)]) == 0
    assert {file.name for file in output.iterdir()} == {"ratings.csv", "factors.npz", *RESULTS}
    before = [line.split(delimiter) for line in path.read_text().splitlines()]
    after = [line.split(delimiter) for line in (output / path.name).read_text().splitlines()]
    assert after[0] == before[0] == list(names)
    spread = matrix.std()
    for old, new, place in zip(before[1:], after[1:], order, strict=True):
        assert old[:2] == new[:2]
        if old[2]:
            assert float(new[2]) == pytest.approx(float(old[2]), rel=1e-9)
        else:
            assert abs(float(new[2]) - matrix.flat[place]) < 0.3 * spread
    with numpy.load(output / "factors.npz", allow_pickle=False) as factors:
        whole = factors["mean"] + factors["left"] @ factors["right"].T
        whole = whole[numpy.argsort(factors["rows"])][:, numpy.argsort(factors["columns"])]
        assert sorted(factors["rows"]) == [f"user{i:02d}" for i in range(30)]
        assert sorted(factors["columns"]) == [str(j) for j in range(100, 124)]
    assert numpy.sqrt(numpy.mean((whole - matrix) ** 2)) < 0.1 * spread
    results = record(output)
    assert results["shape"] == [30, 24]
    assert results["entries"]["known"] == order.size - 20
    expected = solver or "conjugate-gradient"
    assert results["parameters"]["solver"] == expected


def test_triples_given_several_times_are_one_entry(tmp_path, output, capsys, monkeypatch):
    matrix = low_rank(12, 10, rank=1)
    order = numpy.r_[numpy.arange(100), numpy.arange(30), numpy.arange(30)]
    path = triples(tmp_path / "twice.csv", matrix, order)
    sets = []
    solve = complete.complete

    def kept(training, held_out, *args, **kwargs):
        sets.append([set(zip(*part[:2], strict=True)) for part in (training, held_out)])
        return solve(training, held_out, *args, **kwargs)

    monkeypatch.setattr(complete, "complete", kept)
    assert main(["complete", str(path), "--rank", "2", "--output", str(output)]) == 0
    assert record(output)["entries"]["known"] == 160
    assert "160 values known, of 100 entries" in capsys.readouterr().out
    for training, held_out in sets:
        assert len(training) + len(held_out) == 100
        assert not training & held_out


def test_what_is_read_is_written_in_its_spelling(tmp_path, output, capsys):
    rows = [
        *("007,b,1.50,x", "7,a,,y", "NA,b,2,z", "null,a,+3.0,", '"Smith, J",b,1e0,x'),
        *("1.10,a,2.5,x", "1.1,b,,x", "7,b,2,x", "007,a,1,x", "7,c,2,x", "NA,c,4,x"),
    ]
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(["userId,movieId,rating,note", *rows]) + "\n")
    assert main(["complete", str(path), "--rank", "1", "--output", str(output)]) == 0
    assert "rows in column 'userId'" in capsys.readouterr().out
    written = (output / path.name).read_text().splitlines()
    assert written[0] == "userId,movieId,rating,note"
    for before, after in zip(rows, written[1:], strict=True):
        if ",," in before:
            start, end = before.split(",,")
            assert after.startswith(f"{start},")
            assert after.endswith(f",{end}")
            assert numpy.isfinite(float(after.split(",")[2]))
        else:
            assert after == before
    with numpy.load(output / "factors.npz", allow_pickle=False) as factors:
        labels = ["007", "7", "NA", "null", "Smith, J", "1.10", "1.1"]
        assert list(factors["rows"]) == labels
    assert "userId" in record(output)["read"]


def test_a_labelled_matrix_keeps_its_labels(tmp_path, output, capsys):
    path = tmp_path / "pivot.csv"
    path.write_text("# by user\nuserId;1;2;31;40\n3;4,5;;3;\n007;;2;1;\n9;1,0;2,5;;\n")
    arguments = ["complete", str(path), "--index", "--header", "--rank", "1"]
    assert main([*arguments, "--output", str(output)]) == 0
    lines = (output / path.name).read_text().splitlines()
    assert lines[:2] == ["# by user", "userId;1;2;31;40"]
    assert "no entries are known of 1 columns" in capsys.readouterr().out
    cells = [line.split(";") for line in lines[2:]]
    assert [row[0] for row in cells] == ["3", "007", "9"]
    assert (cells[0][1], cells[2][1], cells[1][3]) == ("4,5", "1,0", "1")
    assert all("." not in cell for row in cells for cell in row)
    assert all(numpy.isfinite(float(cell.replace(",", "."))) for row in cells for cell in row)


@pytest.mark.parametrize("depth", ["2", "3"])
def test_data_of_the_rank_are_completed_exactly(tmp_path, output, depth):
    rng = numpy.random.default_rng(0)
    matrix = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    path = tmp_path / "exact.npy"
    numpy.save(path, numpy.where(rng.random(matrix.shape) < 1 / 3, numpy.nan, matrix))
    arguments = ["complete", str(path), "--rank", "2", "--depth", depth]
    assert main([*arguments, "--output", str(output)]) == 0
    assert abs(numpy.load(output / path.name) - matrix).max() < 2e-5 * abs(matrix).max()


@pytest.mark.parametrize("shape", [(3, 40), (40, 3)])
def test_factors_of_a_flow_are_no_larger_than_need_be(tmp_path, output, shape):
    matrix = low_rank(shape[0], shape[1], rank=1)
    path = triples(tmp_path / "flow.csv", matrix, numpy.arange(matrix.size))
    arguments = ["complete", str(path), "--solver", "flow", "--rank", "1", "--center"]
    assert main([*arguments, "--output", str(output)]) == 0
    with numpy.load(output / "factors.npz") as factors:
        assert factors["left"].shape == (shape[0], 3)
        assert factors["right"].shape == (shape[1], 3)
        whole = factors["mean"] + factors["left"] @ factors["right"].T
    assert abs(whole - matrix).max() < 0.1 * abs(matrix).max()


def test_hidden_triples_are_predicted(tmp_path, output):
    matrix = low_rank()
    path = triples(tmp_path / "all.csv", matrix, numpy.arange(matrix.size))
    arguments = ["complete", str(path), "--rank", "3", "--observed", "0.6", "--center"]
    assert main([*arguments, "--output", str(output)]) == 0
    written = numpy.array(
        [float(line.split(",")[2]) for line in (output / path.name).read_text().splitlines()[1:]]
    )
    is_kept = abs(written - matrix.ravel()) <= 1e-9 * abs(matrix.ravel())
    assert is_kept.sum() == round(0.6 * matrix.size)
    assert numpy.sqrt(numpy.mean((written - matrix.ravel()) ** 2)) < 0.1 * matrix.std()


def test_the_mean_stays_where_the_rank_is_given(tmp_path, output, capsys):
    path = tmp_path / "large.npy"
    numpy.save(path, with_gaps(low_rank(6, 5), missing=0.2))
    arguments = ["complete", str(path), "--solver", "conjugate-gradient", "--rank", "1"]
    assert main([*arguments, "--output", str(output)]) == 0
    assert "--center takes it off first" in capsys.readouterr().out
    assert record(output)["parameters"]["mean"] == 0


def test_existing_folder_keeps_other_files(array, output):
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    (output / "result.json").write_text("old")
    assert main(["complete", str(array), "--output", str(output)]) == 0
    assert (output / "notes.txt").read_text() == "mine"
    assert record(output)["parameters"]["rank"] == 12
    assert record(output)["parameters"]["mean"] == pytest.approx(5, abs=1)


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(complete, "DEMO_SIZE", (40, 30))
    assert main(["complete", "--demo", "--rank", "5"]) == 0
    assert {file.name for file in (tmp_path / "demo-output").iterdir()} == {"china.png", *RESULTS}
    assert record(tmp_path / "demo-output")["entries"]["observed"] == 360 * 3


def text(path, content):
    path.write_text(content)
    return [str(path)]


def saved(path, matrix):
    numpy.save(path, matrix, allow_pickle=True)
    return [str(path)]


def picture(path):
    Image.new("RGB", (4, 4)).save(path)
    return [str(path)]


GOOD = "1,2,\n3,4,5\n6,,8\n"
HEAD = "row,col,value\n"
REFUSED = {
    "no file": (lambda p: [str(p / "none.csv")], "no file"),
    "folder": (lambda p: [str(p)], "is a folder"),
    "no input": (lambda p: [], "no input"),
    "text": (lambda p: text(p / "a.csv", "1,2\n3,four\n"), "'four' in row 2, column 2"),
    "ragged": (lambda p: text(p / "a.csv", "1,2\n3\n"), "1 columns in line 2"),
    "empty": (lambda p: text(p / "a.csv", "\n"), "is empty"),
    "header only": (lambda p: text(p / "a.csv", "a,b\n"), "no rows"),
    "infinite": (lambda p: text(p / "a.csv", "1,inf\n2,\n"), "infinite"),
    "all missing": (lambda p: text(p / "a.csv", ",\n,\n"), "all entries are missing"),
    "one known": (lambda p: text(p / "a.csv", "1,\n,\n"), "only one entry"),
    "equal": (lambda p: text(p / "a.csv", ".1,.1,\n.1,.1,.1\n.1,.1,.1\n"), "all equal"),
    "zero": (lambda p: [*text(p / "a.csv", "0,,0\n0,0,0\n0,0,0\n"), "--no-center"], "all zero"),
    "none missing": (lambda p: text(p / "a.csv", "1,2\n3,4\n"), "--observed"),
    "binary": (lambda p: saved(p / "a.npy", numpy.eye(2)) and text(p / "a.npy", "x"), "numpy.save"),
    "pickle": (lambda p: saved(p / "a.npy", numpy.array([{}, 1])), "numpy.save"),
    "vector": (lambda p: saved(p / "a.npy", numpy.ones(3)), "two axes"),
    "complex": (lambda p: saved(p / "a.npy", numpy.eye(2) * 1j), "real numbers"),
    "no picture": (lambda p: text(p / "a.png", "text"), "not a table"),
    "rank": (lambda p: [*text(p / "a.csv", GOOD), "--rank", "4"], "the smallest width 3"),
    "no rank": (lambda p: [*text(p / "a.csv", GOOD), "--rank", "0"], "the smallest width 3"),
    "depth": (lambda p: [*text(p / "a.csv", GOOD), "--depth", "0"], "from 1 to 100"),
    "observed": (lambda p: [*text(p / "a.csv", GOOD), "--observed", "1.5"], "between 0 and 1"),
    "seed": (lambda p: [*text(p / "a.csv", GOOD), "--seed", "-1"], "--seed"),
    "triples text": (lambda p: text(p / "a.csv", HEAD + "1,2,3\n1,3,x\n"), "'x' in row 2"),
    "triples no column": (lambda p: text(p / "a.csv", HEAD + "1,2,3\n1,,4\n"), "no col in row 2"),
    "triples infinite": (lambda p: text(p / "a.csv", HEAD + "1,2,inf\n1,3,4\n"), "infinite"),
    "triples empty": (lambda p: text(p / "a.csv", HEAD), "no rows"),
    "triples ragged": (
        lambda p: text(p / "a.csv", HEAD + "1,2,3\n1,2,3,4\n"),
        "4 columns in line 3",
    ),
    "triples missing": (lambda p: text(p / "a.csv", HEAD + "1,2,\n1,3,\n"), "all entries are"),
    "triples equal": (lambda p: text(p / "a.csv", HEAD + "1,1,3\n1,2,3\n2,1,3\n"), "all equal"),
    "triples rank": (
        lambda p: [*text(p / "a.csv", HEAD + "1,1,3\n1,2,4\n2,1,5\n"), "--rank", "3"],
        "the smallest width 2",
    ),
    "demo": (lambda p: [*text(p / "a.csv", GOOD), "--demo"], "leave out"),
    "name": (lambda p: picture(p / "report.png"), "rename"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_everything_as_it_was(tmp_path, output, case, capsys):
    make, message = REFUSED[case]
    arguments = make(tmp_path)
    output.mkdir()
    (output / "result.json").write_text("old")
    before = sorted(tmp_path.rglob("*"))
    assert main(["complete", *arguments, "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (output / "result.json").read_text() == "old"


@pytest.mark.parametrize(
    ("place", "message"),
    [("gaps.npy", "is a file"), ("a/b", "make it first"), (".", "overwrite the input")],
)
def test_refused_outputs(array, tmp_path, place, message, capsys):
    assert main(["complete", str(array), "--output", str(tmp_path / place)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [array]


def test_output_is_required(array, capsys):
    assert main(["complete", str(array)]) == 2
    assert "--output" in capsys.readouterr().err


def test_interrupt_leaves_nothing(array, output, tmp_path, monkeypatch, capsys):
    calls = []
    flow = completion.learning_flow

    def interrupted(loss, *args, **kwargs):
        def gradient(x):
            calls.append(1)
            if len(calls) > 400:
                raise KeyboardInterrupt
            return loss.gradient(x)

        return flow(loss, *args, gradient=gradient, **kwargs)

    monkeypatch.setattr(completion, "learning_flow", interrupted)
    assert main(["complete", str(array), "--output", str(output)]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [array]


def test_failed_flow(array, output, tmp_path, monkeypatch, capsys):
    flow = completion.learning_flow

    def failing(loss, *args, **kwargs):
        def gradient(x):
            return loss.gradient(x) * (numpy.nan if numpy.abs(x).max() > 0.1 else 1)

        return flow(loss, *args, gradient=gradient, **kwargs)

    monkeypatch.setattr(completion, "learning_flow", failing)
    assert main(["complete", str(array), "--output", str(output)]) == 1
    assert "depth 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [array]
