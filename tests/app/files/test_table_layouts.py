"""Tables of text: what is read of each, or which option is asked for."""

import re
from typing import Any

import numpy
import pandas
import pytest

from dlngeo.app.files.matrix_tables import MatrixTable, Triples, read_matrix
from dlngeo.app.files.table_layouts import Layout
from dlngeo.app.files.text_tables import MISSING

NAN = numpy.nan


def read(tmp_path, text, **told) -> Any:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_matrix(path, Layout(**told))


MATRICES = {
    "numbers": ("1,2.5,3\n4,,6\n", [[1, 2.5, 3], [4, NAN, 6]], "without a header"),
    "header": ("a,b\n2.5,\n1,3\n", [[2.5, NAN], [1, 3]], "with a header"),
    "first row missing": ("NULL,2,3\n4,5.5,6\n", [[NAN, 2, 3], [4, 5.5, 6]], "without a header"),
    "row missing": ("1\t2.5\n\t\n3\t4\n", [[1, 2.5], [NAN, NAN], [3, 4]], "tab-separated"),
    "row missing, semicolons": ("1;2.5\n;\n3;4\n", [[1, 2.5], [NAN, NAN], [3, 4]], "semicolon"),
    "last row missing": ("1,2.5\n,\n", [[1, 2.5], [NAN, NAN]], "comma-separated"),
    "blank lines": ("\n1,2.5\n\n3,4\n\n", [[1, 2.5], [3, 4]], "comma-separated"),
    "no end of line": ("1,2.5\n3,4", [[1, 2.5], [3, 4]], "comma-separated"),
    "Windows": ("1,2.5\r\n3,4\r\n", [[1, 2.5], [3, 4]], "comma-separated"),
    "byte order mark": ("\ufeff1,2.5\n3,4\n", [[1, 2.5], [3, 4]], "without a header"),
    "quotes": ('"a","b"\n"2.5",""\n"1","3"\n', [[2.5, NAN], [1, 3]], "with a header"),
    "decimal commas": ("1,5;2,25;\n3,1;4;5\n", [[1.5, 2.25, NAN], [3.1, 4, 5]], "decimal commas"),
    "decimal commas, tabs": ("1,5\t2,25\n3,1\t\n", [[1.5, 2.25], [3.1, NAN]], "decimal commas"),
    "decimal commas, spaces": ("1,5 2,25\n3,1 nan\n", [[1.5, 2.25], [3.1, NAN]], "space"),
    "decimal commas, quoted": (
        'a;b\n"1,5";"2,25"\n"1,123";""\n',
        [[1.5, 2.25], [1.123, NAN]],
        "decimal commas",
    ),
    "spaces": ("  1.0e+00   nan \n -2.5E-1   .5 \n", [[1, NAN], [-0.25, 0.5]], "space-separated"),
    "spaces after commas": ("1, 2.5,\n3, , 4\n", [[1, 2.5, NAN], [3, NAN, 4]], "comma-separated"),
    "comments": ("# a b\n#\n1 2.5\n3 4\n", [[1, 2.5], [3, 4]], "space-separated"),
    "data frame": (",0,1\n0,1.5,\n1,2,3\n", [[1.5, NAN], [2, 3]], "labels of rows"),
    "data frame with names": (",a,b\n0,1.5,\n1,2,3\n", [[1.5, NAN], [2, 3]], "labels of rows"),
    "pivot table": ("userId,1,2\n1,4,\n5,,2\n", [[4, NAN], [NAN, 2]], "first column 'userId'"),
    "identifiers": ("id,x,y\n3,1,2\n9,,4\n5,2,2\n", [[1, 2], [NAN, 4], [2, 2]], "column 'id'"),
    "labels": ("name,x,y\nann,1,2\nbob,,4\n", [[1, 2], [NAN, 4]], "first column 'name'"),
    "labels, no header": ("ann,1.5,2\nbob,,4\n", [[1.5, 2], [NAN, 4]], "without a header, labels"),
    "label NA": ("name,x,y\nann,1,2\nbob,,4\n", [[1, 2], [NAN, 4]], "labels"),
    "one column": ("a\n1\n2\n", [[1], [2]], "with a header"),
    "one row": ("1.5,2,\n", [[1.5, 2, NAN]], "without a header"),
}


