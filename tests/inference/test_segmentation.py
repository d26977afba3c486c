# SPDX-License-Identifier: Apache-2.0
"""`segment` from Python beside `flap-sam predict`, which writes what it gives."""

import nibabel as nib
import numpy as np
import pytest
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.inference.model import Model
from flap_sam.inference.predict import predict
from flap_sam.inference.scans import scans_at
from flap_sam.inference.segment import Segmenter
from flap_sam.inference.segmentation import segment
from flap_sam.sam.weights import Weights

from tests.data.dicom import write_series
from tests.data.volumes import save
from tests.inference.test_segment import AXES, scan_of
from tests.training.networks import Threshold

CPU = Site(device="cpu")
CLIP = ("0", "100")


@pytest.fixture
def model(small) -> Model:
    return Model(Threshold(), small, {}, Weights("random", None))


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_arrays_are_what_the_command_writes(model, tmp_path, axes):
    array = scan_of(axes)
    scan = save(tmp_path / "scan.nii.gz", array, axes)
    found = segment(model, str(scan), site=CPU, clip=CLIP, probabilities=True)
    np.testing.assert_array_equal(found.labels, (array > 40).astype(int) + (array > 70))
    assert (found.labels.dtype, found.probabilities.dtype) == (np.uint8, np.float32)
    assert found.probabilities.shape == (2, *array.shape)
    np.testing.assert_array_equal(found.affine, nib.load(scan).affine)
    assert found.classes == ("class 1", "class 2")
    segmenter = Segmenter.at(model, CPU, CLIP, keeps_probabilities=True)
    [done] = predict(segmenter, scans_at(scan).scans, tmp_path / "out")
    assert tuple(found.millilitres.values()) == done.volumes
    found.write(tmp_path / "own.nii.gz")
    assert (tmp_path / "own.nii.gz").read_bytes() == (tmp_path / "out/scan_mask.nii.gz").read_bytes()
    for k, probability in enumerate(found.probabilities, 1):
        written = nib.load(tmp_path / f"out/scan_probability_{k}.nii.gz")
        np.testing.assert_array_equal(np.asarray(written.dataobj), probability)


def test_a_series_of_slices_is_one_scan(model, tmp_path):
    axes = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_series(tmp_path / "ct", scan_of(axes), axes)
    found = segment(model, tmp_path / "ct", site=CPU, clip=CLIP)
    np.testing.assert_array_equal(found.labels, (scan_of(axes) > 40).astype(int) + (scan_of(axes) > 70))
    assert found.probabilities is None


def test_the_store_of_the_site_says_how_a_scan_is_prepared(model, store, tmp_path):
    scan = save(tmp_path / "scan.nii.gz", scan_of(np.eye(4)))
    found = segment(model, scan, site=Site(data=store, name="B", device="cpu"))
    assert found.classes == ("organ", "lesion")
    with pytest.raises(FlapSamError, match="has the sites A, B, C; name the --site"):
        segment(model, scan, site=Site(data=store, device="cpu"))


def test_what_is_not_one_scan_is_one_sentence(model, tmp_path):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.nii.gz", scan_of(np.eye(4)))
    with pytest.raises(FlapSamError, match="holds 2 scans, expected one"):
        segment(model, tmp_path / "in", site=CPU, clip=CLIP)
    with pytest.raises(FlapSamError, match="does not exist"):
        segment(model, tmp_path / "none", site=CPU, clip=CLIP)
    with pytest.raises(FlapSamError, match=r"none\.safetensors"):
        segment(tmp_path / "none.safetensors", tmp_path / "in" / "a.nii.gz", site=CPU, clip=CLIP)
