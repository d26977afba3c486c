# SPDX-License-Identifier: Apache-2.0
"""Test Dice against traffic, as matplotlib's axes hold it."""

import itertools
from xml.etree import ElementTree

import pytest
from flap_sam.records.run_record import LOCAL
from flap_sam.report.comparison import rows
from flap_sam.report.comparison_figure import COLOURS, MARKERS, draw, plot
from matplotlib.figure import Figure

from tests.report.cells import row


def plotted(*cells):
    axes = Figure().add_subplot()
    plot(axes, rows([*cells]), zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS)))
    return axes


def points(axes) -> list[tuple[float, float, bool]]:
    """Where the marks stand, and whether they are hollow."""
    marks = [container[0] for container in axes.containers]
    return [(m.get_xdata()[0], pytest.approx(m.get_ydata()[0]), m.get_markerfacecolor() == "none") for m in marks]


def test_a_row_is_where_it_sends_and_what_it_reaches_and_hollow_below_it_what_sites_reach_alone():
    axes = plotted(*row(0.5, 0.6), *row(0.3, setting=LOCAL), *row(0.4, method="pdecft"))
    assert points(axes) == [(0.5, 0.41, False), (2.0, 0.31, True), (2.0, 0.56, False)]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dotted] == [
        ([2.0, 2.0], pytest.approx([0.31, 0.56]))
    ]


@pytest.mark.parametrize(("up", "scale"), [(19.0, "linear"), (21.0, "log")])
def test_rows_that_send_more_than_ten_times_as_much_are_on_a_logarithmic_axis(up, scale):
    assert plotted(*row(0.5), *row(0.4, method="fullft", up=up)).get_xscale() == scale


def test_the_same_rows_are_the_same_bytes():
    cells = rows([*row(0.5, 0.6), *row(0.4, method="pdecft")])
    drawn = draw(cells)
    assert drawn == draw(cells)
    assert drawn != draw(rows([*row(0.5, 0.7), *row(0.4, method="pdecft")]))
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


def test_more_rows_than_colours_have_marks_all_the_same():
    cells = [cell for rank in range(1, 13) for cell in row(0.5, rank=rank, up=float(rank))]
    assert len(points(plotted(*cells))) == 12
    assert len(MARKERS) == len(set(MARKERS.values()))


def test_a_row_that_was_not_federated_has_no_place():
    with pytest.raises(ValueError, match="flap_sam sent nothing: it was not federated"):
        plotted(*row(0.5, up=None).__class__(c.changed(up=None) for c in row(0.5)))
