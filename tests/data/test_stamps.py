# SPDX-License-Identifier: Apache-2.0
import os
import shutil

import pytest
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.stamps import check_unchanged, files_of, stamped
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256


def filled(path, content=b"voxels"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_files_of_a_volume(tmp_path):
    names = ("a.nii.gz", "b.hdr", "b.img", "c.mhd", "c.raw", "D.MHD", "D.zraw", "e.nrrd", "bb.img")
    for name in (*names, "s/1.dcm", "s/deep/2.dcm", "s/.DS_Store"):
        filled(tmp_path / name)

    def named(name):
        return [str(file.relative_to(tmp_path)) for file in files_of(tmp_path / name)]

    assert named("a.nii.gz") == ["a.nii.gz"]
    assert named("b.hdr") == named("b.img") == ["b.hdr", "b.img"]
    assert named("c.mhd") == ["c.mhd", "c.raw"]
    assert named("D.MHD") == ["D.MHD", "D.zraw"]
    assert named("e.nrrd") == ["e.nrrd"]
    assert named("s") == ["s/1.dcm", "s/deep/2.dcm"]
    assert named("gone.hdr") == ["gone.hdr"]


def test_a_stamp_is_what_the_file_system_and_its_content_say(tmp_path):
    case = SourceCase("x", "train", filled(tmp_path / "i.nii"), filled(tmp_path / "l.nii", b"labels"))
    found = stamped({}, case)
    (image,), told = found.image_files, (tmp_path / "i.nii").stat()
    assert (image.name, image.size, image.modified_ns) == ("i.nii", 6, told.st_mtime_ns)
    assert found.contents == ((sha256(case.image),), (sha256(case.label),))


@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize("how", ["other content", "same time", "another slice", "gone"])
def test_whatever_changes_while_a_case_is_read_is_noticed(tmp_path, which, how):
    for part in ("image", "label"):
        filled(tmp_path / part / "1.dcm")
    case = SourceCase("x", "train", tmp_path / "image", tmp_path / "label")
    found, file = stamped({}, case), tmp_path / which / "1.dcm"
    check_unchanged(found)
    before = file.stat()
    if how == "another slice":
        filled(tmp_path / which / "2.dcm")
    elif how == "gone":
        shutil.rmtree(tmp_path / which)
    else:
        file.write_bytes(b"VOXELS")
        if how == "same time":
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(FlapSamError, match="was changed while it was read"):
        check_unchanged(found)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    case = SourceCase("x", "train", filled(tmp_path / "i.nii"), tmp_path / "gone.nii")
    with pytest.raises(FlapSamError, match=r"gone\.nii cannot be opened \(No such file"):
        stamped({}, case)
