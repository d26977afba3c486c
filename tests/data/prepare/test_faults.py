# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with one case ends in one sentence that names it, and the cases before it stay."""

import errno
import gzip

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.store import SiteStore, sites
from flap_sam.errors import FlapSamError, Reason

from tests.data.volumes import save

SHAPE = (6, 8, 9)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def image_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16)


def label_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, SHAPE, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Cases a, b and c of one site, all sound."""
    folder = tmp_path / "raw"
    for seed, case in enumerate("abc"):
        save(folder / "images" / f"{case}.nii.gz", image_of(seed))
        save(folder / "labels" / f"{case}.nii.gz", label_of(seed))
    (folder / "classes.txt").write_text("organ\nlesion\n")
    (folder / "sites.csv").write_text("case,site,split\na,North,train\nb,North,test\nc,North,train\n")
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_bits(path):
    """What gzip unpacks without complaint, but for its checksum at the end of the file."""
    packed = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0)
    path.write_bytes(packed[:-200] + bytes((packed[-200] ^ 1,)) + packed[-199:])


def empty(path):
    path.write_bytes(b"")


def no_nifti(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(800))


def a_folder(path):
    path.unlink()
    path.mkdir()


def with_one(value, dtype=np.float32):
    def write(path):
        array = image_of(1).astype(dtype)
        array[2, 3, 4] = value
        save(path, array)

    return write


def of_shape(shape, dtype=np.int16):
    return lambda path: save(path, np.zeros(shape, dtype))


def scaled(slope):
    def write(path):
        scan = nib.Nifti1Image(image_of(1), np.eye(4))
        scan.header.set_slope_inter(slope, 0)
        nib.save(scan, path)

    return write


def with_header(**fields):
    def write(path):
        content = bytearray(nib.Nifti1Image(image_of(1), np.eye(4)).to_bytes())
        header = np.ndarray((), nib.Nifti1Header.template_dtype, buffer=content)
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(gzip.compress(bytes(content)))

    return write


def of_constant(value):
    return lambda path: save(path, np.full(SHAPE, value, np.int16))


FAULTS = {
    "truncated image": ("images", cut, "cannot be read as NIfTI"),
    "truncated label": ("labels", cut, "cannot be read as NIfTI"),
    "flipped bits": ("images", flip_bits, "cannot be read as NIfTI .*CRC"),
    "empty file": ("images", empty, "cannot be read as NIfTI .*it is empty"),
    "another kind of file": ("images", no_nifti, "cannot be read as NIfTI .*does not start as one"),
    "a folder instead": ("images", a_folder, "is no file"),
    "missing image": ("images", lambda path: path.unlink(), "does not exist"),
    "missing mask": ("labels", lambda path: path.unlink(), "does not exist"),
    "label of another shape": (
        "labels",
        of_shape((6, 8, 8), np.uint8),
        r"has shape \(6, 8, 8\), but",
    ),
    "NaN": ("images", with_one(np.nan), "not finite"),
    "infinite": ("images", with_one(-np.inf), "not finite"),
    "beyond 32 bits": ("images", with_one(1e300, np.float64), "overflow 32 bits"),
    "beyond 32 bits by its scale": ("images", scaled(1e37), "overflow 32 bits"),
    "broken label": ("labels", lambda path: save(path, label_of(1) / np.float32(2)), "holds the label 0.5"),
    "label 3": ("labels", of_constant(3), "holds the label 3, expected only the whole numbers 0 to 2"),
    "label -1": ("labels", of_constant(-1), "holds the label -1"),
    "colours": ("images", of_shape(SHAPE, RGB), "expected one real number each"),
    "4D": ("images", of_shape((*SHAPE, 2)), r"has shape \(6, 8, 9, 2\), expected one 3D volume"),
    "2D": ("labels", of_shape((6, 8), np.uint8), r"has shape \(6, 8\), expected one 3D volume"),
    "negative voxel size": ("images", with_header(pixdim=[1, 1, -1, 1, 0, 0, 0, 0]), "voxels of 1 x -1 x 1 mm"),
    "no voxel size": ("images", with_header(pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), "voxels of 0 x 1 x 1 mm"),
    "voxel size NaN": ("images", with_header(pixdim=[1, 1, 1, np.nan, 0, 0, 0, 0]), "voxels of 1 x 1 x nan mm"),
    "affine with a zero axis": ("images", with_header(srow_z=[0, 0, 0, 0]), "gives no orientation"),
    "affine with two axes alike": (
        "images",
        with_header(srow_x=[1, 1, 0, 0], srow_y=[2, 2, 0, 0]),
        "gives no orientation",
    ),
    "affine NaN": ("images", with_header(srow_x=[np.nan, 0, 0, 0]), "gives no orientation"),
    "constant": ("images", of_constant(40), "the one intensity 40 everywhere"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_case_is_named_and_the_others_stay(folder, tmp_path, fault, capfd):
    kind, break_file, sentence = FAULTS[fault]
    path = folder / kind / "b.nii.gz"
    sound, store = path.read_bytes(), tmp_path / "store"
    break_file(path)
    with pytest.raises(FlapSamError, match=rf"{kind}/b\.nii\.gz.*{sentence}") as caught:
        prepare("pairs", folder, store, workers=1)
    assert "\n" not in str(caught.value)
    assert caught.value.reason == Reason.STOPPED
    assert capfd.readouterr() == ("", "")
    assert sites(store) == []
    assert not list(tmp_path.rglob("*.partial"))

    before = {file: file.stat().st_mtime_ns for file in store.rglob("*.npy")}
    assert {file.name for file in before} in (set(), {"a.image.npy", "a.label.npy"})
    if path.is_dir():
        path.rmdir()
    path.write_bytes(sound)
    prepare("pairs", folder, store, workers=1)
    assert {case.id for case in SiteStore.open(store, "North").manifest.cases} == set("abc")
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(folder, tmp_path, workers):
    """Filled for real by a limit on the size of files, which the workers inherit."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    save(folder / "images" / "b.nii.gz", np.arange(64 * 64 * 64).reshape(64, 64, 64).astype(np.int32))
    save(folder / "labels" / "b.nii.gz", np.ones((64, 64, 64), np.uint8))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(FlapSamError, match=r"b\.image\.npy cannot be written .*make room"):
            prepare("pairs", folder, tmp_path / "store", workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sites(tmp_path / "store") == []
    prepare("pairs", folder, tmp_path / "store", workers=1)
    assert sites(tmp_path / "store") == ["North"]


def test_no_space_left(folder, tmp_path, monkeypatch):
    save_array, left = np.save, iter(range(3))

    def filling(stream, array, **options):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_array(stream, array, **options)

    monkeypatch.setattr(np, "save", filling)
    with pytest.raises(FlapSamError, match=r"b\.label\.npy cannot be written .*No space left.*make room"):
        prepare("pairs", folder, tmp_path / "store", workers=1)
    monkeypatch.undo()
    before = (tmp_path / "store/North/arrays/a.image.npy").stat().st_mtime_ns
    prepare("pairs", folder, tmp_path / "store", workers=1)
    assert (tmp_path / "store/North/arrays/a.image.npy").stat().st_mtime_ns == before


def test_a_file_that_may_not_be_read(folder, tmp_path, monkeypatch):
    path, opening = folder / "images" / "b.nii.gz", type(folder).open

    def refusing(self, *args, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opening(self, *args, **options)

    monkeypatch.setattr(type(folder), "open", refusing)
    with pytest.raises(FlapSamError, match=r"b\.nii\.gz cannot be opened \(Permission denied\)"):
        prepare("pairs", folder, tmp_path / "store", workers=1)


def test_a_folder_that_may_not_be_entered(folder, tmp_path, monkeypatch):
    stat = type(folder).stat

    def refusing(self, **options):
        if self.name == "b.nii.gz":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(type(folder), "stat", refusing)
    with pytest.raises(FlapSamError, match=r"images/b\.nii\.gz of case b.*cannot be reached \(Permission denied\)"):
        prepare("pairs", folder, tmp_path / "store", workers=1)


def test_whole_numbers_may_be_stored_as_floats(folder, tmp_path):
    save(folder / "labels" / "b.nii.gz", label_of(1).astype(np.float64))
    prepare("pairs", folder, tmp_path, workers=1)
    opened = SiteStore.open(tmp_path, "North")
    assert set(np.unique(opened.label(opened.cases("test")[0]))) == {0, 1, 2}


def test_no_path_of_the_volumes_is_kept(folder, tmp_path):
    prepare("pairs", folder, tmp_path / "store", workers=1)
    for file in (tmp_path / "store").rglob("*.json"):
        assert "raw" not in file.read_text()
