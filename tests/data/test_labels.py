# SPDX-License-Identifier: Apache-2.0
"""Label maps: whole numbers within rounding become classes, all else is named."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.labels import LabelRule
from flap_sam.data.volumes import read_masks, read_pair
from flap_sam.errors import FlapSamError
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, ornt_transform

from tests.data.volumes import save

SHAPE = (4, 5, 6)
ORIENTATIONS = [
    "".join(axes) for order in itertools.permutations(("RL", "AP", "SI")) for axes in itertools.product(*order)
]
OBLIQUE = np.array([[-0.69, 0.12, 0.1, 80], [-0.12, -0.69, 0.3, 60], [0.03, 0.05, 2.9, -800], [0, 0, 0, 1]])


def image(path, affine=None):
    return save(path, np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), affine)


def labels(classes=2):
    return np.random.default_rng(0).integers(0, classes + 1, SHAPE).astype(np.uint8)


@given(st.integers(0, 3), st.floats(-2e-3, 2e-3), st.sampled_from([np.float32, np.float64]))
def test_within_a_thousandth_of_a_whole_number(label, off, dtype):
    number = np.array([[label + off]], dtype)
    rule = LabelRule(3)
    if abs(float(number[0, 0]) - label) < 0.9999e-3:
        assert rule.apply(number).tolist() == [[label]]
    elif abs(float(number[0, 0]) - label) > 1.0001e-3:
        with pytest.raises(ValueError, match="stands for no class"):
            rule.apply(number)


@pytest.mark.parametrize("any_label", [False, True])
@given(st.floats(0.0011, 0.9989))
def test_every_trace_of_interpolation_is_refused_with_all_its_digits(tmp_path_factory, any_label, fraction):
    folder = tmp_path_factory.mktemp("soft")
    soft = labels(1).astype(np.float32)
    soft[1, 2, 3] = fraction
    path = save(folder / "label.nii", soft)
    with pytest.raises(FlapSamError, match="it was interpolated") as caught:
        read_pair(image(folder / "image.nii"), path, 1, any_label)
    said = str(caught.value).split("holds the label ")[1].split(",")[0]
    assert np.float32(said) == np.float32(fraction)


@pytest.mark.parametrize("any_label", [False, True])
def test_minus_one_is_named(tmp_path, any_label):
    odd = labels().astype(np.int16)
    odd[0, 0, 0] = -1
    with pytest.raises(FlapSamError, match=r"holds the label -1, expected only (the )?whole numbers"):
        read_pair(image(tmp_path / "i.nii"), save(tmp_path / "l.nii", odd), 2, any_label)


def test_several_odd_numbers_are_named_together(tmp_path):
    odd = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    with pytest.raises(FlapSamError, match=r"label 3 \(and 4, 5, 6, 7 and 112 more\), expected"):
        read_pair(image(tmp_path / "i.nii"), save(tmp_path / "l.nii", odd), 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("slope", [None, 1 / 255])
def test_scaled_labels(tmp_path, dtype, slope):
    """255 * (1 / 255) in float32 is no 1."""
    stored = labels(1) * (255 if slope else 1)
    made = nib.Nifti1Image(stored.astype(dtype), np.eye(4), dtype=dtype)
    made.header.set_slope_inter(slope or 1, 0)
    content = bytearray(made.to_bytes())
    np.ndarray((), made.header.template_dtype, buffer=content)["scl_slope"] = slope or 1
    (tmp_path / "l.nii").write_bytes(bytes(content))
    _, read = read_pair(image(tmp_path / "i.nii"), tmp_path / "l.nii", 1)
    assert read.sum() == labels(1).sum()


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("affine", [np.diag((-1.5, -1.5, 3.0, 1)), OBLIQUE], ids=["plain", "oblique"])
def test_a_reoriented_label_on_the_same_space(tmp_path, codes, affine):
    save(tmp_path / "label.nii", labels(), affine)
    turned = nib.Nifti1Image(labels(), affine)
    turned = turned.as_reoriented(ornt_transform(nib.io_orientation(affine), axcodes2ornt(codes)))
    nib.save(turned, tmp_path / "turned.nii")
    pairs = [
        read_pair(image(tmp_path / "image.nii", affine), tmp_path / f"{name}.nii", 2) for name in ("label", "turned")
    ]
    np.testing.assert_array_equal(pairs[0][1], pairs[1][1])
    found, true, _ = read_masks(tmp_path / "turned.nii", tmp_path / "label.nii", 2)
    np.testing.assert_array_equal(found, true)


@given(
    shift=st.tuples(*[st.floats(-1, 1)] * 3),
    turn=st.floats(-0.02, 0.02),
    far=st.sampled_from([0.0, 1e3, 1e5]),
)
def test_label_maps_fit_where_their_corners_lie_within_a_tenth_of_a_voxel(tmp_path_factory, shift, turn, far):
    """An absolute number would be too strict far from the origin, and too lax for small voxels."""
    folder = tmp_path_factory.mktemp("pair")
    affine = np.diag((0.4, 0.4, 5.0, 1.0))
    affine[:3, 3] = far, -far, far
    moved = affine.copy()
    moved[:3, 3] += np.multiply(shift, (0.4, 0.4, 5.0))
    moved[0, 1] += turn
    corners = np.array([[i, j, k, 1] for i in (0, 3) for j in (0, 4) for k in (0, 5)]).T
    ours, theirs = (np.float32(a).astype(float) for a in (affine, moved))
    apart = np.abs(np.linalg.solve(ours, theirs @ corners) - corners).max()
    paths = image(folder / "i.nii", affine), save(folder / "l.nii", labels(), moved)
    if apart < 0.099:
        np.testing.assert_array_equal(np.bincount(read_pair(*paths, 2)[1].ravel()), np.bincount(labels().ravel()))
    elif apart > 0.101:
        with pytest.raises(FlapSamError, match="one grid"):
            read_pair(*paths, 2)


@pytest.mark.parametrize(("own", "its"), [((1,), ()), ((), (1,)), ((1,), (1, 1))])
def test_four_axes_with_one_volume(tmp_path, own, its):
    scan = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE + own)
    volume, read = read_pair(save(tmp_path / "i.nii", scan), save(tmp_path / "l.nii", labels().reshape(SHAPE + its)), 2)
    np.testing.assert_array_equal(np.sort(volume.array.ravel()), np.sort(scan.ravel()))
    assert volume.original_shape == SHAPE
    assert read.sum() == labels().sum()
