"""``dlngeo sample``, from problem files to results."""

import csv
import sys
from pathlib import Path

import arviz
import numpy
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dlngeo.app.cli import main
from dlngeo.app.commands import sample
from dlngeo.app.files.problem_files import read_problem
from dlngeo.sampling import Ladder
from dlngeo.sampling.energies import DoubleWell, WeightDecay

INF = float("inf")
FILES = {"samples.nc", "report.png", "table.csv"}

TABLES = {
    "network": {"shape": [2, 2], "depth": [1, 3]},
    "energy": {"name": "squared norm"},
    "langevin": {
        "beta": [1.0, 4.0],
        "chains": 6,
        "steps": 60,
        "step_size": 0.02,
        "thinning": 2,
        "burn_in": 20,
    },
}


def text(**changes):
    """Return a problem file, with some keys of its tables replaced; None takes them out."""
    lines = []
    for name, table in TABLES.items():
        lines.append(f"[{name}]")
        for key, value in (table | changes.get(name, {})).items():
            if value is not None:
                lines.append(f"{key} = {value!r}".replace("'", '"').replace("True", "true"))
    return "\n".join(lines) + "\n"


@pytest.fixture
def problem(tmp_path):
    return written(tmp_path)


def written(folder, content=None, **changes):
    path = folder / "problem.toml"
    path.write_text(content or text(**changes))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def blank_report(monkeypatch):
    """Leave out the figure, which takes the most time."""
    monkeypatch.setattr(
        sample, "draw_sampling_report", lambda *arguments, **options: Figure(figsize=(1, 1))
    )


def samples(output):
    return arviz.from_netcdf(str(output / "samples.nc"), engine="h5netcdf")


def call(problem, output, *arguments):
    return main(["sample", str(problem), "--output", str(output), *arguments])


def test_results(problem, output, tmp_path, capsys):
    assert call(problem, output) == 0
    assert {file.name for file in output.iterdir()} == FILES
    assert set(tmp_path.iterdir()) == {problem, output}
    data = samples(output)
    sigma = data.posterior["singular_values"]
    assert sigma.dims == ("chain", "draw", "beta", "depth", "k")
    assert sigma.shape == (6, 20, 2, 2, 2)
    assert sigma["beta"].values.tolist() == [1.0, 4.0]
    assert sigma["depth"].values.tolist() == [1, 3]
    energy = data.sample_stats["energy"]
    for depth in (1, 3):
        own = depth / 2 * (sigma.sel(depth=depth) ** (2 / depth)).sum("k")
        numpy.testing.assert_allclose(energy.sel(depth=depth), own)
    assert data.attrs["problem"] == problem.read_text()
    assert data.attrs["step_size"] == 0.02
    with (output / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["beta"], row["depth"]) for row in rows] == [
        (beta, depth) for depth in "13" for beta in ("1.0", "4.0")
    ]
    for row in rows:
        here = energy.sel(beta=float(row["beta"]), depth=int(row["depth"]))
        assert float(row["energy"]) == pytest.approx(float(here.mean()))
        spread = here.std() / numpy.sqrt(here.size)
        assert spread < float(row["error"]) < 10 * spread
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:3] == ["beta", "depth", "<E>"]
    assert f"written to {output}" in printed
    with Image.open(output / "report.png") as report:
        assert report.width > 2000


def test_mean_energy_is_half_the_dimension_over_beta(tmp_path, output, blank_report):
    changes = {"chains": 200, "steps": 700, "burn_in": 200, "thinning": 5, "step_size": 0.01}
    assert call(written(tmp_path, langevin=changes), output) == 0
    with (output / "table.csv").open() as file:
        for row in csv.DictReader(file):
            # Factors have 4 N parameters, and are balanced by 3 conditions each layer but one.
            dimension = 4 * int(row["depth"]) - 3 * (int(row["depth"]) - 1)
            expected = dimension / 2 / float(row["beta"])
            assert abs(float(row["energy"]) - expected) < 4 * float(row["error"]) + 0.01 * expected


def matrix_files(folder):
    matrix = numpy.array([[2.0, 0.5, 0.1], [0.3, 1.0, -1.0]])
    numpy.save(folder / "full.npy", matrix)
    (folder / "gaps.csv").write_text("1,,3\n4,5,\n")
    (folder / "triples.csv").write_text("row,col,value\na,x,1\na,y,2\nb,x,3\n")


