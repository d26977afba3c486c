# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
import torch
from flap_sam.data.volumes import read_volume
from flap_sam.inference.intensities import Conventions, clipped
from flap_sam.inference.model import Model
from flap_sam.inference.segment import Segmenter, outputs, write
from flap_sam.sam.weights import Weights

from tests.data.volumes import save
from tests.training.networks import Threshold

AXES = {
    "permuted and negated": np.array([[0, 0, -0.8, 20.0], [0, -0.9, 0, 9.0], [2.5, 0, 0, -30.0], [0, 0, 0, 1]]),
    "sagittal file": np.array([[3.0, 0, 0, -7.0], [0, 1.1, 0, 0], [0, 0, -1.2, 4.0], [0, 0, 0, 1]]),
}


def segmenter(small, keeps=False, side=0) -> Segmenter:
    used = Conventions(clipped("0", "100"), None, side, "")
    return Segmenter(
        Model(Threshold(), small, {}, Weights("random", None)), used, torch.device("cpu"), "float32", keeps
    )


def scan_of(axes: np.ndarray) -> np.ndarray:
    """Values in HU on a grid that has the network's size across the patient: class 1 above 40, class 2 above 70."""
    rng = np.random.default_rng(1)
    along = int(np.abs(axes[2, :3]).argmax())  # the array's axis along the patient
    shape = [32, 32, 32]
    shape[along] = 7
    return rng.choice(np.array([0, 20, 50, 100], np.int16), shape)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_the_mask_lies_on_the_scan_whatever_its_axes(small, tmp_path, axes):
    array = scan_of(axes)
    volume = read_volume(save(tmp_path / "scan.nii.gz", array, axes))
    shares = []
    maps = outputs(tmp_path, "scan", 2, probabilities=True)
    write(maps, volume, segmenter(small, keeps=True).segment(volume, shares.append))
    mask = nib.load(maps[0])
    np.testing.assert_array_equal(np.asarray(mask.dataobj), (array > 40).astype(int) + (array > 70))
    np.testing.assert_array_equal(mask.affine, nib.load(tmp_path / "scan.nii.gz").affine)
    assert mask.get_data_dtype() == np.uint8
    assert sum(shares) == pytest.approx(1)
    probabilities = np.stack([nib.load(path).get_fdata() for path in maps[1:]])
    assert probabilities.shape == (2, *array.shape)
    labels = np.asarray(mask.dataobj)
    assert (probabilities[0][labels == 1] > 1 / 3).all()
    assert (probabilities[1][labels == 2] > probabilities[0][labels == 2]).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_a_small_scan_is_padded_and_cut_again(small, tmp_path):
    array = np.zeros((20, 24, 5), np.int16)
    array[4:9, 6:20, 1:4] = 100
    volume = read_volume(save(tmp_path / "scan.nii.gz", array))
    found = segmenter(small, side=32).segment(volume)
    assert found.labels.shape == (5, 32, 32)
    assert found.probabilities is None
    write(outputs(tmp_path, "scan", 2, probabilities=False), volume, found)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "scan_mask.nii.gz").dataobj), array // 50)


def test_the_same_bytes_every_time(small, tmp_path):
    volume = read_volume(save(tmp_path / "scan.nii.gz", scan_of(AXES["sagittal file"]), AXES["sagittal file"]))
    for name in ("one", "other"):
        write(outputs(tmp_path, name, 2, probabilities=False), volume, segmenter(small).segment(volume))
    assert (tmp_path / "one_mask.nii.gz").read_bytes() == (tmp_path / "other_mask.nii.gz").read_bytes()