@pytest.mark.parametrize("case", MATRICES)
def test_matrices(tmp_path, case):
    text, matrix, words = MATRICES[case]
    file = read(tmp_path, text)
    assert isinstance(file, MatrixTable)
    numpy.testing.assert_array_equal(file.matrix, matrix)
    assert words in file.description


def test_missing_words_are_those_of_pandas(tmp_path):
    known = pandas._libs.parsers.STR_NA_VALUES
    assert {word.lower() for word in known} == MISSING
    for word in known:
        file = read(tmp_path, f"1,2.5\n{word},{word.upper()}\n", delimiter="comma")
        numpy.testing.assert_array_equal(file.matrix, [[1, 2.5], [NAN, NAN]])


@pytest.mark.parametrize("delimiter", [" ", ",", ";", "\t"])
def test_files_of_numpy(tmp_path, delimiter):
    matrix = numpy.random.default_rng(0).normal(size=(5, 4))
    matrix[1] = matrix[3, 2] = NAN
    path = tmp_path / "saved.txt"
    numpy.savetxt(path, matrix, delimiter=delimiter, header="four columns")
    file: Any = read_matrix(path, Layout())
    numpy.testing.assert_array_equal(file.matrix, matrix)


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("decimal", [".", ","])
def test_files_of_pandas(tmp_path, index, decimal):
    values = numpy.random.default_rng(0).normal(size=(5, 4))
    values[1] = values[3, 2] = NAN
    path = tmp_path / "saved.csv"
    frame = pandas.DataFrame(values)
    frame.to_csv(path, index=index, sep=";", decimal=decimal)
    layout = Layout() if index else Layout(header=True)
    file: Any = read_matrix(path, layout)
    numpy.testing.assert_allclose(file.matrix, values, rtol=1e-15)


