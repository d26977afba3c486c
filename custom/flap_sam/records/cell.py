# SPDX-License-Identifier: Apache-2.0
"""A finished cell of a comparison: the note in its folder, and the line of JSON that tells it with its results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.foundation.means import mean_of_known
from flap_sam.foundation.strict import Count, Number, StrictModel, parse, parse_lines
from flap_sam.records import round_log, run_record
from flap_sam.records.results import FINAL, read_test_dice
from flap_sam.records.round_log import RoundRecord
from flap_sam.records.run_record import FEDERATED, RunRecord, Setting

CELL = "cell.json"
Key = tuple[str, str | None, str]


class Data(StrictModel):
    """What the cells of a comparison trained on.

    Args:
        source: of the volumes; slices: for training, by site; sha256: of the manifests.
    """

    source: str
    slices: Mapping[str, Count]
    sha256: str

    def __str__(self) -> str:
        slices = ", ".join(f"{site} {number}" for site, number in self.slices.items())
        return f"{self.source} (training slices: {slices}; manifests {self.sha256[:8]})"


class CellNote(StrictModel):
    """What a cell was.

    Args:
        job: its name.
        setting: of `run_record.SETTINGS`; site: whose data a local run trained on.
        changes: the varied settings; settings: all of them; experiment: their digest.
        start: the checkpoint's SHA-256, or the origin of the weights.
        sites: of the data, in the store's order.
        payload: the file in the cell's folder.
    """

    version: Literal[1] = 1
    job: str
    setting: Setting
    site: str | None
    changes: Mapping[str, object]
    seed: Count
    experiment: str
    settings: Mapping[str, object]
    data: Data
    start: str
    sites: Sequence[str]
    seconds: Number
    payload: str

    @property
    def key(self) -> Key:
        """Equal for two cells that are the same run, however their settings are written."""
        return self.setting, self.site, self.experiment

    def write(self, folder: Path) -> None:
        """Write it into the folder of the cell's results."""
        with replacing(folder / CELL) as stream:
            stream.write(self.to_json().encode())


class FinishedCell(CellNote):
    """What a cell was, and what came of it.

    Args:
        dice: mean test Dice over the classes of the final payload, by site.
        up, down: megabytes that a site sent and received in a round; None without a federation.
    """

    dice: Mapping[str, Number | None]
    up: Number | None
    down: Number | None
    run: RunRecord


def read(folder: Path) -> FinishedCell:
    """The cell in the folder of its results.

    Raises:
        FlapSamError: a file is missing or damaged.
    """
    try:
        note = parse(CellNote, (folder / CELL).read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(
            f"Cell {folder} cannot be read ({error}); remove it, and `compare` runs it again."
        ) from error
    tests, _ = read_test_dice(folder)
    rounds = round_log.read(folder)
    federated = rounds if note.setting == FEDERATED else []
    named = {f"site-{i}": name for i, name in enumerate(note.sites, 1)} | {name: name for name in note.sites}
    return FinishedCell(
        **dict(note),
        run=run_record.read(folder),
        dice={named.get(site, site): mean_of_known(report.test) for site, report in tests[FINAL].items()},
        up=_megabytes(federated, "bytes_up"),
        down=_megabytes(federated, "bytes_down"),
    )


def read_all(out: Path) -> list[FinishedCell]:
    """The finished cells below a folder."""
    return [read(folder) for folder in folders(out)]


def folders(out: Path) -> list[Path]:
    """The folders of the finished cells below a folder."""
    return sorted(note.parent for note in out.glob(f"*/{CELL}"))


def read_lines(file: Path) -> list[FinishedCell]:
    """The cells that `write_lines` wrote.

    Raises:
        FlapSamError: the file is missing, or a line of it damaged.
    """
    try:
        return parse_lines(FinishedCell, file)
    except OSError as error:
        raise FlapSamError(f"Cells {file} cannot be read ({error}); point to others, or run them again.") from error
    except ValueError as error:
        raise FlapSamError(
            f"Cells {file} are damaged: {error}; take the line out, and `compare` runs the cell again."
        ) from error


def write_lines(file: Path, cells: Iterable[FinishedCell]) -> None:
    """Write a line of JSON for every cell."""
    with replacing(file) as stream:
        stream.write("".join(cell.to_line() for cell in cells).encode())


def _megabytes(rounds: Sequence[RoundRecord], entry: str) -> float | None:
    return mean_of_known(getattr(site, entry) / 1e6 for record in rounds for site in record.sites.values())
