# SPDX-License-Identifier: Apache-2.0
"""The report from made-up runs: what stands in it, and what never does."""

import json
import re
from html.parser import HTMLParser
from itertools import product
from typing import get_args

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.records.results import FINAL, PAYLOAD_FILES, TEST_DICE
from flap_sam.report.write import write
from flap_sam.sam.inventory import inventory
from flap_sam.sam.weights import Origin

from tests.report.cells import note
from tests.report.runs import EXPERIMENT, LAYERS, absences, draw_pictures, made_run, sketched, withheld

HOSTILE = "<script>alert(1)</script>"


class Read(HTMLParser):
    """A page's elements, attributes' names, ids, addresses, texts and tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.ids, self.addresses, self.tables, self.texts = [], [], [], [], []
        self.attributes: set[str] = set()
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.attributes |= attributes.keys()
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.addresses += [attributes[key] for key in ("src", "href", "xlink:href") if key in attributes]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_data(self, data):
        self.texts.append(data)
        if self.tables and self.tables[-1] and self.tables[-1][-1] and self.lasttag in ("th", "td"):
            self.tables[-1][-1][-1] += data.strip()

    def table(self, *head: str) -> list[list[str]]:
        """The rows of the table that starts with these columns."""
        return next(rows[1:] for rows in self.tables if rows[0][: len(head)] == list(head))


def page(work, **settings) -> Read:
    made_run(work, **settings)
    return Read(write(work, work / "report.html").read_text())


def test_the_page_needs_nothing_else_and_its_ids_are_its_own(tmp_path):
    found = page(tmp_path, pictures=True, change=absences)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert all(re.match(r"#|data:image/png;base64,", address) for address in found.addresses)
    assert len(set(found.ids)) == len(found.ids)
    assert {a[1:] for a in found.addresses if a.startswith("#")} <= set(found.ids)
    html = (tmp_path / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"(fill|stroke): #(?!fff)", html), "every colour of a figure is the page's"
    assert "@import" not in html


def test_the_figures_of_the_run_are_there(tmp_path):
    found = page(tmp_path)
    assert found.table("site", "cases")[1][:5] == ["site-2", "4", "0.510 ± 0.125 n=3", "-", "0.510"]
    assert found.table("site", "cases")[-1][:3] == ["mean of sites", "", "0.510 ± 0.010 n=3"]
    assert found.table("site", "missed, class 1")[0] == ["site-1", "1 of 3", "0 of 1", "0 of 0", "2 of 4"]
    assert found.table("site", "slices", "counted")[0] == ["site-1", "10", "3", "0", "0", "0"]
    assert found.table("site", "up a round")[-1] == ["all sites", "", "", "11.25", "0.01", "11.26"]
    assert ["encoder 0 q", "90.000", "90.000", "0.3"] in found.table("layer")
    assert ["rank", "4", "32"] in found.table("setting")
    assert ["seed", "1234", ""] in found.table("setting")
    assert ["min_sites", "2", "none"] in [row for rows in found.tables for row in rows]
    assert "Every site that was asked counted in every round." in found.text
    assert "3 of 3" in found.text
    payload = found.table("payload")[0]
    assert payload[:3] == ["final", PAYLOAD_FILES[FINAL], "3"]
    assert re.fullmatch("[0-9a-f]{64}", payload[-1])
    assert {row[0] for row in found.table("", "version")} == {"flap-sam", "python", "torch", "nvflare"}
    figures = ["dice", "dice-by-site", "loss", "seconds", "attendance", "traffic", "energy", "residual", "norms"]
    assert all(f"{name}-figure_1" in found.ids for name in figures)


def test_what_full_fine_tuning_would_send_is_counted_for_the_same_answers(tmp_path):
    found = page(tmp_path, change=absences)
    full = Experiment(backbone="vit_tiny", image_size=32, method="fullft")
    megabytes = inventory(full).megabytes * 6
    assert f"Full fine-tuning, as many answers {megabytes:,.1f} MB" in found.text, "3 + 3 + 3 answers, 3 left out"


def test_who_was_left_out_is_named_with_the_reason(tmp_path):
    found = page(tmp_path, change=absences)
    assert found.table("site", "what") == [
        ["site-1", "refused", "0 to 1", "its B A has a norm of 99, more than 10 times the median"],
        ["site-2", "missing", "1", "no usable answer before the round closed"],
        ["site-2", "late", "2", "its answer to an earlier round came then, and was dropped"],
    ]
    assert "2 sites were left out at least once, in 2 of 3 rounds" in found.text
    assert "1 to 3 counted in a round" in found.text
    assert "Every site" not in found.text


def test_what_other_parties_wrote_is_text_and_nothing_else(tmp_path):
    def refused(record):
        return record.changed(refused={"<b>x": HOSTILE, "$\\frac$": '"><img src=x>'}, missing=["{{ 7 * 7 }}"])

    found = page(tmp_path, sites=[HOSTILE, 'b" onload="x', "site-1"], change=refused)
    assert "script" not in found.tags
    assert "b" not in found.tags
    assert "img" not in found.tags
    assert not [name for name in found.attributes if name.startswith("on")]
    assert HOSTILE in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "49" not in {cell for rows in found.tables for row in rows for cell in row}


def test_settings_layers_and_the_names_of_classes_are_text_too(tmp_path):
    long = "a name of a class that is longer than any column of a table on any page ought to be"
    classes, layers = [HOSTILE, long], ("$\\frac$", "<b>\x01", *LAYERS)
    experiment = EXPERIMENT.changed(dataset="<i>x</i>")
    made_run(tmp_path, experiment=experiment, layers=layers, sites=["site-1"])
    draw_pictures(tmp_path / "site-1", "site-1", 3, classes)
    found = Read(write(tmp_path, tmp_path / "report.html").read_text())
    assert not {"script", "b", "i"} & set(found.tags)
    assert f"final, {HOSTILE}" in found.tables[0][0]
    assert f"final, {long}" in found.tables[0][0]
    assert ["dataset", "<i>x</i>", "kits19"] in found.table("setting")
    assert "$\\frac$" in [row[0] for row in found.table("layer")]


@pytest.mark.parametrize("site", ["a\x01b", "a\x00", "北京医院", "", "$\\frac$"])
def test_any_name_of_a_site_has_its_row(tmp_path, site):
    found = page(tmp_path, sites=[site, "site-2"])
    assert len(found.table("site", "slices")) == 2


def test_rounds_in_which_nothing_travelled_have_a_page(tmp_path):
    def silent(record):
        return record.changed(sites={name: s.changed(bytes_up=0, bytes_down=0) for name, s in record.sites.items()})

    assert "times less" not in page(tmp_path, change=silent).text


@pytest.mark.parametrize("count", [1, 8, 9, 24])
def test_the_legend_does_not_grow_with_the_sites(tmp_path, count):
    found = page(tmp_path, sites=[f"site-{n}" for n in range(1, count + 1)])
    assert len(found.table("site", "slices")) == count
    assert found.tags.count("li") < 60
    assert (f"each of the {count} sites" in found.text) == (count > 8)
    assert found.table("site", "slices")[-1][0] == f"site-{count}", "site-2 goes before site-10"


def test_a_site_that_was_never_scored_and_a_long_name_have_their_places(tmp_path):
    sites = [f"hospital-of-a-town-with-a-long-name-{n}" for n in range(10)]
    results = made_run(tmp_path, sites=sites)
    tests = json.loads((results / TEST_DICE).read_text())
    for reports in tests["payloads"].values():
        del reports[sites[0]]
    (results / TEST_DICE).write_text(json.dumps(tests))
    found = Read(write(tmp_path, tmp_path / "report.html").read_text())
    assert [row[0] for row in found.table("site", "cases")] == [*sites[1:], "mean of sites"]
    assert "hospital-of-a-town-with…" in found.text


def test_a_method_without_adapters_has_no_low_rank_section(tmp_path):
    experiment = EXPERIMENT.changed(method="pdecft")
    found = page(tmp_path, experiment=experiment, layers=())
    assert "low-rank" not in found.ids
    assert "energy-figure_1" not in found.ids
    assert "pdecft on vit_tiny" in found.text


def test_withheld_figures_leave_their_places_empty(tmp_path):
    found = page(tmp_path, change=withheld)
    assert "loss-figure_1" not in found.ids
    assert "The sites withhold loss and time." in found.text


def test_one_round_is_enough(tmp_path):
    found = page(tmp_path, rounds=1, experiment=EXPERIMENT.changed(rounds=1))
    assert "1 of 1" in found.text


def test_a_round_without_layers_and_layers_that_come_later(tmp_path):
    late = page(tmp_path, change=lambda record: record.changed(layers={}) if record.round == 0 else record)
    assert ["encoder 0 q", "-", "90.000", "0.3"] in late.table("layer")


def test_a_run_that_stopped_early_says_so(tmp_path):
    found = page(tmp_path, experiment=EXPERIMENT.changed(rounds=9))
    assert "The run stopped early, after 3 of 9 rounds." in found.text


def test_a_run_that_is_not_finished_has_a_page_too(tmp_path):
    found = page(tmp_path, finished=False)
    assert "The run has not finished: there is no test Dice yet." in found.text
    assert "Test Dice" not in found.text


@pytest.mark.parametrize("demo", [True, False])
def test_the_demo_is_named_before_anything_else(tmp_path, demo):
    found = page(tmp_path, demo=demo)
    assert ("says nothing" in found.text or "say nothing about patients" in found.text) == demo


@pytest.mark.parametrize("weights", get_args(Origin))
def test_a_start_that_is_not_sams_is_told(tmp_path, weights):
    found = page(tmp_path, weights=weights)
    assert ("random weights" in found.text) == (weights == "random")
    assert ("bundled small SAM" in found.text) == (weights == "bundled")
    assert ("not for patients" in found.text) == (weights == "bundled")


def test_pictures_are_embedded_where_sites_drew_them_and_name_no_case(tmp_path):
    found = page(tmp_path / "with", pictures=True)
    assert found.tags.count("img") == 3 * 4
    assert "site-2, Dice 0.600, slice 3 of 3" in found.text
    assert "final, kidney" in found.text, "the classes' names come with the pictures"
    assert "img" not in page(tmp_path / "without").tags


def test_a_run_without_a_federation_has_no_traffic(tmp_path):
    found = page(tmp_path, sites=["A"], setting="local", layers=())
    assert "Local run, one site alone" in found.text
    assert "traffic" not in found.ids
    assert "Nothing: this run was made in one place" in found.text


GRID = (
    ("local", "A", {"method": "flap_sam"}),
    ("local", "B", {"method": "flap_sam"}),
    ("federated", None, {"method": "flap_sam"}),
    ("federated", None, {"method": "pdecft"}),
    ("centralized", None, {"method": "flap_sam"}),
)


def grid(folder, cells=GRID, seeds=(1,), sites=("A", "B")):
    """Cells of a grid, by default every site alone, both together, and the federation under two methods."""
    for number, (seed, (setting, site, changes)) in enumerate(product(seeds, cells)):
        work = folder / f"work-{number}"
        experiment = EXPERIMENT.changed(seed=seed, **changes)
        results = made_run(work, sites=[f"site-{n + 1}" for n in range(len(sites))], experiment=experiment)
        out = folder / f"cell-{number}"
        results.rename(out)
        note(setting, site, changes, seed, experiment, sites).write(out)
    return folder


def test_a_grid_has_its_table_and_its_figure(tmp_path):
    found = Read(write(grid(tmp_path), tmp_path / "report.html").read_text())
    rows = found.table("", "setting")
    assert [row[:2] for row in rows] == [
        ["pdecft", "federated"],
        ["flap_sam", "local"],
        ["flap_sam", "federated"],
        ["flap_sam", "centralized"],
    ]
    assert rows[0][-3] == "1.25", "MB up a round"
    assert "dice-against-traffic-figure_1" in found.ids
    assert all(words in found.text for words in ("hollow: every site alone", "centralized flap_sam"))


FEDERATED_CELL, LOCAL_CELL = ("federated", None, {}), ("local", "A", {})


@pytest.mark.parametrize(
    ("cells", "seeds", "facts"),
    [
        (GRID, (1,), ["vit_tiny, 32 px, kits19, 2 classes, 3 rounds", "varied: method"]),
        (GRID[:3], (1,), ["flap_sam (LoRA, rank 4), vit_tiny, 32 px, kits19, 2 classes, 3 rounds"]),
        (
            [FEDERATED_CELL, LOCAL_CELL],
            (1, 2),
            ["flap_sam (LoRA, rank 4), vit_tiny, 32 px, kits19, 2 classes, 3 rounds", "varied: seed"],
        ),
        (
            [("federated", None, {"rounds": 1, "image_size": 48}), ("federated", None, {"ranks": {"B": 2}})],
            (1, 2),
            ["flap_sam (LoRA, rank 4), vit_tiny, kits19, 2 classes", "varied: image_size, ranks, rounds, seed"],
        ),
        (
            [FEDERATED_CELL, ("federated", None, {"dataset": "ixi"}), ("federated", None, {"rank": 2})],
            (1,),
            ["vit_tiny, 32 px, 2 classes, 3 rounds", "varied: dataset, rank"],
        ),
    ],
)
def test_a_grid_describes_itself_by_what_its_cells_share(tmp_path, cells, seeds, facts):
    html = write(grid(tmp_path, cells, seeds), tmp_path / "report.html").read_text()
    *told, started = re.findall(r'<p class="fact">(.*)</p>', html)
    assert told == facts
    assert started.startswith("first run started")
    varied = facts[1].removeprefix("varied: ").split(", ") if len(facts) == 2 else []
    settings = {row[0] for row in Read(html).table("setting")}
    assert settings == set(Experiment.model_fields) - set(varied), "what was varied has no one value"


def test_a_run_may_be_compared_with_a_grid(tmp_path):
    made_run(tmp_path / "work")
    out = write(tmp_path / "work", tmp_path / "report.html", grid(tmp_path / "grid"))
    found = Read(out.read_text())
    assert {"comparison", "traffic"} <= set(found.ids)
    with pytest.raises(FlapSamError, match="holds no finished run of `flap-sam compare`"):
        write(tmp_path / "work", out, tmp_path / "work")


def test_without_a_run_no_page_is_written(tmp_path):
    made_run(tmp_path / "one"), made_run(tmp_path / "two")
    for work in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FlapSamError, match="run"):
            write(work, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_grid_is_compared_with_no_other(tmp_path):
    grid(tmp_path / "grid")
    with pytest.raises(FlapSamError, match="is a grid itself; leave --compare out"):
        write(tmp_path / "grid", tmp_path / "report.html", tmp_path / "grid")


def test_what_a_sketch_dropped_beyond_the_svd_has_a_column_of_its_own(tmp_path):
    usual = Read(write(made_run(tmp_path / "svd"), tmp_path / "svd.html").read_text())
    found = Read(write(made_run(tmp_path / "sketch", change=sketched), tmp_path / "sketch.html").read_text())
    assert [row[-1] for row in found.table("layer", "first round, %")] == ["0.125", "-"]
    assert "beyond the SVD" in found.text
    assert "beyond the SVD" not in usual.text


def test_in_turn_a_report_counts_what_leaves_in_a_round(tmp_path):
    experiment = EXPERIMENT.changed(strategy="alternate")
    found = Read(write(made_run(tmp_path, experiment=experiment, layers=()), tmp_path / "r.html").read_text())
    assert "Of lora even and lora odd a round sends one; half of each counts." in found.text
    rows = dict(found.table("part", "numbers"))
    groups = inventory(experiment).groups
    assert rows["lora even"] == f"{groups['lora_even'].received // 2:,}"
