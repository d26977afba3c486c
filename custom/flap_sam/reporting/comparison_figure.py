"""The figure of a comparison, like the paper's Figure 1: test Dice against traffic, and what the federation gains."""

import math
from collections.abc import Sequence
from io import BytesIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flap_sam.means import mean_of_known, spread_of_known
from flap_sam.reporting.comparison import Row
from flap_sam.reporting.report.figures import MARKERS
from flap_sam.reporting.run_record import FEDERATED, LOCAL

STYLE = {"svg.hashsalt": "flap-sam", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
COLOURS = mpl.color_sequences["tab10"]


def draw(rows: Sequence[Row]) -> bytes:
    """An SVG that is the same for the same rows: a filled marker a federated row, and hollow below it the local one."""
    by_setting = {setting: {row.label: row for row in rows if row.setting == setting} for setting in (FEDERATED, LOCAL)}
    with mpl.rc_context(STYLE):
        figure = Figure((8, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, row) in enumerate(by_setting[FEDERATED].items()):
            _mark(axes, number, row, by_setting[LOCAL].get(label))
        axes.set(xscale="log", xlabel="MB from a site in a round", ylabel="test Dice, mean of the sites")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", title="filled: federated\nhollow: local", frameon=False)
        stream = BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _mark(axes: Axes, number: int, federated: Row, local: Row | None) -> None:
    """A row's point, with its spread over the seeds, and a line down to what the sites reach alone."""
    colour, shape = COLOURS[number % len(COLOURS)], [*MARKERS][number % len(MARKERS)]
    sent = mean_of_known(federated.up)
    style = {"color": colour, "markersize": 7, "elinewidth": 1, "capsize": 2}
    means = [_point(row) for row in (local, federated) if row]
    if local:
        axes.plot([sent, sent], means, color=colour, linewidth=0.9, linestyle=":")
        axes.errorbar(sent, means[0], spread_of_known(local.means()), fmt=shape, markerfacecolor="none", **style)
    axes.errorbar(sent, means[-1], spread_of_known(federated.means()), fmt=shape, label=federated.label, **style)


def _point(row: Row) -> float:
    mean = mean_of_known(row.means())
    return math.nan if mean is None else mean
