# SPDX-License-Identifier: Apache-2.0
"""The figure of a comparison, like the paper's Figure 1: test Dice against traffic, and what the federation gains."""

import itertools
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from flap_sam.foundation.means import mean_of_known, spread_of_known
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.report.comparison import Row, by_label

STYLE: dict[Any, object] = {
    "svg.hashsalt": "flap-sam",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = [to_hex(colour) for colour in mpl.color_sequences["tab10"]]
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}  # with their signs in a text


def draw(rows: Sequence[Row]) -> bytes:
    """An SVG that is the same for the same rows."""
    with mpl.rc_context(STYLE):
        figure = Figure((8, 4.4), layout="constrained")
        axes = figure.add_subplot()
        plot(axes, rows, zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS)))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", title="filled: federated\nhollow: local", frameon=False)
        stream = BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def plot(axes: Axes, rows: Sequence[Row], kinds: Iterable[tuple[str, str]]) -> None:
    """A filled marker a federated row, and hollow below it what the sites reach alone.

    Args:
        kinds: colour and marker of every federated row's marker.
    """
    federated, local = (by_label(rows, setting) for setting in (FEDERATED, LOCAL))
    for (colour, marker), (label, row) in zip(kinds, federated.items(), strict=False):
        _mark(axes, colour, marker, row, local.get(label))
    sent = [_sent(row) for row in federated.values()]
    if max(sent) > 10 * min(sent):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="MB from a site in a round", ylabel="test Dice, mean of the sites")


def _sent(row: Row) -> float:
    """Megabytes from a site in a round; raises a ValueError of a row without a federation."""
    sent = mean_of_known(row.up)
    if sent is None:
        raise ValueError(f"{row.label} sent nothing: it was not federated")
    return sent


def _mark(axes: Axes, colour: str, marker: str, federated: Row, local: Row | None) -> None:
    """A row's point, with its spread over the seeds, and a line down to what the sites reach alone."""
    sent = _sent(federated)
    style: dict[str, Any] = {"color": colour, "fmt": marker, "markersize": 6, "elinewidth": 0.9, "capsize": 2}
    if local:
        axes.plot([sent, sent], [_point(local), _point(federated)], color=colour, linewidth=0.9, linestyle=":")
        axes.errorbar(sent, _point(local), spread_of_known(local.means()), markerfacecolor="none", **style)
    axes.errorbar(sent, _point(federated), spread_of_known(federated.means()), label=federated.label, **style)


def _point(row: Row) -> float:
    mean = mean_of_known(row.means())
    return math.nan if mean is None else mean
