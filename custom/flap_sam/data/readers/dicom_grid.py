# SPDX-License-Identifier: Apache-2.0
"""Slices in the order in which they lie in the patient, and the even grid that they lie on."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from flap_sam.data.readers.dicom_slices import ALIKE, TIMES, VARIED, Slice
from flap_sam.errors import FlapSamError

PRIVATE = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # whose values are not shown
SAME_ANGLE = 1e-3  # between the directions of two slices' rows or columns
SAME_STEP = 1e-3  # between two slices' pixel spacings, relative
SAME_PLACE = 0.01  # mm
UNEVEN = 0.02  # how far a slice may lie off the grid, of the distance between two slices
ROUNDED = 0.12  # mm that positions rounded to 0.1 mm may lie off it
MOST_UNEVEN = 0.25  # of the distance, whatever its size
STEEPEST = 45.0  # degrees, of a gantry's tilt
TOLD_STEP, TOLD_TILT = 0.01, 0.5  # how well the headers' own words must fit: relative, degrees
FEW = 3  # values in a sentence


def grid(where: Path, slices: Sequence[Slice]) -> tuple[list[Slice], np.ndarray, tuple[str, ...]]:
    """Slices by their places.

    Returns:
        Them from one end of the patient to the other, the affine float64 [4, 4] of the array [columns, rows, slices]
        to mm along DICOM's axes, and notes as of `RawVolume`, without the file's name.

    Raises:
        FlapSamError: they are not slices of one volume, are fewer than two, or do not lie at even distances: one is
            missing, or there are several at one place.
    """
    series = f"The DICOM series in {where}"
    for one in slices[1:]:
        _check_alike(series, slices[0], one)
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda one: float(one.position @ normal))
    if len(ordered) < 2:
        raise FlapSamError(f"{series} has a single slice, expected a volume; point to the folder of all slices.")
    _check_single(series, ordered)
    origin, step = _even(series, ordered)
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > STEEPEST:
        raise FlapSamError(
            f"{series} has slices staggered by {tilt:.0f} degrees, expected at most {STEEPEST:.0f}; export it as plain "
            "slices."
        )
    affine = np.eye(4)
    affine[:3, :2] = np.mean([one.along for one in ordered], axis=0)
    affine[:3, 2], affine[:3, 3] = step, origin
    return ordered, affine, tuple(_oddities(ordered, abs(step @ normal), tilt))


def _check_alike(series: str, first: Slice, one: Slice) -> None:
    sizes, own = (np.linalg.norm(each.along, axis=0) for each in (first, one))
    if np.abs(one.along / own - first.along / sizes).max() > SAME_ANGLE:
        keyword, values = "ImageOrientationPatient", [_axes(each) for each in (first, one)]
    elif not np.allclose(own, sizes, rtol=SAME_STEP, atol=0):
        keyword, values = "PixelSpacing", [f"{column:g} x {row:g} mm" for column, row in (sizes, own)]
    else:
        both = (key for key in ALIKE if key in first.told and key in one.told and first.told[key] != one.told[key])
        if (differing := next(both, None)) is None:
            return
        keyword = differing
        values = [] if keyword in PRIVATE else [first.told[keyword], one.told[keyword]]
    shown = f" ({' and '.join(values)})" if values else ""
    raise FlapSamError(
        f"{series} mixes slices of different {keyword}{shown}, such as {first.file.name} and {one.file.name}, expected "
        "the slices of one volume; export them apart."
    )


def _axes(one: Slice) -> str:
    axes = one.along / np.linalg.norm(one.along, axis=0) + 0.0  # not -0
    return "\\".join(f"{number:.4g}" for number in axes.T.ravel())


def _check_single(series: str, ordered: Sequence[Slice]) -> None:
    """Refuse several slices at one place, and say what tells them apart."""
    together = [pair for pair in pairwise(ordered) if np.linalg.norm(np.subtract(*_places(pair))) < SAME_PLACE]
    if not together:
        return
    places = len(ordered) - len(together)
    differ = [key for key in (*VARIED, *TIMES) if any(one.told.get(key) != two.told.get(key) for one, two in together)]
    one, two = together[0]
    raise FlapSamError(
        f"{series} has {len(ordered)} slices at only {places} places, such as {one.file.name} and {two.file.name}, "
        + (
            f"which differ in {', '.join(differ[:FEW])}: several time points, echoes or kinds of image; export one of "
            "them alone."
            if differ
            else "which nothing tells apart; remove the copies."
        )
    )


def _places(slices: Sequence[Slice]) -> np.ndarray:
    return np.stack([one.position for one in slices])


def _even(series: str, ordered: Sequence[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Origin and step, in mm, of the even grid that lies closest to the slices; a tilted gantry's is not upright."""
    places, numbers = _places(ordered), np.arange(len(ordered))
    step, origin = np.polyfit(numbers, places, 1) if len(places) > 1 else (np.zeros(3), places[0])
    off = np.linalg.norm(places - origin - numbers[:, None] * step, axis=1)
    length = np.linalg.norm(step)
    if off.max() <= min(max(UNEVEN * length, ROUNDED), MOST_UNEVEN * length):
        return origin, step
    steps = np.diff(places, axis=0)
    usual = np.median(steps, axis=0)
    worst = int(np.linalg.norm(steps - usual, axis=1).argmax())
    apart, common = np.linalg.norm(steps[worst]), np.linalg.norm(usual)
    if abs(steps[worst] @ usual / common - common) <= UNEVEN * common:
        raise FlapSamError(
            f"{series} has a slice, {ordered[worst + 1].file.name}, that lies {off.max():.3g} mm aside of the line of "
            "the others; export it again."
        )
    raise FlapSamError(
        f"{series} has slices {worst + 1} and {worst + 2} {apart:g} mm apart, the others {common:g} mm; fetch the "
        "missing slices, or export the series alone."
    )


def _oddities(ordered: Sequence[Slice], distance: float, tilt: float) -> Iterator[str]:
    for keyword in VARIED:
        values = list(dict.fromkeys(one.told.get(keyword, "none") for one in ordered))
        if len(values) > 1:
            more = f" and {len(values) - FEW} more" if len(values) > FEW else ""
            yield f"has slices of different {keyword} ({', '.join(value[:40] for value in values[:FEW])}{more})."
    for keyword in ALIKE:
        if 0 < (count := sum(keyword in one.told for one in ordered)) < len(ordered):
            yield f"has {len(ordered) - count} of {len(ordered)} slices that do not say their {keyword}."
    first = ordered[0].told
    if first.get("PhotometricInterpretation") == "MONOCHROME1":
        yield "is to be shown inverted (MONOCHROME1); its numbers are taken as they are."
    told = _number(first.get("SpacingBetweenSlices"))
    if told and not np.isclose(abs(told), distance, rtol=TOLD_STEP):
        yield f"has slices {distance:g} mm apart by their places, but {abs(told):g} by SpacingBetweenSlices."
    said = _number(first.get("GantryDetectorTilt"))
    if said and abs(abs(said) - tilt) > TOLD_TILT:
        yield f"says that its gantry is tilted by {abs(said):g} degrees, but its slices are staggered by {tilt:.2g}."


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
