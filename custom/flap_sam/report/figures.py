# SPDX-License-Identifier: Apache-2.0
"""The figures of a report."""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator, PercentFormatter

from flap_sam.foundation.means import mean_of_known
from flap_sam.records.round_log import LayerRecord
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL
from flap_sam.records.scores import Evaluation
from flap_sam.report import comparison_figure
from flap_sam.report.comparison import Row, by_label
from flap_sam.report.comparison_figure import MARKERS
from flap_sam.report.run import FinishedRun
from flap_sam.report.svg import INK, MUTED, SERIES, inline, page_style

WIDTH, HEIGHT = 4.2, 2.4  # inches; a phone shows them a little larger
KINDS = list(zip(SERIES, MARKERS, strict=True))
DASHES = (((0, (4, 2)), "╌"), ((0, (1, 1.5)), "┄"))
MOST_LABELS = 12
LONGEST_LABEL = 24

Values = Sequence[float | None]


@dataclass(frozen=True)
class Figure:
    """A figure with its title, a sentence below it, and a legend of (colour's number or 0, mark, name)."""

    title: str
    drawing: Markup
    note: str = ""
    legend: Sequence[tuple[int, str, str]] = ()


def lines(name: str, title: str, ylabel: str, values: Mapping[str, Values], note: str = "", **axes: Any) -> Figure:
    """A line a site over the rounds; of more sites than colours, grey lines and their mean.

    Args:
        values: by site, one a round.
        axes: properties of the axes, as matplotlib names them.
    """
    few = len(values) <= len(KINDS)

    def draw(ax: Axes) -> None:
        for (colour, mark), series in zip(KINDS if few else [(MUTED, "")] * len(values), values.values(), strict=False):
            width, alpha = (1.4, 1) if few else (0.7, 0.55)
            ax.plot(_numbers(series), color=colour, marker=mark, linewidth=width, alpha=alpha, clip_on=False)
        if not few:
            means = [mean_of_known(column) for column in zip(*values.values(), strict=True)]
            ax.plot(_numbers(means), color=SERIES[0], marker="o", linewidth=2.2)
        _rounds(ax)
        ax.set(ylabel=ylabel, **axes)

    many = [(1, "●", "mean of the sites"), (0, "—", f"each of the {len(values)} sites")]
    legend = [] if len(values) == 1 else _legend(values) if few else many
    return Figure(title, _drawn(name, title, draw), note, legend)


def dice_by_site(reports: Mapping[str, Evaluation], classes: Sequence[str]) -> Figure:
    """Test Dice of every site by class, mean and spread over its cases."""
    title = "Test Dice of the final payload by site"

    def draw(ax: Axes) -> None:
        for k in range(len(classes)):
            (colour, mark), shift = KINDS[k % len(KINDS)], 0.3 * (k - (len(classes) - 1) / 2)
            for y, report in enumerate(reports.values()):
                if (dice := report.test[k]) is not None:
                    spread = report.test_spread[k] or 0
                    xerr = [[min(spread, dice)], [min(spread, 1 - dice)]]
                    ax.errorbar(dice, y + shift, xerr=xerr, elinewidth=0.9, color=colour, fmt=mark, clip_on=False)
        _sites(ax, list(reports))
        ax.set(xlabel="Dice", xlim=(0, 1))

    note = "Mean and sample standard deviation over the site's cases, within 0 to 1."
    return Figure(title, _drawn("dice-by-site", title, draw, _height(reports)), note, _legend(classes))


def traffic(run: FinishedRun) -> Figure:
    """Megabytes of every round, up and down."""
    title = "Megabytes by round, all counted sites together"

    def draw(ax: Axes) -> None:
        for shift, way, colour in ((-0.2, "bytes_up", SERIES[0]), (0.2, "bytes_down", SERIES[1])):
            sums = [sum(getattr(site, way) for site in record.sites.values()) / 1e6 for record in run.rounds]
            ax.bar([record.round + shift for record in run.rounds], sums, 0.4, color=colour)
        _rounds(ax)
        ax.set(ylabel="MB")

    legend = [(1, "■", "up, from the sites"), (2, "■", "down, to the sites")]
    return Figure(title, _drawn("traffic", title, draw), legend=legend)


