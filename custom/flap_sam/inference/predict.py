# SPDX-License-Identifier: Apache-2.0
"""Scans of a folder, one after the other, to label maps and pictures of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import TextColumn

from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import UnwritableError
from flap_sam.foundation.progress_bar import bar
from flap_sam.inference.finished import ScanNote, ScanOutcome
from flap_sam.inference.overlay import draw
from flap_sam.inference.scans import Scan
from flap_sam.inference.segment import Segmenter, millilitres, outputs, write

PICTURE = "_overlay.png"


@dataclass(frozen=True)
class Prediction:
    """What became of a scan.

    Args:
        volumes: by class, in ml; None where it failed.
        error: the sentence that says why; None where it did not.
        notes: what is odd about the scan, see `Volume`.
    """

    name: str
    volumes: tuple[float, ...] | None
    error: str | None = None
    notes: tuple[str, ...] = ()


def predict(segmenter: Segmenter, scans: Sequence[Scan], folder: Path) -> Iterator[Prediction]:
    """Segment scans; one that cannot be read does not keep the others.

    What a run like this one had finished before it was interrupted is taken over (see `finished`).

    Raises:
        FlapSamError: a file that would be made is there already, and no such run has made it, nothing is read then; or
            a file cannot be written.
    """
    by = segmenter.digest()
    notes = [ScanNote(folder, scan, by) for scan in scans]
    for scan, note in zip(scans, notes, strict=True):
        if not note.is_ours():
            _check_new(_files(segmenter, scan, folder))
    failed = False
    with bar(TextColumn("{task.percentage:>3.0f} %")) as progress:
        task = progress.add_task("", total=len(scans))
        for number, (scan, note) in enumerate(zip(scans, notes, strict=True)):
            progress.update(task, description=scan.name)
            try:
                found = note.outcome() or _predict_one(
                    segmenter, scan, folder, note, lambda share: progress.advance(task, share)
                )
                yield Prediction(scan.name, found.volumes, notes=found.notes)
            except UnwritableError:
                raise
            except FlapSamError as problem:
                failed = True
                yield Prediction(scan.name, None, str(problem))
            progress.update(task, completed=number + 1)
    if not failed:
        for note in notes:
            note.remove()


def _predict_one(
    segmenter: Segmenter, scan: Scan, folder: Path, note: ScanNote, advance: Callable[[float], None]
) -> ScanOutcome:
    note.write(None)
    volume = scan.read()
    found = segmenter.segment(volume, advance)
    *maps, picture = _files(segmenter, scan, folder)
    classes = segmenter.experiment.classes
    write(maps, volume, found)
    draw(picture, scan.name, found, volume.spacing, segmenter.conventions.names(classes))
    outcome = ScanOutcome(volumes=millilitres(volume, found.labels, classes), notes=volume.notes)
    note.write(outcome)
    return outcome


def _files(segmenter: Segmenter, scan: Scan, folder: Path) -> list[Path]:
    maps = outputs(folder, scan.name, segmenter.experiment.classes, segmenter.keeps_probabilities)
    return [*maps, folder / f"{scan.name}{PICTURE}"]


def _check_new(files: list[Path]) -> None:
    if there := next((file for file in files if file.exists()), None):
        raise FlapSamError(
            f"{there} is there already; move what is finished out of --input, or choose another --output."
        )