KINDS: dict = {
    "least squares": {"network": {"shape": None}, "energy": {"target": "full.npy"}},
    "completion": {
        "network": {"shape": None, "rank": 1, "hidden_width": 2},
        "energy": {"observed": "gaps.csv", "weight_decay": 0.1},
    },
    "completion of triples": {
        "network": {"shape": [2, 2]},
        "energy": {"name": "completion", "observed": "triples.csv", "weight_decay": 1},
        "langevin": {"determinant": "negative"},
    },
    "double well": {
        "network": {"shape": [3, 2], "depth": 2},
        "energy": {"wells": [0.5, 2.0], "barrier": 2, "weight_decay": 0.1},
        "langevin": {"scheme": "metropolis", "kappa": 0.5},
    },
    "formula": {
        "network": {"shape": [1, 1], "depth": [2, 3]},
        "energy": {"formula": "(s - 1)**2 + s/N"},
        "langevin": {"beta": 2, "scheme": "second-order", "start": 0.5},
    },
    "descent": {
        "energy": {"name": "squared norm"},
        "langevin": {"kappa": 0, "step_size": 0.001},
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_energy(tmp_path, output, kind, capsys):
    matrix_files(tmp_path)
    changes = KINDS[kind]
    changes = changes | {"energy": {"name": kind} | changes["energy"]}
    assert call(written(tmp_path, **changes), output) == 0
    data = samples(output)
    problem = read_problem(tmp_path / "problem.toml")
    assert data.posterior.sizes["k"] == problem.rank
    assert numpy.isfinite(data.posterior["singular_values"]).all()
    for depth in problem.depths:
        energy = problem.energy_at(depth)
        here = data.sel(depth=depth)
        if problem.is_spectral:
            sigma = here.posterior["singular_values"].values
            numpy.testing.assert_allclose(here.sample_stats["energy"], energy(sigma))
        if kind == "completion":
            assert len(problem.widths(depth)) == depth + 1
            assert set(problem.widths(depth)[1:-1]) <= {2}
    if kind == "double well":
        whole = DoubleWell(**problem.parameters) + problem.weight_decay * WeightDecay(2)
        sigma = numpy.array([[2.0, 0.3]])
        assert problem.energy_at(2)(sigma) == pytest.approx(whole(sigma), rel=1e-14)
        assert problem.weight_decay > 0
        assert data.attrs["kappa"] == 0.5
        rates = data.sample_stats["acceptance_rate"].mean("chain").sel(depth=2).values
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
        assert [float(row[7]) for row in rows] == pytest.approx(rates, abs=0.006)
        assert abs(rates[0] - rates[1]) > 0.02


def test_exact_laws_are_compared(tmp_path, output, capsys):
    assert call(written(tmp_path, langevin={"kappa": 0.5}), output) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:5]]
    # At depth 1 there is no entropy: four degrees of freedom at the temperature κ/β.
    assert [float(row[4]) for row in rows[:2]] == pytest.approx([1.0, 0.25], rel=1e-4)
    assert [float(row[4]) for row in rows[2:]] == sorted([float(row[4]) for row in rows[2:]])[::-1]
    # Of least squares with weight decay, at depth 1, D/2β more than the least energy.
    numpy.save(tmp_path / "target.npy", numpy.array([[1.0, 0.5], [0.0, 1.0]]))
    energy = {"name": "least squares", "target": "target.npy", "weight_decay": 0.5}
    assert call(written(tmp_path, energy=energy, network={"depth": 1}), output) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    least = 0.5 / 1.5 * 2.25 / 2
    assert [float(row[4]) for row in rows] == pytest.approx([least + 2, least + 0.5], rel=1e-4)
    # Of four singular values there is no integral.
    assert call(written(tmp_path, network={"shape": [4, 4], "depth": 1}), output) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[4] == "-"


def test_existing_folder_keeps_other_files(problem, output, blank_report):
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    (output / "table.csv").write_text("old")
    assert call(problem, output) == 0
    assert (output / "notes.txt").read_text() == "mine"
    assert (output / "table.csv").read_text() != "old"


