# SPDX-License-Identifier: Apache-2.0
"""Tables are read as spreadsheets of any country and system write them."""

import csv
import io

import pytest
from flap_sam.data.sources.tables import COLUMNS, read_table, rows_of
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text("abcäß Z0.-_", min_size=1, max_size=8).map(str.strip).filter(lambda name: name[:1].isalnum())
ROWS = st.lists(
    st.tuples(NAMES, NAMES, st.sampled_from(["train", "test"])), min_size=1, max_size=5, unique_by=lambda r: r[0]
)


@given(
    rows=ROWS,
    order=st.permutations(["case", "site", "split", "remark"]),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    told=st.booleans(),
    spaces=st.booleans(),
    empty_lines=st.integers(0, 3),
)
def test_every_dialect(tmp_path_factory, rows, order, delimiter, ending, quoting, encoding, told, spaces, empty_lines):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=ending)
    pad = " " if spaces and quoting == csv.QUOTE_MINIMAL else ""
    writer.writerow(f"{name}{pad}" for name in order)
    for case, site, split in rows:
        values = {"case": case, "site": site, "split": split, "remark": f"a{delimiter}b"}
        writer.writerow(f"{values[name]}{pad}" for name in order)
    text.write((delimiter * 3 + ending) * empty_lines)
    path = tmp_path_factory.mktemp("table") / "sites.csv"
    path.write_bytes(((f"sep={delimiter}{ending}" if told else "") + text.getvalue()).encode(encoding))
    assert read_table(path, COLUMNS) == [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"case|site|split\nc1|A|train\n", r"has the columns 'case\|site\|split' in its first line"),
        (b"case;site\nc1;A\n", "has the columns 'case', 'site' in its first line, expected case, site, split once"),
        (b"case,site,split,site\nc1,A,train,B\n", "once each"),
        (b"", "has the columns none in its first line"),
        (b"case,site,split\n\n;;\n", "has in line 3 case ';;'"),
        (b"case,site,split\n,,\n", "lists no case"),
        (b"case,site,split\nc1,A,train\n\nc1,A,test\n", "has in line 4 case 'c1'"),
        (b"sep=;\ncase;site;split\nc1;A;validation\n", "has in line 3 .*split 'validation'"),
        (b"case,site,split\nc1,A\n", "has in line 2 .*split ''"),
        ("case,site,split\nc1,Köln,train\n".encode("latin-1"), "cannot be read .*table in UTF-8"),
        (b'case,site,split\n"c1,A,train\n', "has in line 2"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, words):
    (tmp_path / "sites.csv").write_bytes(content)
    with pytest.raises(FlapSamError, match=rf"sites\.csv .*{words}"):
        read_table(tmp_path / "sites.csv", COLUMNS)


def test_the_lines_are_those_of_the_file(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"value;label\r\n\r\n1;2\r\n")
    assert rows_of(tmp_path / "t.csv", ("label", "value")) == [(3, {"label": "2", "value": "1"})]
