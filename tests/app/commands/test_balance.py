"""``dlngeo balance``, from files to files."""

import numpy
import pytest

from dlngeo.app.cli import main
from dlngeo.app.files.array_archives import save_arrays


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


def test_any_name_is_kept(tmp_path):
    rng = numpy.random.default_rng(1)
    factors = [rng.normal(size=(3, 3)) for _ in range(4)]
    names = ["file", "allow_pickle", "args", "a/b"]
    path, output = tmp_path / "network.npz", tmp_path / "balanced.npz"
    save_arrays(path, dict(zip(names, factors, strict=True)))
    assert main(["balance", str(path), "--output", str(output)]) == 0
    with numpy.load(output) as after:
        assert after.files == names
        product = numpy.linalg.multi_dot([after[name] for name in names[::-1]])
    numpy.testing.assert_allclose(product, numpy.linalg.multi_dot(factors[::-1]), rtol=1e-10)
    assert output.stat().st_mode == path.stat().st_mode


@pytest.mark.parametrize("scale", [1e-200, 1e150, 1e200])
def test_products_out_of_range_are_balanced(tmp_path, scale, capsys):
    rng = numpy.random.default_rng(2)
    factors = [scale * rng.normal(size=(3, 3)) for _ in range(3)]
    path, output = tmp_path / "network.npz", tmp_path / "balanced.npz"
    numpy.savez(path, *factors)
    assert main(["balance", str(path), "--output", str(output)]) == 0
    with numpy.load(output) as after:
        balanced = [after[name] / scale for name in after.files]
    product = numpy.linalg.multi_dot([factor / scale for factor in factors[::-1]])
    numpy.testing.assert_allclose(numpy.linalg.multi_dot(balanced[::-1]), product, rtol=1e-10)
    norms = [numpy.linalg.norm(layer) for layer in balanced]
    numpy.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    assert "inf" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dtype", "kept"), [("f2", "f2"), ("f4", "f4"), (">f8", ">f8"), ("i8", "f8")]
)
def test_types_are_kept(tmp_path, dtype, kept):
    rng = numpy.random.default_rng(3)
    path, output = tmp_path / "network.npz", tmp_path / "balanced.npz"
    numpy.savez(path, *(4 * rng.normal(size=(2, 3, 3))).astype(dtype))
    assert main(["balance", str(path), "--output", str(output)]) == 0
    with numpy.load(output) as after:
        assert {after[name].dtype for name in after.files} == {numpy.dtype(kept)}


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
