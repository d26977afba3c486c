"""What a bundle's configuration names beside MONAI's own parts."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from flap_sam.data.geometry import Volume
from flap_sam.data.intensity import Intensity, encode
from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.inference.scans import is_nifti
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.predict import predict_volume


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


class Codesd(MapTransform):
    """Clip scans and lay them on 0..65535 (`data.intensity.encode`): float32 of whole numbers.

    Args:
        keys: of scans [1, slices, rows, columns] in store orientation.
    """

    def __init__(self, keys: KeysCollection, intensity: Intensity) -> None:
        super().__init__(keys)
        self.intensity = intensity

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        coded = dict(data)
        for key in self.key_iterator(coded):
            codes = encode(_volume(coded[key]), self.intensity).codes
            coded[key] = convert_to_dst_type(codes[None], coded[key])[0]
        return coded


class VolumeInferer(Inferer):
    """Label maps of whole volumes (`training.predict`): every view of a slice is encoded once."""

    def __call__(self, inputs: MetaTensor, network: WindowNetwork) -> MetaTensor:
        """Codes [b, 1, slices, rows, columns] to classes, uint8 of the same shape."""
        volumes = inputs[:, 0].cpu().numpy().astype(np.uint16)
        labels = [
            predict_volume(network.network, codes, network.experiment, inputs.device, "float32") for codes in volumes
        ]
        return convert_to_dst_type(np.stack(labels)[:, None], inputs, dtype=torch.uint8)[0]


def scans_in(folder: str) -> list[dict[str, str]]:
    """A data list of the NIfTI files of a folder."""
    return [{"image": str(file)} for file in sorted(Path(folder).glob("*")) if is_nifti(file)]


def check_scans(scans: list[dict[str, str]], folder: str) -> None:
    """Raises a FlapSamError where a run would have nothing to do."""
    if not scans:
        raise FlapSamError(f"{folder} holds no NIfTI file (.nii, .nii.gz); point --dataset_dir to a folder of such.")


def _volume(scan: MetaTensor) -> Volume:
    return Volume(
        path=Path(scan.meta["filename_or_obj"]),
        array=scan[0].numpy(),
        spacing=tuple(scan.pixdim.tolist()),
        affine=tuple(map(tuple, scan.meta["original_affine"].tolist())),
        original_shape=tuple(map(int, scan.meta["spatial_shape"])),
    )
