# SPDX-License-Identifier: Apache-2.0
"""Figures: what is in them, by their texts and legends."""

import re
from xml.etree import ElementTree

import pytest
from flap_sam.records.run_record import CENTRALIZED, LOCAL
from flap_sam.report import comparison, figures
from flap_sam.report.figures import KINDS, LONGEST_LABEL, dice_against_traffic, dice_by_site, layer_name, lines
from flap_sam.report.run import read

from tests.report.cells import row
from tests.report.runs import absences, evaluation_of, made_run

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(str(figure.drawing)).iter(f"{SVG}text")]


def curves(figure) -> int:
    """How many lines of data are drawn."""
    root = ElementTree.fromstring(str(figure.drawing))
    return sum(1 for node in root.iter(f"{SVG}g") if re.search(r"-line2d_\d+$", node.get("id", "")))


def series(count: int, rounds: int = 3) -> dict[str, list[float | None]]:
    return {f"site-{k}": [0.1 * k + n for n in range(rounds)] for k in range(count)}


@pytest.mark.parametrize("count", [1, 2, len(KINDS), len(KINDS) + 1, 30])
def test_of_more_sites_than_colours_the_mean_stands_out(count):
    drawn = lines("loss", "Loss", "loss", series(count), ylim=(0, 5))
    if count == 1:
        assert list(drawn.legend) == []
    elif count <= len(KINDS):
        assert [name for _, _, name in drawn.legend] == [f"site-{k}" for k in range(count)]
        assert [colour for colour, _, _ in drawn.legend] == list(range(1, count + 1))
    else:
        assert [name for _, _, name in drawn.legend] == ["mean of the sites", f"each of the {count} sites"]
        alone = lines("loss", "Loss", "loss", series(1), ylim=(0, 5))
        assert curves(drawn) == curves(alone) + count, "all of them, and the mean"


def test_what_is_not_known_is_a_gap_and_no_zero():
    whole = str(lines("a", "A", "a", {"s": [1.0, 1.0, 1.0]}, ylim=(0, 2)).drawing)
    gap = str(lines("a", "A", "a", {"s": [1.0, None, 1.0]}, ylim=(0, 2)).drawing)
    assert gap.count("<use ") + gap.count(":use ") == whole.count("<use ") + whole.count(":use ") - 1


def test_rounds_are_whole_numbers():
    axis = [text for text in texts(lines("a", "A", "a", {"s": [0.5, 0.6]}, ylim=(0, 1))) if text.isdecimal()]
    assert axis[:2] == ["0", "1"]


def test_every_site_has_its_row_from_the_top_whatever_it_is_called():
    names = ["site-1", "$\\frac$", "a\x01b", "x" * 60]
    drawn = dice_by_site({name: evaluation_of(0.5) for name in names}, ["organ", "lesion"])
    plain = ["site-1", "$\\frac$", "a\N{REPLACEMENT CHARACTER}b"]
    shown = [text for text in texts(drawn) if text in plain or "xx" in text]
    assert shown[:3] == plain
    assert (len(shown[3]), shown[3][-1]) == (LONGEST_LABEL, "…")
    assert [name for _, _, name in drawn.legend] == ["organ", "lesion"]


@pytest.mark.parametrize("dice", [0.0, 0.05, 1.0])
def test_a_spread_stays_within_what_a_dice_can_be(dice, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures.Axes, "errorbar", lambda *at, xerr, **_: drawn.append((at[1], xerr)))
    dice_by_site({"A": evaluation_of(dice)}, ["organ", "lesion"])
    ((x, ((low,), (high,))),) = drawn  # of the other class there is no Dice
    assert x == dice
    assert (low, high) == pytest.approx((min(0.125, dice), min(0.125, 1 - dice)))


def test_a_comparison_tells_hollow_marks_and_the_level_of_all_data_in_one_place():
    cells = [*row(0.5), *row(0.3, setting=LOCAL), *row(0.6, setting=CENTRALIZED), *row(0.4, method="pdecft")]
    drawn = dice_against_traffic(comparison.rows(cells))
    names = [name for _, _, name in drawn.legend]
    assert names == ["pdecft", "flap_sam", "hollow: every site alone", "centralized flap_sam"]
    assert [name for _, _, name in dice_against_traffic(comparison.rows(row(0.5))).legend] == ["flap_sam"]


def test_attendance_and_traffic_and_energy_are_drawn_of_any_run(tmp_path):
    made_run(tmp_path, change=absences)
    found = read(tmp_path)
    assert {"site-1", "site-2", "site-3"} <= set(texts(figures.attendance(found)))
    assert [name for _, _, name in figures.attendance(found).legend] == ["counted", "refused", "missing"]
    assert "MB" in texts(figures.traffic(found))
    assert {"encoder 0 q", "decoder 0 self v"} <= set(texts(figures.energy(found)))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("image_encoder.blocks.11.attn.adapter_q", "encoder 11 q"),
        ("mask_decoder.transformer.layers.1.cross_attn_token_to_image.adapter_v", "decoder 1 token to image v"),
        ("mask_decoder.transformer.final_attn_token_to_image.adapter_q", "decoder last token to image q"),
    ],
)
def test_layers_have_short_names(path, name):
    assert layer_name(path) == name
