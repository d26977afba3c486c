# SPDX-License-Identifier: Apache-2.0
"""Left stays left: voxels keep their patient coordinates from the raw volume to the store and back."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.geometry import pad_in_plane, to_original
from flap_sam.data.prepare import prepare
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt

ORIENTATIONS = [
    "".join(axes) for order in itertools.permutations(("RL", "AP", "SI")) for axes in itertools.product(*order)
]
SIZES = (0.7, 1.3, 4.0)  # towards right, anterior and superior, in mm
FIRST, SECOND = (5, 4, 1), (1, 2, 3)  # the second marker lies further left, posterior and superior
TILTS = {"straight": (0, 0, 0), "oblique": (17, -12, 25)}
SHAPES = {"few": (7, 6, 5), "one_slice": (7, 6, 1), "many": (7, 6, 1059)}


def affine_of(tilt: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = (-31, 12, 205)
    affine[:3, :3] = np.diag(SIZES)
    for axis, degrees in enumerate(tilt):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(4)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        affine = turn @ affine
    return affine


def markers(shape: tuple[int, int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(np.minimum(FIRST, np.array(shape) - 1)), tuple(np.minimum(SECOND, np.array(shape) - 1))


def write(folder, case: str, shape: tuple[int, int, int], tilt: tuple[float, float, float], codes: str) -> None:
    labels = np.zeros(shape, np.uint8)
    for number, marker in enumerate(markers(shape), start=1):
        labels[marker] = number
    rightness = np.broadcast_to(np.arange(shape[0], dtype=np.int16)[:, None, None], shape)
    for kind, array in (("images", rightness), ("labels", labels)):
        (folder / kind).mkdir(exist_ok=True)
        turned = nib.Nifti1Image(array, affine_of(tilt)).as_reoriented(axcodes2ornt(codes))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), folder / kind / f"{case}.nii.gz")


CASES = {
    f"{codes}_{tilt}_{shape}": (SHAPES[shape], TILTS[tilt], codes)
    for codes, tilt, shape in (
        *itertools.product(ORIENTATIONS, TILTS, ["few"]),
        *itertools.product(("LPS", "IPL", "SRA"), TILTS, ["one_slice", "many"]),
    )
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for case, drawing in CASES.items():
        write(folder, case, *drawing)
    rows = "".join(f"{case},Here,train\n" for case in CASES)
    (folder / "sites.csv").write_text("case,site,split\n" + rows)
    prepare("pairs", folder, folder / "store", workers=1)
    return SiteStore.open(folder / "store", "Here")


@pytest.mark.parametrize("name", CASES)
def test_markers_keep_their_patient_coordinates(store, name):
    shape, tilt, _ = CASES[name]
    case = next(case for case in store.manifest.cases if case.id == name)
    assert case.shape == shape[::-1]
    assert case.spacing == pytest.approx(SIZES[::-1], abs=1e-4)
    label, image = store.label(case), store.image(case)
    np.testing.assert_array_equal(image, np.broadcast_to(np.rint(np.linspace(65535, 0, shape[0])), case.shape))
    places = [np.argwhere(label == number)[0] for number in (1, 2)]
    expected = np.subtract(*markers(shape)) * (-1, 1, 1)  # more superior, more posterior, more left
    assert (places[1] - places[0]).tolist() == [-expected[2], expected[1], -expected[0]]

    original = to_original(label, case.affine, case.original_shape)
    for number, marker in enumerate(markers(shape), start=1):
        found = apply_affine(case.affine, np.argwhere(original == number)[0])
        np.testing.assert_allclose(found, apply_affine(affine_of(tilt), marker), atol=2e-3)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize(("side", "padded"), [(0, (5, 6, 7)), (7, (5, 7, 7)), (11, (5, 11, 11))])
def test_padding_is_cut_off_on_the_way_back(codes, side, padded):
    store_grid = np.arange(1, 211).reshape(5, 6, 7)
    image = nib.Nifti1Image(np.zeros((7, 6, 5), np.int16), np.eye(4)).as_reoriented(axcodes2ornt(codes))
    original = to_original(store_grid, image.affine, image.shape)
    array = pad_in_plane(store_grid, side)
    assert array.shape == padded
    assert array.sum() == store_grid.sum()
    np.testing.assert_array_equal(to_original(array, image.affine, image.shape), original)


@pytest.mark.parametrize("shape", [(6, 6, 7), (5, 6, 8), (5, 5, 7), (5, 9, 8), (5, 7, 6)])
def test_what_padding_cannot_explain_belongs_to_another_case(shape):
    with pytest.raises(FlapSamError, match=r"does not fit the original grid \(7, 6, 5\), expected \(5, 6, 7\)"):
        to_original(np.zeros(shape), np.eye(4), (7, 6, 5))