TOLD: dict[str, Any] = {
    "header": ("0,1\n2,3.5\n", {"header": True}, [[2, 3.5]]),
    "no header": ("0,1\n2,3.5\n", {"header": False}, [[0, 1], [2, 3.5]]),
    "index": ("1,2,4\n2,5,\n3,1,1\n", {"index": True}, [[2, 4], [5, NAN], [1, 1]]),
    "no index": ("1,2\n2,\n3,1\n", {"index": False}, [[1, 2], [2, NAN], [3, 1]]),
    "no triples": (
        "row,col,value\n1,2,3\n1,3,4\n",
        {"triples": False, "index": False},
        [[1, 2, 3], [1, 3, 4]],
    ),
    "both": ("7,1,2\n9,4,5\n3,4,1\n", {"header": True, "index": True}, [[4, 5], [4, 1]]),
    "thousandths": ("1,500;2,250\n3,100;4,000\n", {"decimal": "comma"}, [[1.5, 2.25], [3.1, 4]]),
    "numbers as names": ("x,1,2\na,4,5\n", {"header": True}, [[4, 5]]),
    "numbers after a label": ("x,1,2\na,4,5\n", {"header": False}, [[1, 2], [4, 5]]),
    "delimiter": ("1;5\n3;4\n", {"delimiter": "semicolon"}, [[1, 5], [3, 4]]),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_is_told_counts(tmp_path, case):
    text, told, matrix = TOLD[case]
    numpy.testing.assert_array_equal(read(tmp_path, text, **told).matrix, matrix)


TRIPLES = {
    "MovieLens": "userId,movieId,rating,timestamp\nA,x,2.5,9\nA,y,,8\nB,x,4,7\n",
    "index of a data frame": ",user_id,item_id,score\n0,A,x,2.5\n1,A,y,\n2,B,x,4\n",
    "other order": "timestamp,user,item,rating\n9,A,x,2.5\n8,A,y,\n7,B,x,4\n",
    "other names": "critic,film,opinion\nA,x,2.5\nA,y,\nB,x,4\n",
    "no names": "A,x,2.5\nA,y,\nB,x,4\n",
    "value by its name": "first,second,stars\nA,x,2.5\nA,y,\nB,x,4\n",
    "Book-Crossing": "User-ID,ISBN,Book-Rating\nA,x,2.5\nA,y,\nB,x,4\n",
    "identifiers": "uid,iid,seen\nA,x,2.5\nA,y,\nB,x,4\n",
    "decimal commas": "row;col;value\nA;x;2,5\nA;y;\nB;x;4\n",
    "spaces": "row col value\nA x 2.5\nA y nan\nB x 4\n",
    "columns": "when,film,what,who\n1,x,2.5,A\n2,y,,A\n3,x,4,B\n",
}


@pytest.mark.parametrize("labels", ["text", "numbers"])
@pytest.mark.parametrize("case", TRIPLES)
def test_triples(tmp_path, case, labels):
    told: dict = {"columns": ("who", "film", "what")} if case == "columns" else {}
    names = {name: name for name in "ABxy"}
    if labels == "numbers":
        names = {"A": "007", "B": "7", "x": "1e2", "y": "100"}
        told["triples"] = True if case in ("other names", "no names") else None
    cell = re.compile(r"\b[ABxy]\b")
    text = cell.sub(lambda match: names[match[0]], TRIPLES[case])
    file = read(tmp_path, text, **told)
    assert isinstance(file, Triples)
    assert file.row_labels == [names["A"], names["B"]]
    assert file.column_labels == [names["x"], names["y"]]
    numpy.testing.assert_array_equal(file.values, [2.5, NAN, 4])
    numpy.testing.assert_array_equal(file.rows, [0, 0, 1])
    numpy.testing.assert_array_equal(file.columns, [0, 1, 0])
    assert "3 triples of a 2 x 2 matrix" in file.description
    unused = {"MovieLens": "'timestamp'", "columns": "'when'", "index of a data frame": "''"}
    assert f"not used: {unused.get(case, '')}" in file.description or case not in unused


@pytest.mark.parametrize(
    ("name", "is_identifier"),
    [
        *((name, True) for name in ("id", "ID", "userId", "user_id", "User ID", "uid", "movieid")),
        *((name, False) for name in ("paid", "bid", "Covid", "grid", "valid", "x")),
    ],
)
def test_names_of_identifiers(tmp_path, name, is_identifier):
    text = f"{name},x,y\n5,1,2\n9,,4\n7,2,2\n"
    assert ("labels of rows" in read(tmp_path, text).description) == is_identifier


def test_labels_are_texts(tmp_path):
    labels = [
        "007",
        "7",
        "0007",
        "1.1",
        "1.10",
        "1e2",
        "100",
        "NA",
        "null",
        "nan",
        "True",
        "é",
        "a b",
    ]
    rows = "".join(f"{label},x,{place}\n" for place, label in enumerate(labels))
    file = read(tmp_path, f"row,col,value\n{rows}")
    assert file.row_labels == labels
    numpy.testing.assert_array_equal(file.values, numpy.arange(len(labels)))


def test_types_are_not_guessed_in_pieces(tmp_path):
    """Many integers, and one text near the end: each label is one row."""
    ids = [str(10000 + k % 300) for k in range(300_000)]
    ids[-5] = "10012X"
    text = "row,col,value\n" + "".join(f"{k % 7},{i},1\n" for k, i in enumerate(ids))
    assert read(tmp_path, text).shape == (7, 301)


ASKED = {
    "counted names": ("0,1,2\n3,4.5,5\n", "--header .* --no-header"),
    "counted labels": ("1,2.5,4\n2,5,\n3,1,1\n", "--index .* --no-index"),
    "rising labels": ("a,b,c\n1,2.5,3\n4,5,\n7,8,9\n", "--index .* --no-index"),
    "some texts first": ("a,b\n1,2\nfour,5\n6,7.5\n", "'four' in row 2 .*--index"),
    "odd number first": ("0x10,2,3\n4,5,6\n7,,9\n", "'0x10' .*--header"),
    "underscore first": ("1_000,2,3\n4,5,6\n7,,9\n", "'1_000' .*--header"),
    "odd number": ("1,0x10,3\n4,5,6\n7,,9\n", "'0x10' .*--header"),
    "blank names": ("x,,\n1,2,3\n2,,4\n", "--header"),
    "a label or a name": ("ann,1,2\nbob,,4\n", "--header"),
    "missing corner": (",2,3\n4,5,6\n7,,9\n", "--header"),
    "integers of triples": ("a,b,c\n1,10,5\n2,10,\n1,20,2\n2,20,3\n", "--triples .* --no-triples"),
    "no names of triples": ("1\t10\t5\t881250949\n2\t10\t3\t9\n1\t20\t2\t9\n", "--triples"),
    "three identifiers": ("id,user_id,item_id,rating\n1,2,3,4\n", "--columns"),
    "two values": ("user,item,value,rating\n1,2,3,4\n", "--columns"),
    "thousands": ("1,500;2,250\n3,100;4,000\n", "--decimal"),
    "no names of values": ("user,item,0x10\n1,2,3\n1,3,4\n", "'0x10': give --header"),
    "shifted columns": ("row,col,value\n1,2,3,4\n2,3,4,5\n", "4 columns in line 2, but 3 before"),
    "short row": ("1,2,3\n4,5\n", "2 columns in line 2, but 3 before"),
    "blank line in a column": ("1\n\n3\n", "blank line before line 3"),
    "underscore": ("1.5,2\n3,1_000\n", "'1_000' in row 2, column 2"),
    "hexadecimal": ("1.5,2\n3,0x1p3\n", "'0x1p3' in row 2"),
    "other digits": ("1.5,2\n3,٣\n", "'٣' in row 2"),
    "currency": ("1.5,2\n3,$4\n", "'\\$4' in row 2"),
    "two decimal marks": ("3;4\n1.5;2,5\n", "'2,5' in row 2"),
    "infinite": ("1.5,2\n3,-Infinity\n", "infinite"),
    "too large": ("1.5,2\n3,1e999\n", "infinite"),
    "open quote": ('1.5,"2\n3,4\n', "quote|EOF"),
    "NUL": ("1.5,\0\n3,4\n", "NUL"),
    "labels alone": ("ann\nbob\n", "holds the text"),
    "no value": ("user,item,rating\n1,2,x\n", "the value 'x' in row 1"),
    "value with a comma": ("user;item;rating\n1;2;1.5\n1;3;2,5\n", "the value '2,5' in row 2"),
    "no label": ("user,item,rating\n1,2,3\n1,,4\n", "no item in row 2"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked(tmp_path, case):
    text, message = ASKED[case]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"columns": ("a", "b")}, "must be three"),
        ({"columns": ("a", "a", "b")}, "must be three"),
        ({"columns": ("a", "b", "z")}, "no column"),
        ({"columns": ("1", "2", "4")}, "no column 4"),
        ({"columns": ("0", "1", "2")}, "no column 0"),
        ({"columns": ("a", "b", "c"), "triples": False}, "give one"),
        ({"triples": True, "index": True}, "need no --index"),
    ],
)
def test_what_is_told_must_fit(tmp_path, told, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "a,b,c\nx,y,3\nx,z,4\n", **told)
    numpy.save(tmp_path / "a.npy", numpy.eye(2))
    with pytest.raises(ValueError, match="no text table"):
        read_matrix(tmp_path / "a.npy", Layout(**told))
