"""Text files as tables of cells: what is odd, and right."""

import numpy
import pytest

from dlngeo.app.files.matrix_tables import read_matrix
from dlngeo.app.files.table_layouts import Layout
from dlngeo.app.files.text_tables import LONG_LINE, MOST_TEXTS, TextTable


def read(tmp_path, content: bytes) -> list[list[str]]:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return TextTable.read(path).cells.tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"1,2\n3,4\n",
        b"1,2\n3,4",
        b"1,2\r\n3,4\r\n",
        b"1,2\r3,4\r",
        b"\n1,2\n\n \n3,4\n\n",
        b"\xef\xbb\xbf1,2\n3,4\n",
        b'"1","2"\n"3",4\n',
        b"# what it is\n1, 2\n3, 4\n",
        b"1;2\n3;4\n",
        b"1\t2\n3\t4\n",
        b"  1   2\n3 \t 4  \n",
    ],
)
def test_one_table_in_many_spellings(tmp_path, content):
    assert read(tmp_path, content) == [["1", "2"], ["3", "4"]]


def test_cells_keep_their_text(tmp_path):
    assert read(tmp_path, b'"a, b","say ""no"""\n"two\nlines",007\n') == [
        ["a, b", 'say "no"'],
        ["two\nlines", "007"],
    ]


def test_more_texts_than_are_remembered(tmp_path):
    rows = [[f"x{k}", "y"] for k in range(MOST_TEXTS + 5)]
    assert read(tmp_path, "\n".join(map(",".join, rows)).encode()) == rows


def test_long_lines(tmp_path):
    """The delimiter is told from the beginning of a line, the whole of which is read."""
    matrix = numpy.random.default_rng(0).normal(size=(3, LONG_LINE // 10)).round(8)
    path = tmp_path / "table.csv"
    numpy.savetxt(path, matrix, delimiter=";")
    file = read_matrix(path, Layout())
    assert file.shape == matrix.shape
    assert numpy.array_equal(file.known.values, matrix.ravel())


def test_what_is_written_is_read_again(tmp_path):
    path, copy = tmp_path / "table.csv", tmp_path / "copy.csv"
    path.write_text('# of two\n"a, b";2\n"two\nlines";\n', newline="")
    table = TextTable.read(path)
    table.write(table.cells, copy)
    again = TextTable.read(copy)
    assert again.cells.tolist() == table.cells.tolist()
    assert again.comments == table.comments == ("# of two\n",)
