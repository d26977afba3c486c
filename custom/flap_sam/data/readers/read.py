# SPDX-License-Identifier: Apache-2.0
"""One function that reads every kind of volume."""

from pathlib import Path

from flap_sam.data.readers.dicom import read_series
from flap_sam.data.readers.dicom_dataset import is_dicom
from flap_sam.data.readers.dicom_files import the_series_at
from flap_sam.data.readers.itk import read_itk
from flap_sam.data.readers.kinds import META, NIFTI, NRRD, READABLE, ending
from flap_sam.data.readers.nifti import read_nifti
from flap_sam.data.readers.raw import RawVolume
from flap_sam.errors import FlapSamError


def read(path: Path, label: bool = False) -> RawVolume:
    """Read the volume of a file, or of a folder with the slices of one DICOM series.

    Args:
        label: whether it is to be a label map.

    Raises:
        FlapSamError: it cannot be read, is of none of the kinds, or is not one 3D volume; see the readers.
    """
    if path.is_dir():
        series, notes = the_series_at(path)
        raw = read_series(series)
        return RawVolume(raw.array, raw.affine, (*notes, *raw.notes))
    if ending(path, NIFTI):
        return read_nifti(path, label)
    if ending(path, (*META, *NRRD)):
        return read_itk(path)
    if ending(path, (".img",)):
        return read_nifti(path.with_suffix(".hdr"), label)
    if path.is_file() and is_dicom(path):
        return read_series([path])
    raise FlapSamError(
        f"{path} is neither NIfTI nor DICOM, nor of another kind that is read ({READABLE}); convert it to one of them."
    )
