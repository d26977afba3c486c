# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from flap_sam.data.contact_sheet import CAPTION, COLUMNS, GAP, SIDE, contact_sheet, picture
from flap_sam.data.picture import CLASS_COLOURS
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from PIL import Image

from tests.data.volumes import save

LAS = np.diag((-1.0, 1.0, 1.0, 1.0))


def shown(shape=(5, 20, 20), spacing=(3.0, 1.0, 1.0), label=None, name="one", site="A"):
    image = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    return picture(site, name, "train", image, np.zeros(shape, np.uint8) if label is None else label, spacing)


def test_the_slice_with_most_foreground_is_shown_else_the_middle_one():
    label = np.zeros((5, 20, 20), np.uint8)
    assert shown(label=label).position == 2
    label[1, 3:5], label[4, 3] = 1, 2
    found = shown(label=label)
    assert (found.position, found.slices, set(np.unique(found.mask))) == (1, 5, {0, 1})


@pytest.mark.parametrize(
    ("shape", "spacing", "size"),
    [
        ((2, 20, 20), (9.0, 1.0, 1.0), (SIDE, SIDE)),
        ((2, 20, 40), (9.0, 2.0, 2.0), (SIDE // 2, SIDE)),
        ((2, 20, 40), (9.0, 2.0, 1.0), (SIDE, SIDE)),
        ((2, 400, 100), (9.0, 0.5, 1.0), (SIDE, SIDE // 2)),
        ((1, 1, 1000), (1.0, 1.0, 1.0), (1, SIDE)),
    ],
)
def test_pictures_have_the_proportions_of_the_patient(shape, spacing, size):
    found = shown(shape, spacing)
    assert found.image.shape == found.mask.shape == size


@pytest.mark.parametrize("affine", [np.eye(4), LAS, np.eye(4)[[1, 0, 2, 3]], np.diag((-1.0, -1.0, -1.0, 1.0))])
def test_the_left_edge_is_the_patients_right_and_the_top_is_anterior(tmp_path, affine):
    """The scan is bright towards the patient's right and front, where nibabel's x and y rise."""
    corners = np.argwhere(np.ones((8, 8, 3))) @ affine[:3, :3].T
    image = (corners[:, 0] + corners[:, 1]).reshape(8, 8, 3).astype(np.int16)
    volume = read_volume(save(tmp_path / "scan.nii", image, affine))
    found = picture("A", "x", "train", volume.array, np.zeros(volume.array.shape, np.uint8), volume.spacing)
    half = SIDE // 2
    assert found.image[:half, :half].mean() > found.image[:half, half:].mean() > found.image[half:, half:].mean()
    assert found.image[:half, :half].mean() > found.image[half:, :half].mean()


def test_a_constant_slice_is_black():
    flat = np.full((3, 9, 9), 7, np.int16)
    assert not picture("A", "x", "train", flat, np.zeros((3, 9, 9), np.uint8), (1.0, 1.0, 1.0)).image.any()


def test_the_sheet_shows_outlines_in_class_colours_and_starts_a_row_with_every_site(tmp_path):
    label = np.zeros((1, 24, 24), np.uint8)
    label[0, 4:20, 4:12], label[0, 4:20, 12:20] = 1, 2
    pictures = [shown((1, 24, 24), label=label, name=f"case_{n}") for n in range(COLUMNS + 1)]
    pictures.append(shown((1, 24, 24), label=label, name="a name far too long for its place " * 3, site="B"))
    path = contact_sheet(pictures, ("kidney", "tumour"), tmp_path / "new" / "sheet.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        sheet = np.asarray(image)
    step, height = SIDE + GAP, SIDE + CAPTION + GAP
    assert sheet.shape == (CAPTION + 3 * height, GAP + COLUMNS * step, 3)
    scale = SIDE // 24
    for row, columns in enumerate((COLUMNS, 1, 1)):
        for column in range(COLUMNS):
            tile = sheet[CAPTION + row * height :, GAP + column * step :][:SIDE, :SIDE]
            edges = [tuple(tile[12 * scale, x]) for x in (4 * scale, 20 * scale - 1)]
            assert (edges == list(CLASS_COLOURS[:2])) == (column < columns)
            inside = tile[12 * scale, 8 * scale]
            assert len(set(inside.tolist())) == 1, "within the outline the picture stays grey"
    assert (sheet[CAPTION:][2 * height :, GAP + step :] == sheet[-1, -1]).all(), "a long caption is cut off"


def test_more_classes_than_colours_and_no_picture_at_all(tmp_path):
    label = np.full((1, 24, 24), len(CLASS_COLOURS) + 1, np.uint8)
    names = [f"class {n}" for n in range(len(CLASS_COLOURS) + 1)]
    sheet = np.asarray(Image.open(contact_sheet([shown((1, 24, 24), label=label)], names, tmp_path / "a.png")))
    assert tuple(sheet[CAPTION + SIDE // 2 + 20, GAP]) == CLASS_COLOURS[0]
    assert contact_sheet([], ("kidney",), tmp_path / "b.png").is_file()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FlapSamError, match="cannot be written"):
        contact_sheet([shown()], ("kidney",), tmp_path / "file" / "sheet.png")
