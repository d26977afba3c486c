# SPDX-License-Identifier: Apache-2.0
"""What a bundle names beside MONAI's own parts, one part at a time."""

import nibabel as nib
import numpy as np
import pytest
import torch
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from flap_sam.export.monai_parts import (
    ReadScand,
    Scans,
    VolumeInferer,
    WindowNetwork,
    WriteMaskd,
    check_scans,
    check_skipped,
    scans_in,
)
from flap_sam.inference.intensities import clipped
from flap_sam.inference.scans import Scan
from monai.data import MetaTensor

from tests.data.volumes import save
from tests.training.networks import Threshold

OBLIQUE = np.array([[0, 0, -0.8, 20.0], [0, -0.9, 0, 9.0], [2.5, 0, 0, -30.0], [0, 0, 0, 1]])
SHAPE = (4, 9, 7)


def scan(folder, name="ct", affine=OBLIQUE) -> Scan:
    array = np.random.default_rng(0).integers(-200, 500, SHAPE).astype(np.int16)
    return Scan(name, save(folder / f"{name}.nii", array, affine))


def test_a_scan_is_read_as_codes_in_store_orientation_and_padded(tmp_path):
    one = scan(tmp_path)
    read = ReadScand("image", clipped("-80", "300"), 11)({"image": one, "other": 3})
    volume, codes = read_volume(one.path), read["image"][0].numpy()
    assert (read["other"], codes.shape) == (3, (4, 11, 11))
    inside = codes[:, 1:10, 2:9]
    expected = (volume.array.clip(-80, 300) + 80) / 380 * 65535
    np.testing.assert_allclose(inside, expected, atol=0.51)
    assert np.count_nonzero(codes) == np.count_nonzero(inside), "zeros around"


@pytest.mark.parametrize("side", [0, 11])
@pytest.mark.parametrize("affine", [OBLIQUE, np.eye(4), np.diag([-1.0, -2, 3, 1])], ids=["oblique", "RAS", "LPS"])
def test_what_was_read_is_written_on_the_scans_own_grid(tmp_path, affine, side):
    """A voxel that is marked where the codes are highest is marked in the file where the scan is brightest."""
    one = scan(tmp_path, affine=affine)
    read = ReadScand("image", clipped("0", "499"), side)({"image": one})["image"]
    marked = MetaTensor((read == read.max()).float(), meta=read.meta)
    WriteMaskd("pred", str(tmp_path / "masks"))({"pred": marked})
    mask, source = nib.load(tmp_path / "masks" / "ct_mask.nii.gz"), nib.load(one.path)
    array = np.asarray(source.dataobj)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), array == array.max())
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-6)


def test_a_scan_of_no_use_is_passed_over_and_named_once_the_others_are_done():
    def prepared(item):
        if item["image"].name == "b":
            raise RuntimeError("applying transform") from FlapSamError("b.nii is damaged.")
        return item

    data = [{"image": Scan(name, None)} for name in "abc"]
    scans = Scans(data, prepared)
    check_skipped(scans)
    assert [item["image"].name for item in scans] == ["a", "c"]
    assert (scans.listed, scans.skipped) == (3, {"b": "b.nii is damaged."})
    with pytest.raises(FlapSamError, match=r"1 of 3 scans have no mask. b: b\.nii is damaged\."):
        check_skipped(scans)
    with pytest.raises(TypeError, match="not known before they are read"):
        len(scans)


def test_a_fault_that_is_no_scans_is_not_passed_over():
    def broken(_):
        raise RuntimeError("out of memory") from MemoryError()

    with pytest.raises(RuntimeError, match="out of memory"):
        list(Scans([{"image": Scan("a", None)}], broken))


def test_a_folder_without_scans_is_told_when_the_bundle_is_run_and_not_when_it_is_read(tmp_path):
    assert scans_in(str(tmp_path)) == []
    with pytest.raises(FlapSamError, match=str(tmp_path)):
        check_scans(str(tmp_path))
    one = scan(tmp_path)
    assert scans_in(str(tmp_path)) == [{"image": one}]
    check_scans(str(tmp_path))


def test_a_network_has_monais_order_of_axes(small):
    network = WindowNetwork(small.to_json()).eval()
    windows = torch.rand(2, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(windows)
        assert found.shape == (2, 3, 5, 32, 32)
        torch.testing.assert_close(found, network.network(windows[:, 0]).movedim(2, 1))


def test_whole_volumes_become_label_maps_of_their_own_shape(small):
    network = WindowNetwork(small.to_json())
    network.network = Threshold()
    codes = torch.zeros(2, 1, 3, 40, 28)
    codes[0, 0, :, :20], codes[1, 0, :, 20:] = 0.55 * 65535, 0.95 * 65535
    found = VolumeInferer()(MetaTensor(codes), network)
    assert (found.shape, found.dtype) == (codes.shape, torch.uint8)
    assert set(found[0, 0, :, 2:18].unique().tolist()) == {1}
    assert set(found[1, 0, :, 22:38].unique().tolist()) == {2}
    assert not found[0, 0, :, 22:].any()
