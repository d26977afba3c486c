# SPDX-License-Identifier: Apache-2.0
import ast
import csv
import io
import math
import tempfile
from pathlib import Path

import flap_sam
import pytest
from flap_sam.errors import FlapSamError
from flap_sam.foundation.table import write_table
from hypothesis import given
from hypothesis import strategies as st

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
HARMFUL = st.builds(lambda start, rest: start + rest, st.sampled_from([*STARTS, "'"]), st.text(max_size=8))
TEXTS = st.one_of(HARMFUL, st.text(max_size=8), st.sampled_from(["-1", "+1e3", "=cmd|'/c calc'!A0", 'a";=1', "x;=1"]))
NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
ROWS = st.lists(st.tuples(TEXTS, NUMBERS, st.none() | NUMBERS), max_size=5)


def content_of(columns: list[str], rows: list[tuple]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "table.csv", columns, rows)
        return (Path(folder) / "table.csv").read_bytes().decode()


@given(rows=ROWS)
def test_every_cell_comes_back_and_no_text_begins_as_a_formula(rows):
    header, *found = csv.reader(io.StringIO(content_of(["case", "-a", "b"], rows), newline=""))
    assert header == ["case", "'-a", "b"]
    for row, (text, number, absent) in zip(found, rows, strict=True):
        assert not row[0].startswith(tuple(STARTS))
        assert row[0].removeprefix("'") == text
        assert type(number)(row[1]) == number
        assert row[2] == "" if absent is None else type(absent)(row[2]) == absent


@given(rows=ROWS, separator=st.sampled_from(";\t|"))
def test_a_spreadsheet_with_another_separator_finds_no_formula_either(rows, separator):
    for line in csv.reader(io.StringIO(content_of(["a", "b", "c"], rows), newline=""), delimiter=separator):
        assert not any(cell.startswith(tuple(STARTS)) for cell in line)


@pytest.mark.parametrize("number", [-1, -0.25, -1e-9, 0, math.pi])
def test_a_number_is_no_text(number):
    assert content_of(["a"], [(number,)]).splitlines()[1] == repr(number)


def test_a_file_name_that_is_no_unicode_is_still_told():
    assert content_of(["a"], [("\udcff",)]).splitlines()[1] == '"\\udcff"'


def test_a_table_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FlapSamError, match=r"table\.csv cannot be written"):
        write_table(tmp_path / "file/table.csv", ["a"], [])


def test_nothing_else_writes_csv():
    for file in Path(flap_sam.__file__).parent.rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        assert file.name == "table.py" or not names & {"writer", "DictWriter", "to_csv", "savetxt"}, file
