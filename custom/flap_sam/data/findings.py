# SPDX-License-Identifier: Apache-2.0
"""What the doctor writes down: figures and findings by site."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

import numpy as np

from flap_sam.data.contact_sheet import Tile, picture
from flap_sam.data.geometry import Affine
from flap_sam.data.manifest import SPLITS
from flap_sam.data.twins import Prints
from flap_sam.data.unlike import Look, intensities, orientation

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """Something to look into; `severity` is "error" or "warning", `case` is None where it concerns the whole site."""

    severity: str
    site: str
    case: str | None
    sentence: str


@dataclass(frozen=True)
class Range:
    """How a figure varies over a site's cases."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Range":
        ordered = sorted(map(float, values))
        return cls(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class SiteSummary:
    """One site in figures.

    Attributes:
        expected, whole: by split, how many cases there should be, and how many could be read whole with image
            and mask on one grid.
        holding: by class name, how many of the whole cases hold that class.
        ranges: over the whole cases "slices"; "slice_mm", "row_mm" and "column_mm", the spacing in store axis
            order; "lowest" and "highest", a case's intensities in the scan's unit, of a store after clipping.
            Empty where no case is whole.
    """

    site: str
    expected: dict[str, int]
    whole: dict[str, int]
    holding: dict[str, int]
    ranges: dict[str, Range]


@dataclass(frozen=True)
class Report:
    """All that the doctor found.

    Attributes:
        examined: the folder.
        classes: class names without background.
        pictures: one of every whole case, site by site, for `contact_sheet`.
    """

    examined: str
    classes: tuple[str, ...]
    sites: tuple[SiteSummary, ...]
    findings: tuple[Finding, ...]
    pictures: tuple[Tile, ...] = field(repr=False)

    @property
    def failed(self) -> bool:
        """Whether any finding is an error; warnings do not count."""
        return any(finding.severity == ERROR for finding in self.findings)

    def to_json(self) -> str:
        """All but the pictures."""
        content = {
            "examined": self.examined,
            "failed": self.failed,
            "classes": self.classes,
            "sites": [asdict(site) for site in self.sites],
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(content, indent=1) + "\n"


@dataclass(frozen=True)
class ScanFacts:
    """A case that could be read.

    Attributes:
        image, label: [slices, rows, columns] in store orientation; labels are uint8.
        spacing: millimetres, in the same order.
        affine: of its file's array.
        lowest, highest: intensities in the scan's unit.
        slope, intercept: what makes of the image's numbers intensities in the scan's unit.
        notes: sentences on what its reader had to guess.
    """

    id: str
    split: str
    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    affine: Affine
    lowest: float
    highest: float
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()

    def in_unit(self, number: float) -> float:
        """A number of the image as an intensity in the scan's unit."""
        return self.intercept + self.slope * number


@dataclass(frozen=True)
class WholeCase:
    """What is kept of a scan."""

    site: str
    id: str
    split: str
    labels: tuple[int, ...]
    prints: Prints
    look: Look
    figures: dict[str, float]
    picture: Tile


@dataclass
class SiteFacts:
    """What is known of a site while it is examined; `absolute` means that its intensities have a unit."""

    site: str
    classes: tuple[str, ...] = ()
    absolute: bool = False
    expected: Counter[str] = field(default_factory=Counter)
    cases: list[WholeCase] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, severity: str, case: str | None, sentence: str) -> None:
        self.findings.append(Finding(severity, self.site, case, sentence))

    def add(self, scan: ScanFacts) -> None:
        """Take up a scan, noting what is odd in it alone."""
        labels = tuple(np.unique(scan.label[scan.label > 0]).tolist())
        strange = [label for label in labels if label > len(self.classes)]
        if strange:
            self.note(ERROR, scan.id, f"The mask holds the label {strange[0]}, expected 0 to {len(self.classes)}.")
        if not labels:
            self.note(WARNING, scan.id, "The mask is empty; make sure that there is nothing to draw.")
        if scan.lowest == scan.highest:
            self.note(ERROR, scan.id, f"The image has the one intensity {scan.lowest:g} everywhere; export it again.")
        for note in scan.notes:
            self.note(WARNING, scan.id, note)
        names = ("slices", "slice_mm", "row_mm", "column_mm", "lowest", "highest")
        self.cases.append(
            WholeCase(
                site=self.site,
                id=scan.id,
                split=scan.split,
                labels=labels,
                prints=Prints.of(scan.image, scan.label),
                look=self._look(scan),
                figures=dict(zip(names, (len(scan.image), *scan.spacing, scan.lowest, scan.highest), strict=True)),
                picture=picture(self.site, scan.id, scan.split, scan.image, scan.label, scan.spacing),
            )
        )

    def _look(self, scan: ScanFacts) -> Look:
        low, high, organ = intensities(scan.image, scan.label)
        return Look(
            site=self.site,
            id=scan.id,
            low=scan.in_unit(low),
            high=scan.in_unit(high),
            organ=None if organ is None else scan.in_unit(organ),
            spacing=scan.spacing,
            orientation=orientation(scan.affine),
        )

    def summary(self) -> SiteSummary:
        holding = Counter(label for case in self.cases for label in case.labels)
        figures = self.cases[0].figures if self.cases else ()
        return SiteSummary(
            site=self.site,
            expected=_by_split(self.expected),
            whole=_by_split(Counter(case.split for case in self.cases)),
            holding={name: holding[k] for k, name in enumerate(self.classes, start=1)},
            ranges={name: Range.of(case.figures[name] for case in self.cases) for name in figures},
        )


def _by_split(counts: Counter[str]) -> dict[str, int]:
    return {split: counts[split] for split in SPLITS}