def test_replicas_exchange(tmp_path, output):
    """As chains of one ladder at each depth, reported at every temperature in the file's order."""
    settings = {"swap_every": 2, "beta": [4.0, 1.0]}
    assert call(written(tmp_path, langevin=settings), output) == 0
    data = samples(output)
    assert data.posterior["singular_values"].shape == (6, 20, 2, 2, 2)
    assert data.posterior["beta"].values.tolist() == [4.0, 1.0]
    problem = read_problem(tmp_path / "problem.toml")
    assert problem.swap_every == 2
    seeds = numpy.random.SeedSequence(0, spawn_key=(0, 1, 0))
    result = problem.run(
        beta=Ladder((1.0, 4.0), 2), depth=3, rng=numpy.random.default_rng(seeds),
        checkpoint=tmp_path / "again.npz",
    )  # fmt: skip
    for beta in (1.0, 4.0):
        expected = result.at(beta).trace["energy"]
        here = data.sample_stats["energy"].sel(beta=beta, depth=3)
        numpy.testing.assert_array_equal(here, expected)


def test_results_depend_on_the_seed_alone(tmp_path, blank_report):
    found = {}
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        problem = written(tmp_path, langevin={"seed": seed})
        assert call(problem, tmp_path / name) == 0
        found[name] = samples(tmp_path / name).posterior
    assert found["a"].equals(found["b"])
    assert not found["a"].equals(found["c"])


def interrupt_after(monkeypatch, n_calls):
    """Let the keyboard interrupt in the middle of a run."""
    calls = []
    gradient = WeightDecay.gradient

    def interrupted(self, sigma):
        calls.append(1)
        if len(calls) == n_calls:
            raise KeyboardInterrupt
        return gradient(self, sigma)

    monkeypatch.setattr(WeightDecay, "gradient", interrupted)
    return calls


def test_interrupt_and_go_on(problem, output, tmp_path, monkeypatch, capsys, blank_report):
    assert call(problem, tmp_path / "whole") == 0
    calls = interrupt_after(monkeypatch, 150)
    checkpoints = output / "checkpoints"
    assert call(problem, output) == 130
    error = capsys.readouterr().err
    assert f"the checkpoints are in {checkpoints}: give the same command" in error
    assert error.count("\n") == 1
    assert list(output.iterdir()) == [checkpoints]
    # Another problem does not go on from them.
    other = tmp_path / "other.toml"
    other.write_text(text(energy={"name": "formula", "formula": "s**2"}))
    assert call(other, output) == 2
    assert "of another problem: remove it" in capsys.readouterr().err
    del calls[:]
    calls.extend([1] * 150)
    assert call(problem, output) == 0
    assert len(calls) - 150 < 4 * 60 - 110  # with starts, and energies that are compared
    assert "going on from" in capsys.readouterr().err
    assert samples(output).posterior.equals(samples(tmp_path / "whole").posterior)
    assert not checkpoints.exists()


def test_chains_that_diverge(tmp_path, output, capsys):
    changes = {"formula": "s**4", "name": "formula"}
    problem = written(tmp_path, energy=changes, langevin={"step_size": 10.0})
    assert call(problem, output) == 1
    error = capsys.readouterr().err
    assert "did not succeed" in error
    assert "smaller step_size" in error
    assert "remove them to start anew" in error
    assert list(output.iterdir()) == [output / "checkpoints"]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the formula's own
def test_energies_that_are_no_numbers(tmp_path, output, capsys):
    changes = {"formula": "log(s - 100)", "name": "formula"}
    for shape, message in {2: "the energy is NaN", 4: "not finite at every initial state"}.items():
        problem = written(
            tmp_path,
            network={"shape": [shape, shape]},
            energy=changes,
            langevin={"scheme": "metropolis"},
        )
        assert call(problem, output) == 2
        assert message in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == [problem]


def test_without_arviz(problem, output, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "arviz", None)
    assert call(problem, output) == 1
    assert "pip install 'dlngeo[sampling]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [problem]


def test_example():
    problem = read_problem(Path(__file__).parents[3] / "examples" / "sampling.toml")
    assert problem.depths == (1, 2, 3)
    assert problem.energy == "squared norm"


def case(message, **changes):
    return message, text(**changes)


def langevin_case(message, **changes):
    return case(message, langevin=changes)


def network_case(message, **changes):
    return case(message, network=changes)


