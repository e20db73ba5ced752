"""Pictures of results: one that fails costs nothing else."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from dlngeo.app.pictures import save_picture


def draw():
    return Figure(figsize=(1, 1))


def test_a_picture_is_saved_beside_the_results(tmp_path, capsys):
    assert save_picture(tmp_path, "report.png", draw) == ["report.png"]
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.size == (150, 150)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("earlier", [False, True])
def test_one_that_fails_is_told(tmp_path, earlier, capsys):
    (tmp_path / "table.csv").write_text("results")
    if earlier:
        (tmp_path / "report.png").write_text("old")

    def fail():
        raise ZeroDivisionError("no\nscale")

    assert save_picture(tmp_path, "report.png", fail) == []
    error = capsys.readouterr().err
    assert "report.png could not be drawn (ZeroDivisionError: no scale)" in error
    assert ("is of an earlier run" in error) == earlier
    assert error.count("\n") == 1
    assert len(list(tmp_path.iterdir())) == 1 + earlier


def test_an_interrupt_says_where_the_results_are(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"before report\.png was drawn"):
        save_picture(tmp_path, "report.png", interrupt)
