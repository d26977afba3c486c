# SPDX-License-Identifier: Apache-2.0
"""Files that hold volumes, by their names."""

from pathlib import Path

import pytest
from flap_sam.data.readers.kinds import ENDINGS, Listing, is_volume, listed, stem, with_any_ending
from flap_sam.errors import FlapSamError


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_names(end, change):
    path = Path(f"a.b{change(end)}")
    assert (is_volume(path), stem(path)) == (True, "a.b")
    assert not is_volume(path.with_name("._" + path.name))


def test_parts_of_a_volume_are_neither_volumes_nor_others(tmp_path):
    for name in ("a.hdr", "a.img", "b.mhd", "b.raw", "c.img", "d.txt", ".hidden.nii"):
        (tmp_path / name).touch()
    found = Listing.of(tmp_path)
    assert {name: [path.name for path in paths] for name, paths in found.volumes.items()} == {
        "a": ["a.hdr"],
        "b": ["b.mhd"],
    }
    assert [path.name for path in found.others] == ["c.img", "d.txt"]


def test_a_volume_is_found_by_its_name_whatever_its_ending(tmp_path):
    for name in ("a.mha", "b.nii.gz", "b_0000.NII", "._c.nii"):
        (tmp_path / name).touch()
    found = Listing.of(tmp_path)
    assert (found.find("a"), found.find("c"), found.find("z")) == (tmp_path / "a.mha", None, None)
    with pytest.raises(FlapSamError, match=r"holds b\.nii\.gz and b_0000\.NII, which would both be the case b;"):
        found.find("b", "b_0000")
    (tmp_path / "slices").mkdir()
    assert found.place("slices") == tmp_path / "slices"
    assert found.place("gone") == tmp_path / "gone.nii.gz", "what should be there"
    assert with_any_ending(tmp_path / "a.nii.gz") == tmp_path / "a.mha"
    assert with_any_ending(tmp_path / "gone.nii.gz") == tmp_path / "gone.nii.gz"


def test_a_folder_that_is_not_there_is_empty(tmp_path):
    found = Listing.of(tmp_path / "gone")
    assert (found.volumes, found.used, found.others) == ({}, frozenset(), ())


@pytest.mark.parametrize("count", [1, 5, 6, 40])
def test_a_sentence_counts_all_and_names_few(count):
    folder = Path("/data")
    told = listed([folder / f"{k}.nii" for k in range(count)], folder)
    assert told.startswith(f"{count} (0.nii")
    assert told.count(".nii") == min(count, 5)
    assert told.endswith(f" and {count - 5} more)") == (count > 5)