def attendance(run: FinishedRun) -> Figure:
    """Who was counted, refused or missing in every round."""
    title = "Sites in every round"
    sites = run.sites

    def draw(ax: Axes) -> None:
        for kind, colour, mark in (("sites", SERIES[0], "s"), ("refused", SERIES[1], "X"), ("missing", SERIES[4], "o")):
            points = [(r.round, sites.index(site)) for r in run.rounds for site in getattr(r, kind)]
            hollow: dict[str, Any] = {"markerfacecolor": "none"} if kind == "missing" else {}
            ax.plot(*zip(*points, strict=True) if points else ([], []), mark, color=colour, markersize=4, **hollow)
        _sites(ax, sites)
        _rounds(ax)

    legend = [(1, "■", "counted"), (2, "✖", "refused"), (5, "○", "missing")]
    return Figure(title, _drawn("attendance", title, draw, _height(sites)), legend=legend)


def energy(run: FinishedRun) -> Figure:
    """Share of the squared norm that the truncation kept, layers by rounds."""
    title = "Energy kept by the SVD, by layer and round"
    paths = list(run.rounds[-1].layers)
    shares = [[_kept(r.layers.get(path)) for r in run.rounds] for path in paths]

    def draw(ax: Axes) -> None:
        ax.grid(visible=False)
        map_ = ax.imshow(shares, cmap="cividis", aspect="auto", interpolation="nearest")
        _names(ax, map(layer_name, paths), fontsize=6.5)
        _rounds(ax)
        low, high = map_.get_clim()
        digits = 1 if high == low else max(1, math.ceil(-math.log10(high - low)) - 1)
        bar = ax.figure.colorbar(map_, ax=ax, format=PercentFormatter(1, digits), aspect=40, pad=0.02)
        bar.outline.set_visible(False)

    return Figure(title, _drawn("energy", title, draw, 0.7 + 0.13 * len(paths)))


def dice_against_traffic(rows: Sequence[Row]) -> Figure:
    """Mean test Dice of every federated row against what a site sends in a round; all data in one place as a line."""
    title = "Test Dice against traffic"
    federated, local, centralized = (by_label(rows, setting) for setting in (FEDERATED, LOCAL, CENTRALIZED))
    levels = list(zip(centralized.values(), DASHES, strict=False)) if len(centralized) <= len(DASHES) else []

    def draw(ax: Axes) -> None:
        comparison_figure.plot(ax, rows, itertools.chain(KINDS, itertools.repeat((MUTED, "o"))))
        for row, (dash, _) in levels:
            ax.axhline(_mean(row.means()), color=INK, linewidth=1, linestyle=dash)

    legend = _legend(federated)
    if federated.keys() & local.keys():
        legend.append((0, "○", "hollow: every site alone"))
    legend += [(0, sign, f"{row.setting} {row.label}") for row, (_, sign) in levels]
    return Figure(title, _drawn("dice-against-traffic", title, draw), legend=legend)


def layer_name(path: str) -> str:
    """An adapter's path in few words."""
    words = path.replace("image_encoder.blocks.", "encoder ").replace("mask_decoder.transformer.", "decoder ")
    for long, short in (
        ("layers.", ""),
        (".attn", ""),
        ("cross_attn_", ""),
        ("final_attn_", "last "),
        ("self_attn", "self"),
        ("adapter_", ""),
        (".", " "),
        ("_", " "),
    ):
        words = words.replace(long, short)
    return words


def _drawn(name: str, title: str, draw: Callable[[Axes], None], height: float = HEIGHT) -> Markup:
    with page_style():
        canvas = Canvas((WIDTH, height), layout="constrained")
        draw(canvas.add_subplot())
        return inline(canvas, name, title)


def _legend(names: Iterable[str]) -> list[tuple[int, str, str]]:
    return [(number, mark, name) for number, (mark, name) in enumerate(zip(MARKERS.values(), names, strict=False), 1)]


def _height(sites: Collection[str]) -> float:
    return 0.7 + max(1.2, 0.19 * len(sites))


def _sites(ax: Axes, sites: Sequence[str]) -> None:
    """The sites from top to bottom."""
    _names(ax, [site if len(site) <= LONGEST_LABEL else f"{site[: LONGEST_LABEL - 1]}…" for site in sites])
    ax.set_ylim(len(sites) - 0.5, -0.5)


def _names(ax: Axes, names: Iterable[str], **style: Any) -> None:
    """Names beside the axis: text and nothing else, without characters that no page can show."""
    shown = ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name) for name in names]
    ax.set_yticks(range(len(shown)), shown, parse_math=False, **style)


def _rounds(ax: Axes) -> None:
    ax.set_xlabel("round")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=MOST_LABELS, min_n_ticks=1))
    ax.grid(visible=False, axis="x")


def _kept(layer: LayerRecord | None) -> float:
    return math.nan if layer is None else layer.kept


def _mean(values: Values) -> float:
    return _numbers([mean_of_known(values)])[0]


def _numbers(values: Values) -> list[float]:
    """What is not known is a gap."""
    return [math.nan if value is None else value for value in values]
