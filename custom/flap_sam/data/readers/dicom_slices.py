# SPDX-License-Identifier: Apache-2.0
"""The slices of a DICOM file, one of a plain image or one a frame of an enhanced one, and what each says of itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flap_sam.errors import FlapSamError

if TYPE_CHECKING:
    from pydicom import Dataset

SQUARE = 1e-3  # how far the directions of rows and columns may be from right angles and from length 1
ALIKE = (  # must be the same in all slices of a volume
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SOPClassUID"),
    *("Rows", "Columns", "PhotometricInterpretation", "RescaleType", "Units"),
)
VARIED = (  # is mentioned where it is not the same in all slices; tells apart slices at one place
    *("ImageType", "FrameType", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoTime", "EffectiveEchoTime"),
    *("EchoNumbers", "InversionTime", "RepetitionTime", "FlipAngle", "DiffusionBValue", "StackID", "SliceThickness"),
    *("SpacingBetweenSlices", "GantryDetectorTilt", "KVP", "ConvolutionKernel", "ReconstructionDiameter"),
    *("ContrastBolusAgent", "ScanningSequence", "SequenceVariant", "MagneticFieldStrength", "PatientPosition"),
    *("BitsStored", "PixelRepresentation", "PixelPaddingValue", "CorrectedImage", "DecayCorrection"),
    *("LossyImageCompression", "AcquisitionNumber", "Manufacturer"),
)
TIMES = (
    "NominalCardiacTriggerDelayTime",
    "TriggerTime",
    "AcquisitionTime",
    "ContentTime",
)  # differ from slice to slice
GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Slice:
    """One slice; places in mm along DICOM's axes, to the patient's left, back and head.

    Attributes:
        frame: its number in the file, from 0.
        position: [3], the middle of its first voxel.
        along: [3, 2], the steps to the next column and to the next row.
        slope, inter: value = slope * stored + inter.
        told: what it says of itself by DICOM's keywords, of `ALIKE`, `VARIED` and `TIMES` alone.
    """

    file: Path
    frame: int
    position: np.ndarray
    along: np.ndarray
    slope: float
    inter: float
    told: Mapping[str, str]

    @property
    def normal(self) -> np.ndarray:
        """[3] of length 1, from the patient's feet to the head in an axial slice."""
        normal = np.cross(self.along[:, 0], self.along[:, 1])
        return normal / np.linalg.norm(normal)


def slices_of(path: Path, dataset: "Dataset") -> Iterator[Slice]:
    """The slices of a file.

    Raises:
        FlapSamError: it holds no grey image, or one of its slices does not say where it lies.
    """
    _check_image(path, dataset)
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames is None and int(dataset.get("NumberOfFrames") or 1) != 1:
        raise _unplaced(path, "frames")
    shared = _flat(*(dataset.get("SharedFunctionalGroupsSequence") or ()))
    for number, frame in enumerate(frames if frames is not None else [None]):
        found = {**shared, **(_flat(frame) if frame is not None else {})}
        yield _slice(path, number, lambda keyword, found=found: found.get(keyword, dataset.get(keyword)))


def _flat(*groups: "Dataset") -> dict[str, Any]:
    """The elements of the first items of functional groups, by keyword."""
    sequences = (element.value for group in groups for element in group if element.VR == "SQ" and element.value)
    return {element.keyword: element.value for sequence in sequences for element in sequence[0] if element.keyword}


def _slice(path: Path, number: int, get: Any) -> Slice:
    try:
        position = np.array(get("ImagePositionPatient"), dtype=float).reshape(3)
        axes = np.array(get("ImageOrientationPatient"), dtype=float).reshape(2, 3)
        row_step, column_step = np.array(get("PixelSpacing"), dtype=float).reshape(2)
        told = {keyword: _text(get(keyword)) for keyword in (*ALIKE, *VARIED, *TIMES)}
        slope, inter = (
            default if (value := get(keyword)) is None else float(value)
            for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
        )
    except (TypeError, ValueError, ArithmeticError) as problem:
        raise _unplaced(path, "slice") from problem
    if not np.allclose(axes @ axes.T, np.eye(2), atol=SQUARE) or not min(row_step, column_step) > 0:
        raise FlapSamError(
            f"{path} has the ImageOrientationPatient {np.round(axes.ravel(), 4).tolist()} and the PixelSpacing "
            f"{[float(row_step), float(column_step)]}, expected two right-angled directions and positive distances; "
            "export it again."
        )
    if not np.isfinite((*position, slope, inter)).all() or slope == 0:
        raise FlapSamError(
            f"{path} has the RescaleSlope {slope:g} and the RescaleIntercept {inter:g} at {position.tolist()}, "
            "expected finite numbers and a slope other than 0; export it again."
        )
    along = np.stack([axes[0] * column_step, axes[1] * row_step], axis=1)
    return Slice(path, number, position, along, slope, inter, {key: text for key, text in told.items() if text})


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not np.iterable(value) else "\\".join(map(str, value))


def _unplaced(path: Path, what: str) -> FlapSamError:
    has = (
        "frames that do not say where they lie"
        if what == "frames"
        else (f"a slice, {path.name}, that does not say where it lies")
    )
    return FlapSamError(f"The DICOM series in {path.parent} has {has} in the patient; export it again.")


def _check_image(path: Path, dataset: "Dataset") -> None:
    """Refuse what is no grey image, or keeps its values in another way than slope and intercept."""
    photometric, samples = str(dataset.get("PhotometricInterpretation", "")), dataset.get("SamplesPerPixel", 1)
    if not photometric or "Rows" not in dataset or "Columns" not in dataset:
        raise ValueError("it does not describe an image")
    if samples != 1 or photometric not in GREY:
        raise FlapSamError(
            f"The DICOM series in {path.parent} holds coloured pictures ({path.name}: {photometric}), "
            "expected grey ones; choose another."
        )
    if dataset.get("ModalityLUTSequence"):
        raise FlapSamError(f"{path} gives its values by a table (Modality LUT), expected a slope; export it again.")
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if None not in (stored, high) and high != stored - 1:
        raise FlapSamError(f"{path} has {stored} bits a pixel, the highest at {high}; expected {stored - 1}.")
