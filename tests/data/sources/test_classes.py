# SPDX-License-Identifier: Apache-2.0
"""Class names, of `classes.txt` or of the numbers that label maps hold."""

import numpy as np
import pytest
from flap_sam.data.sources.classes import class_names
from flap_sam.errors import FlapSamError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.volumes import save


def maps(folder, *numbers):
    """A label map for each set of numbers."""
    arrays = (np.resize(np.array(sorted(held), np.int16), (3, 4, 5)) for held in numbers)
    return [save(folder / "labels" / f"{k}.nii", array) for k, array in enumerate(arrays)]


def test_the_names_of_a_file_count_and_no_map_is_read(tmp_path):
    (tmp_path / "classes.txt").write_text("\ufeffliver\n\n portal vein \n", "utf-8")
    (tmp_path / "damaged.nii").write_bytes(b"x")
    assert class_names(tmp_path, [tmp_path / "damaged.nii"]) == ("liver", "portal vein")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n", "holds 0 class names"), (b"c\n" * 256, "holds 256 class names"), (b"\xff\xff", "cannot be read")],
)
def test_a_file_of_names_that_is_none_is_refused(tmp_path, content, words):
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(FlapSamError, match=rf"classes\.txt {words}"):
        class_names(tmp_path, [])


@settings(max_examples=25)
@given(st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=3))
def test_without_names_there_are_as_many_classes_as_the_highest_label_and_none_is_left_out(tmp_path_factory, held):
    folder = tmp_path_factory.mktemp("maps")
    found, highest = set().union(*held), max(set().union(*held))
    missing = set(range(1, highest + 1)) - found
    if highest and not missing:
        assert class_names(folder, maps(folder, *held)) == tuple(f"class {k}" for k in range(1, highest + 1))
    else:
        words = f"none holds {min(missing)}" if missing else "highest label .* is 0"
        with pytest.raises(FlapSamError, match=words):
            class_names(folder, maps(folder, *held))


@pytest.mark.parametrize("highest", [0, 256, 300])
def test_labels_that_give_no_classes(tmp_path, highest):
    with pytest.raises(FlapSamError, match=rf"highest label .* is {highest}, expected 1 to 255"):
        class_names(tmp_path, maps(tmp_path, {0, highest}))


def test_a_map_that_is_not_here_is_passed_over_and_one_that_is_damaged_is_named(tmp_path):
    (whole,) = maps(tmp_path, {0, 1, 2})
    assert class_names(tmp_path, [whole, tmp_path / "gone.nii"]) == ("class 1", "class 2")
    (tmp_path / "damaged.nii").write_bytes(b"x")
    with pytest.raises(FlapSamError, match=r"damaged\.nii cannot be read"):
        class_names(tmp_path, [whole, tmp_path / "damaged.nii"])


def test_a_table_of_labels_stands_in_for_the_maps(tmp_path):
    (tmp_path / "damaged.nii").write_bytes(b"x")
    assert class_names(tmp_path, [tmp_path / "damaged.nii"], {10: 2, 255: 1, 7: 0}) == ("class 1", "class 2")
    with pytest.raises(FlapSamError, match="none holds 2"):
        class_names(tmp_path, [], {10: 3, 255: 1})
