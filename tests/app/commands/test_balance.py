"""``dlngeo balance``, from files to files."""

import numpy
import pytest

from dlngeo.app.cli import main


@pytest.fixture
def network(tmp_path):
    rng = numpy.random.default_rng(0)
    path = tmp_path / "network.npz"
    shapes = {"first": (5, 4), "second": (6, 5), "third": (3, 6)}
    layers: dict = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    layers["second"] *= 1e6
    numpy.savez(path, **layers)
    return path


def test_balance(network, tmp_path, capsys):
    output = tmp_path / "balanced.npz"
    assert main(["balance", str(network), "--output", str(output)]) == 0
    with numpy.load(network) as before, numpy.load(output) as after:
        assert after.files == before.files
        factors, balanced = ([file[name] for name in before.files] for file in (before, after))
    product = factors[2] @ factors[1] @ factors[0]
    change = balanced[2] @ balanced[1] @ balanced[0] - product
    assert abs(change).max() < 1e-12 * abs(product).max()
    norms = [numpy.linalg.norm(layer) for layer in balanced]
    numpy.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    moment = balanced[1].T @ balanced[1] - balanced[0] @ balanced[0].T
    assert abs(moment).max() < 1e-12 * norms[0] ** 2
    printed = capsys.readouterr().out
    assert "second" in printed
    assert str(output) in printed
    assert {file.name for file in tmp_path.iterdir()} == {"network.npz", "balanced.npz"}


NETWORKS = {
    "no file": (None, "no file"),
    "text": ("text", "numpy.savez"),
    "vector": ({"w": numpy.ones(3)}, "w in"),
    "objects": ({"w": numpy.array([{}])}, "numpy.savez"),
    "widths": ({"a": numpy.ones((2, 3)), "b": numpy.ones((2, 3))}, "do not chain"),
    "zero": ({"a": numpy.zeros((2, 3))}, "rank"),
    "NaN": ({"a": numpy.full((2, 2), numpy.nan)}, "NaN"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_balance_refuses(tmp_path, case, capsys):
    content, message = NETWORKS[case]
    path, output = tmp_path / "network.npz", tmp_path / "out.npz"
    if isinstance(content, dict):
        numpy.savez(path, **content)
    elif content is not None:
        path.write_text(content)
    assert main(["balance", str(path), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()
