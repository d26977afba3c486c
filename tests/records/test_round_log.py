# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.records.cell import read_all as read_cells
from flap_sam.records.round_log import ROUND_LOG, append, read
from flap_sam.records.run_record import FEDERATED
from flap_sam.report.closing import closing_summary
from flap_sam.report.write import write

from tests.report.cells import note
from tests.report.runs import EXPERIMENT, LAYERS, absences, made_run, record_of, sketched

SITES = ("site-1", "site-2", "site-3")


def cell(folder):
    """A grid's cells, of which this folder is the only one."""
    note(FEDERATED, None, {}, 1, EXPERIMENT, SITES).write(folder)
    return read_cells(folder.parent)


READERS = [read, closing_summary, cell, lambda folder: write(folder, folder / "report.html")]


@pytest.mark.parametrize("layers", [LAYERS, ()])
def test_the_log_is_read_as_it_was_written(tmp_path, layers):
    written = [absences(record_of(number, SITES, layers)) for number in range(3)]
    for record in written:
        append(tmp_path, record)
    assert read(tmp_path) == written


def test_what_a_sketch_dropped_stands_in_the_log_where_there_was_one(tmp_path):
    """Logs of other strategies are as they were before there was a sketch."""
    written = [record_of(0, SITES), sketched(record_of(1, SITES))]
    for record in written:
        append(tmp_path, record)
    assert read(tmp_path) == written
    lines = [json.loads(line)["layers"] for line in (tmp_path / ROUND_LOG).read_text().splitlines()]
    assert [layer.keys() for layer in lines[0].values()] == [{"kept", "residual"}] * 2
    assert [layer.get("excess") for layer in lines[1].values()] == [0.125, None]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (("sites",), ["site-1"], "sites is ['site-1'], expected an object"),
        (("sites",), {}, "sites is {}, expected 1 or more of them"),
        (("sites", "site-2", "loss"), "much", "sites.site-2.loss is 'much', expected a number"),
        (("sites", "site-2", "bytes_up"), None, "sites.site-2.bytes_up is None, expected a whole number"),
        (("sites", "site-2", "bytes_up"), ..., "sites.site-2.bytes_up is missing"),
        (("sites", "site-2", "validation"), 0.5, "sites.site-2.validation is 0.5, expected a list"),
        (("layers", LAYERS[0], "kept"), "all", f"layers.{LAYERS[0]}.kept is 'all', expected a number"),
        (("refused",), {"site-1": 3}, "refused.site-1 is 3, expected a text"),
        (("missing",), "site-1", "missing is 'site-1', expected a list"),
        (("round",), "one", "round is 'one', expected a whole number"),
    ],
)
def test_every_reader_names_file_line_and_field(tmp_path, field, value, sentence):
    folder = made_run(tmp_path)
    lines = (folder / ROUND_LOG).read_text().splitlines()
    record = json.loads(lines[1])
    *path, last = field
    holder = record
    for name in path:
        holder = holder[name]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    lines[1] = json.dumps(record)
    (folder / ROUND_LOG).write_text("\n".join(lines) + "\n")
    for reader in READERS:
        with pytest.raises(FlapSamError) as caught:
            reader(folder)
        assert f"{folder / ROUND_LOG} is damaged: in line 2 {sentence};" in str(caught.value)


def test_a_last_line_that_is_half_written_is_named(tmp_path):
    folder = made_run(tmp_path)
    text = (folder / ROUND_LOG).read_text()
    (folder / ROUND_LOG).write_text(text[:-30])
    for reader in READERS:
        with pytest.raises(FlapSamError, match="is damaged: in line 3 it is no JSON"):
            reader(folder)


def test_an_empty_and_a_missing_log_are_one_sentence(tmp_path):
    folder = made_run(tmp_path)
    (folder / ROUND_LOG).write_text("")
    for reader in READERS:
        with pytest.raises(FlapSamError, match="holds no round"):
            reader(folder)
    (folder / ROUND_LOG).unlink()
    for reader in READERS[:3]:
        with pytest.raises(FlapSamError, match="cannot be read"):
            reader(folder)


def test_the_closing_table_needs_neither_torch_nor_flare(tmp_path):
    """It takes a tenth of a second, and they take seconds."""
    code = "import sys; from flap_sam.report.closing import closing_summary; print(closing_summary.__module__); "
    code += f"from pathlib import Path; closing_summary(Path({str(made_run(tmp_path))!r})); "
    code += "print({'torch', 'nvflare', 'matplotlib', 'numpy'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "set()"
