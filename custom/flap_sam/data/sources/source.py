# SPDX-License-Identifier: Apache-2.0
"""What a layout of volumes must tell to become a store."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flap_sam.data.intensity import Intensity
from flap_sam.data.manifest import Split
from flap_sam.data.readers.dicom_files import series_below
from flap_sam.data.readers.kinds import Listing, listed
from flap_sam.data.sources.label_values import label_values
from flap_sam.data.workers import Each, in_turn
from flap_sam.errors import FlapSamError
from flap_sam.foundation.names import is_name


@dataclass(frozen=True)
class SourceCase:
    """One labelled scan as it comes; `split` is "train" or "test"."""

    id: str
    split: Split
    image: Path
    label: Path


class Source(Protocol):
    """A folder of labelled volumes, dealt to sites.

    Attributes:
        folder: where the layout, and maybe a `labels.csv`, lies.
        name: the layout, as in `flap-sam prepare <name>`.
        classes: class names without background; label k is `classes[k - 1]`.
        any_label: whatever is above 0 in a label map is class 1.
        minimum_side: slices are zero-padded to at least as many rows and columns.
    """

    folder: Path
    name: str
    any_label: bool = False
    minimum_side: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background not counted."""

    @property
    def label_values(self) -> dict[int, int] | None:
        """The class of every number in the label maps, see `label_values`; None where they are the classes."""
        return label_values(self.folder)

    def sites(self) -> list[str]:
        """Every site the layout knows, sorted, whether or not its scans are here."""

    def cases(self, site: str) -> list[SourceCase]:
        """A site's cases; raises FlapSamError as `checked`."""

    def intensity(self, site: str, each: Each = in_turn) -> Intensity:
        """How to clip a site's scans; may read all its training scans, by `each`."""

    def notes(self) -> list[str]:
        """Sentences that name and count what lies in the layout's folders and is passed over."""
        return []


class MissingFilesError(FlapSamError):
    """A file of a site's cases is not here or of no use; `cases` are all that its layout expects."""

    def __init__(self, message: str, cases: list[SourceCase]) -> None:
        super().__init__(message)
        self.cases = cases


def checked(cases: list[SourceCase], site: str) -> list[SourceCase]:
    """The cases unchanged.

    Raises:
        FlapSamError: a case has a name that cannot name a file, or that of another case.
        MissingFilesError: a case lacks a file.
    """
    seen: dict[str, SourceCase] = {}
    for case in cases:
        if not is_name(case.id):
            raise FlapSamError(
                f"{case.image} would be the case {case.id!r}, expected a name of letters, digits, '.', '_' and '-'; "
                "rename it."
            )
        if case.id in seen:
            raise FlapSamError(
                f"{case.image} and {seen[case.id].image} would both be the case {case.id} of site {site}; remove or "
                "rename one."
            )
        seen[case.id] = case
        for path in (case.image, case.label):
            try:
                _check_file(path, case.id, site)
            except FlapSamError as problem:
                raise MissingFilesError(str(problem), cases) from problem
    return cases


def passed_over(listing: Listing, used: Iterable[Path], why: str) -> list[str]:
    """A sentence about the volumes, and another about the other files, of a folder that are not used; or none.

    Args:
        why: the volumes are not, such as "which no line of sites.csv names".
    """
    used = set(used)
    volumes = [path for paths in listing.volumes.values() for path in paths if path not in used]
    others = [path for path in listing.others if path not in used]
    sentences = (volumes, f"volumes {why}"), (others, "what is no volume")
    return [
        f"{listing.folder} holds {what}, passed over: {listed(paths, listing.folder)}."
        for paths, what in sentences
        if paths
    ]


def _check_file(path: Path, case_id: str, site: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as problem:
        raise FlapSamError(
            f"{path} of case {case_id}, site {site}, does not exist; fetch that case first."
        ) from problem
    except OSError as problem:
        raise FlapSamError(
            f"{path} of case {case_id}, site {site}, cannot be reached ({problem.strerror}); let this user read it."
        ) from problem
    if not stat.S_ISREG(mode) and not (stat.S_ISDIR(mode) and series_below(path).series):
        raise FlapSamError(
            f"{path} of case {case_id}, site {site}, is no file, nor a folder of DICOM slices; replace it by a volume."
        )
