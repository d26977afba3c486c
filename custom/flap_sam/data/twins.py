# SPDX-License-Identifier: Apache-2.0
"""Cases that are one scan, or one patient, under two names.

Copies are told by hashes. A scan that was exported twice, with other intensities, is told by a sample of its detail:
whether a voxel is darker or brighter than the next one in its row. Noise makes this differ between any two scans, and
no change of contrast, of unit or of number format changes it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLES = 4096
FEWEST = 64  # of samples in which both scans have a step
ALIKE = 0.85  # of these; two scans of one grid agree in about a half
LARGEST_FAMILY = 3  # cases whose names tell one patient; more of them are a numbering
VISIT = re.compile(
    r"(.+?)[-_. ]?(?:(?:session|ses|visit|scan|series|run|time|timepoint|tp|baseline|followup|fu|frame|pre|post|"
    r"arterial|portal|venous|delayed|native|v|t)[-_. ]?\d*|(?:19|20)\d\d-?\d\d-?\d\d)",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"(.*[a-z].*\d)(?:[-_. ]\d{1,2}|[a-d])", re.IGNORECASE)


@dataclass(frozen=True)
class Prints:
    """What tells a case from others.

    Attributes:
        image, mask: equal for equal voxels; the mask's is None where it is empty.
        slices: of those that do not have one single intensity.
        shape: of the image; detail: -1, 0 or 1 a sample, int8.
    """

    image: bytes
    mask: bytes | None
    slices: frozenset[bytes]
    shape: tuple[int, int, int]
    detail: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, label: np.ndarray) -> "Prints":
        """Args: image, label: [slices, rows, columns], quickest where a slice lies in one piece."""
        slices = [_digest(each.astype(np.float32) + np.float32(0)) for each in image]  # no -0
        changing = (each.min() != each.max() for each in image)
        return cls(
            image=_digest(b"".join([*slices, repr(image.shape).encode()])),
            mask=_digest(np.ascontiguousarray(label, np.uint8)) if label.any() else None,
            slices=frozenset(digest for digest, changes in zip(slices, changing, strict=True) if changes),
            shape=image.shape,
            detail=_detail(image),
        )


def relation(one: Prints, other: Prints) -> str | None:
    """How two cases are more alike than two patients can be, as a clause about the first; None where they are not."""
    if one.image == other.image:
        if one.mask is None or other.mask is None:
            return "The image is also that of {}, though one of the masks is empty"
        return (
            "This is a copy: image and mask are also that of {}"
            if one.mask == other.mask
            else ("The image is also that of {}, with another mask")
        )
    if (share := alike(one, other)) is not None:
        return f"The image is but for its intensities also that of {{}} ({share:.0%} of its detail agrees)"
    if shared := one.slices & other.slices:
        return f"{len(shared)} of the image's {len(one.slices)} slices are also those of {{}}"
    if one.mask is not None and one.mask == other.mask:
        return (
            "The mask is also that of {}, but the image is another: two images of one patient, or a mask in the wrong "
            "place"
        )
    return None


def alike(one: Prints, other: Prints) -> float | None:
    """The share of the detail that agrees, where it is more than two scans can have in common; None where it is not."""
    if one.shape != other.shape:
        return None
    both = (one.detail != 0) & (other.detail != 0)
    if both.sum() < FEWEST:
        return None
    share = float((one.detail == other.detail)[both].mean())
    return share if share >= ALIKE else None


def patients(names: Sequence[str]) -> dict[str, str]:
    """The patient of every case whose name differs from another one's by a visit, a date or a number alone."""
    families: dict[str, list[str]] = {}
    for name in names:
        for pattern in (VISIT, NUMBERED):
            if match := pattern.fullmatch(name):
                families.setdefault(match[1].lower(), []).append(name)
                break
        else:
            families.setdefault(name.lower(), []).append(name)
    if len(families) == 1:
        return {}
    return {name: patient for patient, own in families.items() if 1 < len(own) <= LARGEST_FAMILY for name in own}


def _digest(content: bytes | np.ndarray) -> bytes:
    return hashlib.sha256(content if isinstance(content, bytes) else content.data).digest()[:16]


def _detail(image: np.ndarray) -> np.ndarray:
    """Whether voxels are darker or brighter than the next ones in their rows, at places that the shape alone fixes."""
    slices, rows, columns = image.shape
    steps = slices * rows * (columns - 1)
    places = np.arange(steps) if steps <= SAMPLES else np.random.default_rng(0).integers(0, steps, SAMPLES)
    at = np.unravel_index(places, (slices, rows, columns - 1)) if steps else (np.empty(0, int),) * 3
    here, there = image[at], image[at[0], at[1], at[2] + 1]
    return (there > here).astype(np.int8) - (there < here)