def energy_case(message, **changes):
    return case(message, energy=changes)


WELL: dict = {"name": "double well", "wells": [0.5, 2.0], "barrier": 1.0}
REFUSED = {
    "no toml": ("is not TOML", "[network\n"),
    "empty": ("network is missing: give a table [network]", "# nothing\n"),
    "no table": ("network: expected a table [network], got 3", "network = 3\n"),
    "unknown table": ("no key langvin: did you mean langevin?", text() + "[langvin]\n"),
    "unknown key": langevin_case("no key langevin.step: did you mean", step=3),
    "far key": network_case("no key network.colour: known are shape,", colour="red"),
    "key of another energy": energy_case("no key energy.wells: known are name.", wells=[1, 2]),
    "no energy": energy_case("energy.name is missing: give one of squared norm,", name=None),
    "energy": energy_case("got 'double wall'; did you mean 'double well'?", name="double wall"),
    "energy number": energy_case("energy.name: expected one of", name=7),
    "no shape": network_case("network.shape is missing: give [rows, columns]", shape=None),
    "shape": network_case("network.shape: expected [rows, columns]", shape=[2]),
    "zero shape": network_case("network.shape: expected [rows, columns]", shape=[2, 0]),
    "true shape": network_case("network.shape: expected [rows, columns]", shape=[2, True]),
    "depth": network_case(
        "network.depth: expected a positive integer or inf, or a list", depth=[1, 2.5]
    ),
    "no depth": network_case("network.depth: expected a positive integer", depth=[]),
    "zero depth": network_case("network.depth: expected a positive integer", depth=0),
    "infinite depth of a loss": network_case("network.depth: at infinite depth", depth=INF),
    "infinite depth of rectangles": case(
        "network.depth: infinite depth is of square matrices",
        network={"depth": INF, "shape": [3, 2]},
        energy={"name": "formula", "formula": "log(s)**2"},
    ),
    "infinite depth by another scheme": case(
        "langevin.scheme: expected one of euler-maruyama",
        network={"depth": [1, INF]},
        energy={"name": "formula", "formula": "log(s)**2"},
        langevin={"scheme": "metropolis"},
    ),
    "same depth": network_case("network.depth: a value is there twice", depth=[2, 2]),
    "rank": network_case("[network]: ", rank=3),
    "zero rank": network_case("network.rank: expected an integer of at least 1", rank=0),
    "width": network_case("[network]: ", hidden_width=1),
    "no beta": langevin_case("langevin.beta is missing", beta=None),
    "beta": langevin_case("langevin.beta: expected a positive number", beta=[1.0, -1.0]),
    "text beta": langevin_case("langevin.beta: expected a positive number", beta="1"),
    "true beta": langevin_case("langevin.beta: expected a positive number", beta=True),
    "kappa": langevin_case("langevin.kappa: expected a number of at least 0", kappa=-1),
    "chains": langevin_case("langevin.chains: expected an integer of at least 2", chains=1),
    "steps": langevin_case("langevin.steps: expected an integer", steps=10.0),
    "few steps": langevin_case("fewer than 4 draws are left", steps=22),
    "burn_in": langevin_case("fewer than 4 draws are left", burn_in=60),
    "step size": langevin_case("langevin.step_size: expected a positive number", step_size=0),
    "scheme": langevin_case("did you mean 'second-order'?", scheme="second order"),
    "component": langevin_case("singular values are one space", determinant="positive"),
    "cold": langevin_case("langevin.kappa: the scheme", scheme="metropolis", kappa=0),
    "one replica": langevin_case("two or more temperatures", swap_every=5, beta=1.0),
    "replicas without noise": langevin_case("with noise", swap_every=5, kappa=0),
    "no exchange": langevin_case("swap_every: expected an integer of at least 1", swap_every=0),
    "seed": langevin_case("langevin.seed: expected an integer of at least 0", seed=-1),
    "start": langevin_case("langevin.start: expected a positive number", start=0),
    "wells": energy_case("two values in rising order", **WELL | {"wells": [2.0, 1.0]}),
    "one well": energy_case("two values in rising order", **WELL | {"wells": [1.0]}),
    "negative well": energy_case("energy.wells: expected", **WELL | {"wells": [-1.0, 1.0]}),
    "no barrier": energy_case("energy.barrier is missing", **WELL | {"barrier": None}),
    "decay": energy_case("energy.weight_decay: expected", **WELL | {"weight_decay": -1}),
    "formula": energy_case("[energy]: the formula 's + x' holds", name="formula", formula="s + x"),
    "no formula": energy_case("energy.formula: expected a text", name="formula", formula=3),
    "no target": energy_case("energy.target: there is no file", name="least squares", target="x"),
    "target gaps": case(
        "energy.target: the matrix has missing entries",
        network={"shape": None},
        energy={"name": "least squares", "target": "gaps.csv"},
    ),
    "target shape": energy_case(
        "network.shape: the matrix in the file has shape [2, 3]",
        name="least squares",
        target="full.npy",
    ),
    "free entries": case(
        "energy.weight_decay: missing entries are free",
        network={"shape": None},
        energy={"name": "completion", "observed": "gaps.csv"},
    ),
    "only gaps": case(
        "all entries of",
        network={"shape": None},
        energy={"name": "completion", "observed": "none.csv"},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(tmp_path, output, name, capsys):
    message, content = REFUSED[name]
    matrix_files(tmp_path)
    (tmp_path / "none.csv").write_text(",\n,\n")
    problem = written(tmp_path, content)
    before = sorted(tmp_path.rglob("*"))
    assert call(problem, output) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(problem) in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_refused_arguments(problem, output, tmp_path, capsys):
    assert call(tmp_path / "none.toml", output) == 2
    assert "there is no file" in capsys.readouterr().err
    assert call(problem, output, "--workers", "0") == 2
    assert "--workers must be at least 1" in capsys.readouterr().err
    assert call(problem, problem) == 2
    assert "is a file: give a folder" in capsys.readouterr().err
    assert call(problem, tmp_path / "a" / "b") == 2
    assert "make it first" in capsys.readouterr().err
    (tmp_path / "latin.toml").write_bytes("# \xe9".encode("latin-1"))
    assert call(tmp_path / "latin.toml", output) == 2
    assert "UTF-8" in capsys.readouterr().err
    (output / "table.csv").mkdir(parents=True)
    assert call(problem, output) == 2
    assert "table.csv is a folder" in capsys.readouterr().err


def test_chains_stuck_in_components_are_told(tmp_path, output, capsys):
    """Of a run too short to cross from either sign of ``det`` to the other."""
    numpy.save(tmp_path / "target.npy", numpy.eye(2))
    energy = {"name": "least squares", "target": "target.npy"}
    langevin = {"beta": [4.0], "step_size": 1e-6}
    network = {"shape": None, "depth": 2}
    problem = written(tmp_path, network=network, energy=energy, langevin=langevin)
    assert call(problem, output) == 0
    assert "The chains disagree (R-hat above 1.01) for beta 4 at depth 2" in capsys.readouterr().out
    with (output / "table.csv").open(encoding="utf-8") as file:
        assert [row["r_hat"] for row in csv.DictReader(file)] == ["inf"]
    shares = samples(output).posterior["determinant_sign"]
    assert set(numpy.unique(shares)) == {-1.0, 1.0}


def test_infinite_depth(tmp_path, output, capsys):
    """Beside finite ones, of a formula that has a law there, or a remark that it has none."""
    energy = {"name": "formula", "formula": "log(s)**2 / 2 + s"}
    network = {"depth": [2, INF]}
    settings = {"beta": [2.0]}
    problem = written(tmp_path, network=network, energy=energy, langevin=settings)
    assert call(problem, output) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [row[1] for row in rows] == ["2", "inf"]
    assert rows[1][4] == "-"
    assert samples(output).posterior["depth"].values.tolist() == [2.0, INF]
    energy["formula"] = "(s - 1)**2"
    assert call(written(tmp_path, network=network, energy=energy, langevin=settings), output) == 0
    assert "depth inf: took 60 steps" in (printed := capsys.readouterr().out)
    assert "There is no Gibbs law: the energy does not rise towards det X = 0." in printed


def test_a_terminal_shows_what_is_done(problem, output, capsys, monkeypatch, blank_report):
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda shown=is_terminal: shown)
        assert main(["sample", str(problem), "--output", str(output)]) == 0
        error = capsys.readouterr().err
        assert all((name in error) == is_terminal for name in ("exact laws", "runs", "langevin"))
