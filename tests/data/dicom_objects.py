# SPDX-License-Identifier: Apache-2.0
"""DICOM objects for tests, made by pydicom: series of slices, enhanced ones, and what else lies beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, MR, PET, ENHANCED_CT, SECONDARY = (STORAGE + end for end in ("2", "4", "128", "2.1", "7"))
SEG, RTDOSE, SR = (STORAGE + end for end in ("66.4", "481.2", "88.11"))
SPACING = (1.5, 0.75)  # between rows, between columns
AXIAL = (1, 0, 0, 0, 1, 0)
PATIENT = "Doe^Jane"

Change = Callable[[Dataset, int], None]


def dataset(sort: str = CT, series: str = "1.2.3", study: str = "1.2.9") -> Dataset:
    """An object without pixels."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sort, generate_uid()
    made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = series, study, "1.2.8"
    made.PatientID, made.PatientName, made.Modality = PATIENT, PATIENT, "CT"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sort
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def with_pixels(made: Dataset, stored: np.ndarray) -> Dataset:
    """The same with a picture, or several: int16 [rows, columns] or [frames, rows, columns]."""
    made.Rows, made.Columns = stored.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.PixelData = np.ascontiguousarray(stored.astype("<i2")).tobytes()
    return made


def slice_of(stored: np.ndarray, z: float, number: int = 0, **of: str) -> Dataset:
    """A CT slice [rows, columns] at a height in mm."""
    made = with_pixels(dataset(**of), stored)
    made.ImagePositionPatient, made.ImageOrientationPatient = [-20.0, -30.0, float(z)], list(AXIAL)
    made.PixelSpacing, made.SliceThickness, made.InstanceNumber = list(SPACING), 3.0, number + 1
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 1, -1024, "HU"
    return made


def save(made: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, stored: np.ndarray, heights: Sequence[float], change: Change | None = None, **of: str) -> Path:
    """A file a slice of [slices, rows, columns]; `change` may alter any of them by its number."""
    for number, height in enumerate(heights):
        made = slice_of(stored[number], height, number, **of)
        if change:
            change(made, number)
        save(made, folder / f"{number:03}.dcm")
    return folder


def group(**values: object) -> list[Dataset]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return [item]


def enhanced(
    stored: np.ndarray, heights: Sequence[float], slopes: Sequence[float] | None = None, change: Change | None = None
) -> Dataset:
    """An enhanced CT of [frames, rows, columns]; `change` may alter the functional groups of a frame."""
    made = with_pixels(dataset(ENHANCED_CT), stored)
    made.NumberOfFrames = len(stored)
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=list(SPACING), SliceThickness=3.0)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=list(AXIAL))
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number, height in enumerate(heights):
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=[-20.0, -30.0, float(height)])
        frame.FrameContentSequence = group(StackID="1", InStackPositionNumber=number + 1)
        slope = 1.0 if slopes is None else slopes[number]
        frame.PixelValueTransformationSequence = group(RescaleSlope=slope, RescaleIntercept=0, RescaleType="HU")
        if change:
            change(frame, number)
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    return made
