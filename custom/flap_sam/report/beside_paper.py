# SPDX-License-Identifier: Apache-2.0
"""The rows of a comparison beside what the paper prints of them, as far as we hold it."""

from collections.abc import Iterator, Mapping, Sequence

from flap_sam.config import paper
from flap_sam.config.paper import PaperRow
from flap_sam.foundation.text import figure, markdown_table, mean_and_spread
from flap_sam.records.cell import FinishedCell
from flap_sam.records.run_record import FEDERATED, LOCAL
from flap_sam.report import comparison
from flap_sam.report.claims import Side, traffic_ratio
from flap_sam.report.comparison import Row

HEAD = ("", "setting", "test Dice", "paper", "collaborative gain", "paper", "times less than fullft", "paper")
DIGITS = (3, 4, 1)
FULL = "fullft"
MISSING = "not at hand"
WAITING = "not run yet"
NONE = "-"
SOURCE = (
    "Ours are means of the sites ± spread over the seeds; the collaborative gain is the federation's Dice less that of "
    "the sites alone. The paper's figures are those of its Figure 1 (arXiv 2407.21739; Fed-KiTS19, federated, headed "
    "25 rounds). Its Tables 1 (methods), 2 (ranks), D and E (adapters), and A to C were not at hand; their rows run "
    "here in all three settings. Its numbers of parameters stand beside ours in `flap-sam params --paper`."
)


def parts(cells: Sequence[FinishedCell], rows: Sequence[Row], planned: Sequence[Side]) -> Iterator[str]:
    """A section of the page: how these runs differ from the paper's, and every planned row beside the paper's.

    Args:
        cells: finished ones; rows: made of them; planned: all that there are to be, some of them several times.
    """
    found = {Side(row.label, row.setting): row for row in rows}
    sides = sorted({*planned}, key=lambda side: comparison.place(side.label.partition(",")[0], *side))
    figures = _figures() if {cell.settings["dataset"] for cell in cells} == {paper.FIGURE_1} else {}
    yield "## Beside the paper"
    yield _departures(cells)
    yield markdown_table(HEAD, [_line(side, found, figures.get(side.label)) for side in sides])
    yield SOURCE


def _figures() -> dict[str, PaperRow]:
    """The paper's rows on Fed-KiTS19 by the label of ours."""
    rows = [row for row in paper.PAPER if "classes" not in row.settings]
    return {comparison.label_of({"method": "flap_sam", **row.settings}): row for row in rows}


def _line(side: Side, found: Mapping[Side, Row], told: PaperRow | None) -> list[str]:
    """A row: ours and the paper's, in turn. Only a federation sends and gains."""
    row, local, full = (found.get(key) for key in (side, Side(side.label, LOCAL), Side(FULL, FEDERATED)))
    dice = mean_and_spread(row.means(), DIGITS[0]) if row else WAITING
    if side.setting != FEDERATED:
        return [*side, dice, MISSING, *[NONE] * 4]
    gained = comparison.gains(row, local) if row else []
    less = traffic_ratio(row, full) if row and full else None
    gain = mean_and_spread(gained, DIGITS[1]) if gained else WAITING
    ratio = WAITING if less is None else figure(less, DIGITS[2])
    known = (None, None, None) if told is None else (told.dice, told.gain, told.reduction)
    theirs = [MISSING if value is None else figure(value, digits) for value, digits in zip(known, DIGITS, strict=True)]
    return [*side, *(text for pair in zip((dice, gain, ratio), theirs, strict=True) for text in pair)]


def _departures(cells: Sequence[FinishedCell]) -> str:
    """In what the runs are not the paper's."""
    told = dict.fromkeys(text for cell in cells for text in _departures_of(cell))
    if not told:
        return "The settings of these runs are the paper's."
    return f"These runs are not the paper's: {', '.join(told)}."


def _departures_of(cell: FinishedCell) -> Iterator[str]:
    dataset = str(cell.settings["dataset"])
    if dataset not in paper.DATA_SETS:
        yield f"data set {dataset}, which it does not have"
    elif not cell.data.source.startswith(dataset):
        yield f"volumes of {cell.data.source} in place of {dataset}"
    for name, (value, theirs) in paper.departures(cell.settings, cell.changes).items():
        yield f"{name} {value} (in the paper {theirs})"
