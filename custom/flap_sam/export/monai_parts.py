# SPDX-License-Identifier: Apache-2.0
"""What a bundle's configuration names beside MONAI's own parts."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import IterableDataset, MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from flap_sam.config.experiment import Experiment
from flap_sam.data.geometry import affine_of, pad_in_plane, to_original
from flap_sam.data.intensity import Intensity, encode
from flap_sam.errors import FlapSamError
from flap_sam.inference.scans import Scan, scans_at
from flap_sam.inference.segment import MASK, write_nifti
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.predict import predict_volume

NAME, PATH, AFFINE, SHAPE = "scan", "filename_or_obj", "affine_of_file", "shape_of_file"


class WindowNetwork(nn.Module):
    """The experiment's network in MONAI's order of axes; the bundle's model file gives it weights.

    Args:
        experiment: resolved, as JSON.
    """

    def __init__(self, experiment: str) -> None:
        super().__init__()
        self.network, self.experiment, _ = network_for(Experiment.from_json(experiment), None)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows [b, 1, n, S, S], intensities in 0..1, to logits [b, classes + 1, n, S, S]."""
        return self.network(windows[:, 0]).transpose(1, 2)


class Scans(IterableDataset):
    """The scans of a data list, prepared one by one; one that is of no use is passed over, as `predict` does.

    Attributes:
        skipped: why, by the scan's name.
    """

    def __init__(self, data: Sequence[dict[str, Scan]], transform: Callable[..., Any]) -> None:
        super().__init__(data=data, transform=transform)
        self._scans, self._prepared = data, transform
        self.skipped: dict[str, str] = {}

    def __iter__(self) -> Iterator[dict[str, MetaTensor]]:
        for item in self._scans:
            try:
                yield self._prepared(item)
            except RuntimeError as problem:  # MONAI's, around what a transform raises
                cause = _cause(problem)
                if cause is None:
                    raise
                self.skipped[item["image"].name] = str(cause)

    @property
    def listed(self) -> int:
        """How many scans the data list has."""
        return len(self._scans)

    def __len__(self) -> int:
        raise TypeError("how many scans are of use is not known before they are read")


class ReadScand(MapTransform):
    """Read scans and lay them on 0..65535, as a `Segmenter` does: [1, slices, rows, columns] in store orientation.

    Args:
        keys: of `inference.scans.Scan`.
        minimum_side: to how many rows and columns at least slices are zero-padded.
    """

    def __init__(self, keys: KeysCollection, intensity: Intensity, minimum_side: int) -> None:
        super().__init__(keys)
        self.intensity, self.minimum_side = intensity, minimum_side

    def __call__(self, data: Mapping[Hashable, Scan]) -> dict[Hashable, MetaTensor]:
        read: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(read):
            volume = read[key].read()
            codes = pad_in_plane(encode(volume, self.intensity).codes, self.minimum_side)
            meta = {NAME: read[key].name, PATH: str(volume.path), AFFINE: volume.affine, SHAPE: volume.original_shape}
            read[key] = MetaTensor(torch.from_numpy(codes.astype(np.float32))[None], meta=meta)
        return read


class WriteMaskd(MapTransform):
    """Write label maps as `predict` does: `<scan>_mask.nii.gz`, uint8, on the grid of the scan's own file.

    Args:
        keys: of label maps of what `ReadScand` made, [1, slices, rows, columns].
    """

    def __init__(self, keys: KeysCollection, output_dir: str) -> None:
        super().__init__(keys)
        self.folder = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        for key in self.key_iterator(data):
            meta = data[key].meta
            labels = data[key][0].cpu().numpy().astype(np.uint8)
            affine, (first, second, third) = np.asarray(meta[AFFINE], float), map(int, meta[SHAPE])
            path = self.folder / f"{meta[NAME]}{MASK}"
            write_nifti(path, to_original(labels, affine_of(affine), (first, second, third)), affine)
        return dict(data)


class VolumeInferer(Inferer):
    """Label maps of whole volumes (`training.predict`): every view of a slice is encoded once."""

    def __call__(  # type: ignore[override] # the evaluator passes no more than these
        self, inputs: MetaTensor, network: WindowNetwork
    ) -> MetaTensor:
        """Codes [b, 1, slices, rows, columns] to classes, uint8 of the same shape."""
        volumes = inputs[:, 0].cpu().numpy().astype(np.uint16)
        labels = [
            predict_volume(network.network, codes, network.experiment, inputs.device, "float32") for codes in volumes
        ]
        return convert_to_dst_type(np.stack(labels)[:, None], inputs, dtype=torch.uint8)[0]


def scans_in(folder: str) -> list[dict[str, Scan]]:
    """A data list of the scans of a folder; empty where `check_scans` says why, as a run alone needs them."""
    try:
        return [{"image": scan} for scan in scans_at(Path(folder)).scans]
    except FlapSamError:
        return []


def check_scans(folder: str) -> None:
    """Raises a FlapSamError where a folder holds no scan, or two of one name."""
    scans_at(Path(folder))


def check_skipped(dataset: Scans) -> None:
    """Raises a FlapSamError that names the scans of which no mask was made, once all others have theirs."""
    if dataset.skipped:
        told = " ".join(f"{name}: {why}" for name, why in dataset.skipped.items())
        raise FlapSamError(f"{len(dataset.skipped)} of {dataset.listed} scans have no mask. {told}")


def _cause(problem: BaseException | None) -> FlapSamError | None:
    while problem is not None and not isinstance(problem, FlapSamError):
        problem = problem.__cause__
    return problem
