"""What a layout of volumes must tell to become a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flap_sam.data.intensity import Intensity
from flap_sam.errors import FlapSamError


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
    """

    name: str
    classes: tuple[str, ...]

    def sites(self) -> list[str]:
        """Every site the layout knows, sorted, whether or not its scans are here."""

    def cases(self, site: str) -> list[SourceCase]:
        """A site's cases; raises FlapSamError naming the first one whose files are missing."""

    def intensity(self, site: str) -> Intensity:
        """How to clip a site's scans; may read all its training scans."""


def present(cases: list[SourceCase], site: str) -> list[SourceCase]:
    """The cases unchanged, or a FlapSamError naming the first one that lacks a file."""
    for case in cases:
        for path in (case.image, case.label):
            if not path.is_file():
                raise FlapSamError(f"{path} of case {case.id}, site {site}, does not exist; fetch that case first.")
    return cases
