# SPDX-License-Identifier: Apache-2.0
"""A new scan in, its label map out, on the scan's own grid."""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from flap_sam import __version__
from flap_sam.config.site import Site
from flap_sam.data.geometry import Volume, pad_in_plane, to_original, voxel_millilitres
from flap_sam.data.intensity import encode
from flap_sam.foundation.files import replacing
from flap_sam.inference.intensities import Conventions, conventions
from flap_sam.inference.model import Model
from flap_sam.sam.checkpoint import digest_of
from flap_sam.training import threads
from flap_sam.training.precision import settle
from flap_sam.training.predict import labels_of, volume_logits

MASK = "_mask.nii.gz"
PROBABILITY = "_probability_{}.nii.gz"
MILLIMETRES = 2  # NIfTI's code


@dataclass(frozen=True)
class Segmented:
    """What the network found in a volume.

    Args:
        codes: uint16 [slices, rows, columns] in store orientation, as the network saw it.
        labels: uint8, of the same shape.
        probabilities: float32 [classes, slices, rows, columns], background left out; None where nobody asked.
    """

    codes: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray | None


class Segmenter:
    """Segments volumes.

    Args:
        precision: as `precision.settle` gave it.
        keeps_probabilities: whether to hold the class probabilities too, 4 bytes a voxel and class.
    """

    def __init__(
        self,
        model: Model,
        conventions: Conventions,
        device: torch.device,
        precision: str,
        keeps_probabilities: bool = False,
    ) -> None:
        self.network, self.experiment = model.network.to(device), model.experiment
        self.conventions, self.keeps_probabilities = conventions, keeps_probabilities
        self._device, self._precision = device, precision

    @classmethod
    def at(
        cls, model: Model, site: Site, clip: tuple[str, str] | None = None, keeps_probabilities: bool = False
    ) -> "Segmenter":
        """One that computes as a site's settings say, and prepares scans as the site's store has it (`conventions`).

        Args:
            clip: intensities that the network sees as 0 and 1, in place of the store's.

        Raises:
            FlapSamError: see `conventions`; or the site's device or precision cannot be used.
        """
        device = site.torch_device()
        threads.settle(site.threads)
        used = conventions(model.experiment, site.data, site.name, clip)
        return cls(model, used, device, settle(site.precision, device), keeps_probabilities)

    def digest(self) -> str:
        """Of the network and of all that decides what it makes of a scan."""
        used = self.conventions
        how = (used.intensity, used.classes, used.minimum_side, self.keeps_probabilities, self._precision, __version__)
        return digest_of(self.network, self.experiment.digest(), repr(how))

    def segment(self, volume: Volume, advance: Callable[[float], None] = lambda _: None) -> Segmented:
        """The classes of a volume's voxels.

        Args:
            advance: told the share of the volume that has just been done.

        Raises:
            FlapSamError: see `encode`.
        """
        codes = pad_in_plane(encode(volume, self.conventions.intensity).codes, self.conventions.minimum_side)
        labels, probabilities = [], []
        for logits in volume_logits(self.network, codes, self.experiment, self._device, self._precision):
            labels.append(labels_of(logits))
            if self.keeps_probabilities:
                probabilities.append(logits.softmax(dim=1)[:, 1:].transpose(0, 1).cpu())
            advance(len(logits) / len(codes))
        return Segmented(
            codes, torch.cat(labels).numpy(), torch.cat(probabilities, dim=1).numpy() if probabilities else None
        )


def millilitres(volume: Volume, labels: np.ndarray, classes: int) -> tuple[float, ...]:
    """How much of a volume is labelled as each class, from the first on."""
    counts = np.bincount(labels.ravel(), minlength=classes + 1)[1:]
    return tuple((counts * voxel_millilitres(volume.affine)).tolist())


def outputs(folder: Path, name: str, classes: int, probabilities: bool) -> list[Path]:
    """The files that `write` makes of a scan: the label map, then a probability map a class."""
    maps = [PROBABILITY.format(k) for k in range(1, classes + 1)] if probabilities else []
    return [folder / f"{name}{ending}" for ending in (MASK, *maps)]


def write(paths: Sequence[Path], volume: Volume, found: Segmented) -> None:
    """Write the label map (uint8) and the probability maps (float32) on the grid of the volume's own file."""
    for path, array in zip(
        paths, [found.labels, *(() if found.probabilities is None else found.probabilities)], strict=True
    ):
        write_nifti(path, to_original(array, volume.affine, volume.original_shape), np.asarray(volume.affine))


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array on the grid of its scan's file, packed, with nothing of the time in it."""
    image = nib.Nifti1Image(np.ascontiguousarray(array), affine)
    image.header.set_xyzt_units(MILLIMETRES)
    with replacing(path) as stream, gzip.GzipFile("", "wb", fileobj=stream, mtime=0) as packed:
        image.to_stream(packed)
