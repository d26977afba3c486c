# SPDX-License-Identifier: Apache-2.0
import itertools

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.geometry import to_original
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from tests.data.volumes import save

ORIENTATIONS = [
    "".join(axes) for order in itertools.permutations(("RL", "AP", "SI")) for axes in itertools.product(*order)
]
SHAPE = (4, 6, 9)
SIZES = np.array((0.7, 1.1, 5.0))


def affine_of(orientation: str, tilt: float = 0.0) -> np.ndarray:
    """An affine whose array axes run as the three letters say, with the voxel sizes of SIZES."""
    affine = np.eye(4)
    for axis, letter in enumerate(orientation):
        world = next(number for number, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[:3, axis] = 0
        affine[world, axis] = SIZES[axis] * (1 if letter in "RAS" else -1)
    turn = np.array(((np.cos(tilt), -np.sin(tilt), 0), (np.sin(tilt), np.cos(tilt), 0), (0, 0, 1)))
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-20, 11, 300)
    return affine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_marker_lies_at_its_patient_coordinates(tmp_path, orientation):
    affine = affine_of(orientation, tilt=0.2)
    array = np.zeros(SHAPE, np.int16)
    array[1, 4, 2] = 1000
    array[3, 0, 8] = 500
    volume = read_volume(save(tmp_path / "scan.nii.gz", array, affine))

    step = np.subtract(apply_affine(affine, (3, 0, 8)), apply_affine(affine, (1, 4, 2)))
    found = np.subtract(np.argwhere(volume.array == 500)[0], np.argwhere(volume.array == 1000)[0]) * volume.spacing
    turned = np.array(((np.cos(0.2), np.sin(0.2)), (-np.sin(0.2), np.cos(0.2)))) @ step[:2]
    towards_left, towards_back, towards_head = -turned[0], -turned[1], step[2]
    np.testing.assert_allclose(found, (towards_head, towards_back, towards_left), atol=1e-4)


@given(st.sampled_from(ORIENTATIONS), st.tuples(*[st.integers(1, 5)] * 3), st.floats(-0.7, 0.7))
def test_round_trip_to_the_original_grid(tmp_path_factory, orientation, shape, tilt):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = save(tmp_path_factory.mktemp("scan") / "scan.nii", array, affine_of(orientation, tilt))
    volume = read_volume(path)
    np.testing.assert_array_equal(to_original(volume.array, volume.affine, volume.original_shape), array)
    assert volume.array.shape == tuple(
        shape[axis] for letters in ("SI", "AP", "LR") for axis in range(3) if orientation[axis] in letters
    )


def test_kits19_form_is_only_flipped_along_its_slices(tmp_path):
    affine = np.array(((0, 0, -0.8, 0), (0, -0.8, 0, 0), (-5.0, 0, 0, 0), (0, 0, 0, 1)))
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = read_volume(save(tmp_path / "imaging.nii.gz", array, affine))
    np.testing.assert_array_equal(volume.array, array[::-1])
    np.testing.assert_allclose(volume.spacing, (5, 0.8, 0.8), rtol=1e-6)


def test_array_of_another_case_does_not_fit_the_original_grid(tmp_path):
    volume = read_volume(save(tmp_path / "scan.nii", np.zeros(SHAPE, np.int16)))
    with pytest.raises(FlapSamError, match="another case"):
        to_original(volume.array[1:], volume.affine, volume.original_shape)


def test_affine_without_orientation_is_refused(tmp_path):
    scan = nib.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    scan.header.set_sform(np.diag((1.0, 1.0, 0.0, 1.0)), code=1)
    nib.save(scan, tmp_path / "flat.nii.gz")
    with pytest.raises(FlapSamError, match=r"flat\.nii\.gz.*no orientation"):
        read_volume(tmp_path / "flat.nii.gz")
