# SPDX-License-Identifier: Apache-2.0
"""Cases that are unlike the others: in intensities, in spacing, in orientation.

A figure is unlike the others of its site where it lies further from their median than `FAR` robust standard deviations
(1.4826 times the median absolute deviation) and than a least distance that matters, which each rule names.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import aff2axcodes

FAR = 5.0
ROBUST = 1.4826
FEWEST = 3  # cases; of two nobody can tell which one is odd
SAMPLE = 2_000_000  # voxels, of which percentiles are taken
ENDS = (0.5, 99.5)
BELOW_ZERO = 0.1  # of the range: so far below 0 begin scans in Hounsfield units, which show air
SHIFTED = 0.25  # of the usual range, or of a scan's own
TWICE = 2.0


@dataclass(frozen=True)
class Look:
    """A case's intensities and grid, in figures.

    Attributes:
        low, high: its 0.5 and 99.5 percentile, in the scan's unit.
        organ: the median of its labelled voxels; None where there are none.
        spacing: mm, [slices, rows, columns].
        orientation: of the file's own axes, such as "LPS"; None where nothing tells it.
    """

    site: str
    id: str
    low: float
    high: float
    organ: float | None
    spacing: tuple[float, float, float]
    orientation: str | None

    @property
    def range(self) -> float:
        return self.high - self.low


def intensities(image: np.ndarray, label: np.ndarray) -> tuple[float, float, float | None]:
    """`low`, `high` and `organ` of a `Look`, of images [slices, rows, columns]; large ones are sampled."""
    step = max(1, round((image.size / SAMPLE) ** (1 / 3)))
    low, high = np.percentile(image[::step, ::step, ::step], ENDS)
    labelled = image[label > 0]
    return float(low), float(high), float(np.median(labelled)) if labelled.size else None


def orientation(affine: Sequence[Sequence[float]]) -> str:
    """The patient's directions along which a file's axes run, nearest ones, such as "RAS"."""
    return "".join(aff2axcodes(np.asarray(affine)))


def odd_intensities(site: Sequence[Look], absolute: bool) -> Iterator[tuple[str, str]]:
    """Cases whose intensities are unlike the rest of a site's, and what of them.

    Args:
        absolute: they have a unit, as CT has; else they are also taken to where most scans begin far below 0.
    """
    absolute = absolute or 2 * sum(map(_begins_below_zero, site)) > len(site)
    yield from _of_organs(site, absolute)
    yield from _of_ranges(site, absolute)


def apart_from_zero(everyone: Sequence[Look]) -> Iterator[tuple[str, str, str]]:
    """Cases of all sites that begin at 0 where most begin far below, or the reverse, as (site, case, sentence)."""
    below = [look for look in everyone if _begins_below_zero(look)]
    above = [look for look in everyone if look.low >= 0]
    few, many = sorted((above, below), key=len)
    if len(few) == len(many):
        few, many = above, below
    for look in few:
        yield (
            look.site,
            look.id,
            f"Its intensities begin at {look.low:.4g}, those of {len(many)} others of {len(everyone)} cases "
            f"{'far below 0' if many is below else 'at 0 or above'} (their median {_median(many):.4g}); see whether an "
            "intercept was lost, as where CT is stored as HU + 1024.",
        )


def unlike(values: Sequence[float], least: float) -> list[int]:
    """Which values lie further from their median than `FAR` robust standard deviations and than `least`."""
    if len(values) < FEWEST:
        return []
    distances = np.abs(np.subtract(values, np.median(values)))
    far = max(FAR * ROBUST * float(np.median(distances)), least)
    return [int(k) for k in np.flatnonzero(distances > far)]


def _begins_below_zero(look: Look) -> bool:
    return look.low < -BELOW_ZERO * look.range


def _median(looks: Sequence[Look]) -> float:
    return float(np.median([look.low for look in looks]))


def _of_organs(site: Sequence[Look], absolute: bool) -> Iterator[tuple[str, str]]:
    """Of scans without a unit only how the labelled voxels lie within their own range can be compared."""
    known = [(look, look.organ) for look in site if look.organ is not None and look.range > 0]
    if not known:
        return
    if absolute:
        values, least = [organ for _, organ in known], SHIFTED * float(np.median([look.range for look, _ in known]))
        what = "The median of its labelled voxels is {:.4g}, that of the site's cases {:.4g}"
    else:
        values, least = [(organ - look.low) / look.range for look, organ in known], SHIFTED
        what = "Its labelled voxels lie at {:.2f} of its range of intensities, those of the site's cases at {:.2f}"
    for k in unlike(values, least):
        told = what.format(values[k], float(np.median(values)))
        yield known[k][0].id, f"{told}; see whether image and mask belong together, and the unit of the image."


def _of_ranges(site: Sequence[Look], absolute: bool) -> Iterator[tuple[str, str]]:
    """Where a scan begins and ends; without a unit only how 0 lies within the range can be compared."""
    known = [look for look in site if look.range > 0]
    if not known:
        return
    usual = float(np.median([look.range for look in known])) if absolute else 1.0
    for end, word in (("low", "begin"), ("high", "end")):
        values = [getattr(look, end) / (1.0 if absolute else look.range) for look in known]
        for k in unlike(values, SHIFTED * usual):
            of_all = float(np.median([getattr(look, end) for look in known]))
            yield (
                known[k].id,
                f"Its intensities {word} at {getattr(known[k], end):.4g}, those of the site's cases at {of_all:.4g}; "
                "see whether it has another unit, window or offset.",
            )


def odd_spacing(site: Sequence[Look]) -> Iterator[tuple[str, str]]:
    """Cases whose spacings, or slices in units of pixels, are twice or half of the site's usual ones."""
    figures = {
        "slices {:.3g} mm apart": [look.spacing[0] for look in site],
        "rows {:.3g} mm apart": [look.spacing[1] for look in site],
        "columns {:.3g} mm apart": [look.spacing[2] for look in site],
        "slices {:.3g} times as far apart as pixels": [
            look.spacing[0] / (look.spacing[1] * look.spacing[2]) ** 0.5 for look in site
        ],
    }
    for what, values in figures.items():
        usual = float(np.median(values)) if values else 0.0
        for k in unlike(np.log2(values).tolist(), np.log2(TWICE) - 1e-9):
            yield (
                site[k].id,
                f"It has {what.format(values[k])}, the site's cases have them at {usual:.3g}; see whether it was taken "
                "or resampled otherwise.",
            )


def odd_orientation(site: Sequence[Look]) -> Iterator[tuple[str | None, str]]:
    """Cases whose files have their axes unlike the rest; None in place of one where there is no usual orientation."""
    counts = Counter(look.orientation for look in site if look.orientation)
    if len(counts) < 2:
        return
    (usual, most), *_ = counts.most_common()
    if 3 * most < 2 * len(site):
        told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        yield None, f"Its files have their axes in several orientations ({told}); see whether left is left in all."
        return
    for look in site:
        if look.orientation and look.orientation != usual:
            yield (
                look.id,
                f"Its file has its axes in the orientation {look.orientation}, {most} of the site's {len(site)} cases "
                f"in {usual}; see whether left is left.",
            )
