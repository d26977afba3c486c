# SPDX-License-Identifier: Apache-2.0
"""One scan segmented from Python: arrays on the scan's own grid, and no file but on request."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flap_sam.config.site import Site
from flap_sam.data.geometry import to_original
from flap_sam.errors import FlapSamError
from flap_sam.inference.model import Model
from flap_sam.inference.scans import Scan, scans_at
from flap_sam.inference.segment import Segmenter, millilitres, write_nifti


@dataclass(frozen=True)
class Segmentation:
    """What a network finds in a scan, voxel by voxel of the scan's own array.

    Args:
        labels: uint8, of the shape of the scan's array; 0 is background, 1 the first class.
        affine: float64 [4, 4], from voxel indices to millimetres in the patient (NIfTI's).
        classes: their names, from the first on.
        millilitres: how much of each class there is, by its name.
        probabilities: float32 [classes, *labels.shape]; None where nobody asked.
        notes: what is odd about the scan (see `Volume`).
    """

    labels: np.ndarray
    affine: np.ndarray
    classes: tuple[str, ...]
    millilitres: dict[str, float]
    probabilities: np.ndarray | None
    notes: tuple[str, ...]

    def write(self, path: Path | str) -> None:
        """Write the labels as NIfTI, `.nii.gz`; raises a FlapSamError where the file cannot be written."""
        write_nifti(Path(path), self.labels, self.affine)


def segment(
    model: Model | Path | str,
    scan: Path | str,
    *,
    site: Site | None = None,
    clip: tuple[str, str] | None = None,
    probabilities: bool = False,
) -> Segmentation:
    """Segment one scan with a trained payload. `flap-sam predict` does the same for many and writes files.

    Args:
        model: a payload's file, or a model that was loaded before (`Model.load`), for several scans.
        scan: a volume's file (NIfTI, MetaImage, NRRD), or the folder of one DICOM series.
        site: its store (`data`) and the site in it (`name`) say how the scan's intensities are prepared, `device` and
            `precision` how the network computes, `checkpoint` what the payload was trained from. None means as the
            environment says.
        clip: intensities in the scan's unit that the network sees as 0 and 1, such as ("-80", "300"), or percentiles,
            ("0.5%", "99.5%"), in place of the store's.
        probabilities: whether to keep the probability of every class too, 4 bytes a voxel and class.

    Raises:
        FlapSamError: payload, checkpoint or scan cannot be read, there are several scans, or nothing says how the
            scan's intensities are prepared.
    """
    own = site or Site.read(None)
    one = _only(Path(scan))
    loaded = model if isinstance(model, Model) else Model.load(model, own.checkpoint)
    segmenter = Segmenter.at(loaded, own, clip, probabilities)
    volume = one.read()
    found = segmenter.segment(volume)
    names = tuple(segmenter.conventions.names(loaded.experiment.classes))
    grid = volume.affine, volume.original_shape
    kept = found.probabilities
    return Segmentation(
        to_original(found.labels, *grid),
        np.asarray(volume.affine),
        names,
        dict(zip(names, millilitres(volume, found.labels, len(names)), strict=True)),
        None if kept is None else np.stack([to_original(one_class, *grid) for one_class in kept]),
        volume.notes,
    )


def _only(path: Path) -> Scan:
    scans = scans_at(path).scans
    if len(scans) > 1:
        raise FlapSamError(f"{path} holds {len(scans)} scans, expected one; name one of them, or use flap-sam predict.")
    return scans[0]
