"""What a layout of volumes must tell to become a store."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flap_sam.data.intensity import Intensity
from flap_sam.data.workers import Each, in_turn
from flap_sam.errors import FlapSamError
from flap_sam.names import is_name


@dataclass(frozen=True)
class SourceCase:
    """One labelled scan as it comes; `split` is "train" or "test"."""

    id: str
    split: str
    image: Path
    label: Path


class Source(Protocol):
    """A folder of labelled volumes, dealt to sites.

    Attributes:
        name: the layout, as in `flap-sam prepare <name>`.
        classes: class names without background; label k is `classes[k - 1]`.
        any_label: whatever is above 0 in a label map is class 1.
        minimum_side: slices are zero-padded to at least as many rows and columns.
    """

    name: str
    classes: tuple[str, ...]
    any_label: bool = False
    minimum_side: int = 0

    def sites(self) -> list[str]:
        """Every site the layout knows, sorted, whether or not its scans are here."""

    def cases(self, site: str) -> list[SourceCase]:
        """A site's cases; raises FlapSamError as `checked`."""

    def intensity(self, site: str, each: Each = in_turn) -> Intensity:
        """How to clip a site's scans; may read all its training scans, by `each`."""


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


def _check_file(path: Path, case_id: str, site: str) -> None:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError as problem:
        raise FlapSamError(
            f"{path} of case {case_id}, site {site}, does not exist; fetch that case first."
        ) from problem
    except OSError as problem:
        raise FlapSamError(
            f"{path} of case {case_id}, site {site}, cannot be reached ({problem.strerror}); let this user read it."
        ) from problem
    if not regular:
        raise FlapSamError(f"{path} of case {case_id}, site {site}, is no file, expected a NIfTI file; replace it.")
