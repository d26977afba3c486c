# SPDX-License-Identifier: Apache-2.0
"""In every layout volumes may have any ending; what begins with a dot is passed over, what else is, is named."""

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from flap_sam.data.doctor import examine_source
from flap_sam.data.prepare import open_source, prepare
from flap_sam.data.sources.kits19 import FED_KITS19, case_files
from flap_sam.data.sources.source import MissingFilesError, SourceCase, checked
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data import dicom_objects
from tests.data.volumes import save

SHAPE = (4, 5, 6)
AXES = np.diag((-1.5, -1.5, 3.0, 1.0))
JUNK = b"\x00\x05\x16\x07" + bytes(500)  # what macOS lays beside files
WRITTEN = (".nii", ".NII.GZ", ".mha", ".nrrd", ".MHD")


def volume(path: Path, array: np.ndarray) -> Path:
    """A file of any ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name.lower():
        made = save(path.with_name("made" + "".join(path.suffixes[-2:]).lower()), array, AXES)
    else:
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
        image.SetSpacing((1.5, 1.5, 3.0))
        made = path.with_suffix(path.suffix.lower())
        SimpleITK.WriteImage(image, str(made))
    return made.rename(path)


def image(case: str) -> np.ndarray:
    return np.random.default_rng([0, *case.encode()]).integers(0, 900, SHAPE).astype(np.int16)


def mask(case: str) -> np.ndarray:
    return np.random.default_rng([1, *case.encode()]).integers(0, 2, SHAPE).astype(np.uint8)


def pairs(folder, end):
    for case in ("one", "three"):
        yield folder / "images" / f"{case}{end}", folder / "labels" / f"{case}{end}", case
    (folder / "sites.csv").write_text("case,site,split\none,A,train\nthree,A,train\n")
    (folder / "classes.txt").write_text("organ\n")


def decathlon(folder, end):
    for case in ("one", "three"):
        yield folder / "imagesTr" / f"{case}{end}", folder / "labelsTr" / f"{case}{end}", case
    (folder / "sites.csv").write_text("case;site;split\none;A;train\nthree;A;train\n")
    (folder / "dataset.json").write_bytes(b'\xef\xbb\xbf{"labels": {"0": "background", "1": "organ"}}')


def bids(folder, end):
    for case in ("sub-1", "sub-22"):
        place = folder / "derivatives" / "labels" / case / "anat"
        yield folder / case / "anat" / f"{case}_T1w{end}", place / f"{case}_dseg{end}", case
    (folder / "participants.tsv").write_text("participant_id\tsite\tsplit\nsub-1\tA\ttrain\nsub-22\tA\ttrain\n")


def kits19(folder, end):
    for number in (case for split in FED_KITS19["A"].values() for case in split):
        paths = case_files(folder, f"case_{number:05}")
        yield *(path.with_name(path.name.replace(".nii.gz", end)) for path in paths), f"case_{number:05}"


def prostate(folder, end):
    for case in ("Case00", "Case02"):
        yield folder / "RUNMC" / f"{case}{end}", folder / "RUNMC" / f"{case}_segmentation{end}", case


def ixi(folder, end):
    for case in ("IXI016-Guys-0697", "IXI022-Guys-0701"):
        yield folder / "image" / f"{case}_image{end}", folder / "label" / f"{case}_label{end}", case


LAYOUTS = {
    "pairs": (pairs, "A"),
    "decathlon": (decathlon, "A"),
    "bids": (bids, "A"),
    "kits19": (kits19, "A"),
    "prostate": (prostate, "A"),
    "ixi": (ixi, "Guys"),
}


def lay(layout: str, folder: Path, end: str) -> dict[str, tuple[Path, Path]]:
    cases = {}
    for scan, label, case in LAYOUTS[layout][0](folder, end):
        cases[case] = volume(scan, image(case)), volume(label, mask(case))
    return cases


@pytest.mark.parametrize("end", WRITTEN)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_ending_gives_the_same_store(tmp_path, layout, end):
    site = LAYOUTS[layout][1]
    for kind in (".nii.gz", end):
        for paths in lay(layout, tmp_path / f"raw{kind}", kind).values():
            for path in paths:
                path.with_name(f"._{path.name}").write_bytes(JUNK)
        assert not examine_source(layout, tmp_path / f"raw{kind}", [site]).failed
        prepare(layout, tmp_path / f"raw{kind}", tmp_path / kind, [site], workers=1)
    expected, found = (SiteStore.open(tmp_path / kind, site) for kind in (".nii.gz", end))
    assert [case.id for case in found.manifest.cases] == [case.id for case in expected.manifest.cases]
    for ours, theirs in zip(found.manifest.cases, expected.manifest.cases, strict=True):
        assert (ours.image_sha256, ours.label_sha256) == (theirs.image_sha256, theirs.label_sha256)
        assert ours.notes == theirs.notes == ()
    assert open_source(layout, tmp_path / f"raw{end}").notes() == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_files_of_one_case_are_refused(tmp_path, layout):
    scan, _ = next(iter(lay(layout, tmp_path, ".nii").values()))
    volume(scan.with_suffix(".mha"), image("x"))
    with pytest.raises(FlapSamError, match=r"would both be|expected exactly one"):
        open_source(layout, tmp_path).cases(LAYOUTS[layout][1])


@pytest.mark.parametrize(
    ("layout", "beside", "words"),
    [
        (
            "pairs",
            "images/two.nii.gz",
            r"images holds volumes which no line of sites\.csv names, .* 1 \(two\.nii\.gz\)",
        ),
        ("pairs", "labels/notes.txt", r"labels holds what is no volume, passed over: 1 \(notes\.txt\)"),
        ("decathlon", "labelsTr/two.mha", r"labelsTr holds volumes which no line of sites\.csv names.*two\.mha"),
        ("bids", "sub-03/anat/sub-03_T1w.nii.gz", r"participants that no line of participants\.tsv names.*\(sub-03\)"),
        ("prostate", "RUNMC/Case1b.nii.gz", r"RUNMC holds volumes which are neither CaseXX nor .*\(Case1b\.nii\.gz\)"),
        ("ixi", "image/readme.md", r"image holds what is no volume, passed over: 1 \(readme\.md\)"),
    ],
)
def test_what_is_passed_over_is_named(tmp_path, layout, beside, words):
    lay(layout, tmp_path, ".nii.gz")
    (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / beside).write_bytes(b"x")
    report = examine_source(layout, tmp_path, [LAYOUTS[layout][1]])
    assert not report.failed
    (finding,) = [found for found in report.findings if "passed over" in found.sentence]
    assert re.search(words, finding.sentence)
    assert open_source(layout, tmp_path).notes() == [finding.sentence]


def test_an_image_may_be_a_folder_of_slices(tmp_path):
    lay("pairs", tmp_path, ".nii.gz")
    array = image("one")
    (tmp_path / "images" / "one.nii.gz").unlink()
    dicom_objects.series(tmp_path / "images" / "one", array.T, np.arange(6) * 3.0, lambda made, _: place(made))
    prepare("pairs", tmp_path, tmp_path / "store", workers=1)
    opened = SiteStore.open(tmp_path / "store", "A")
    case = next(case for case in opened.manifest.cases if case.id == "one")
    assert (case.minimum, case.maximum) == pytest.approx(np.percentile(array, (0.5, 99.5)) - 1024)
    np.testing.assert_array_equal(opened.label(case), mask("one").transpose(2, 1, 0))


def place(made):
    made.ImagePositionPatient[:2], made.PixelSpacing = [0, 0], [1.5, 1.5]


def test_a_folder_that_is_no_series_is_refused(tmp_path):
    lay("pairs", tmp_path, ".nii.gz")
    (tmp_path / "images" / "one.nii.gz").unlink()
    (tmp_path / "images" / "one").mkdir()
    with pytest.raises(FlapSamError, match=r"images/one of case one.* is no file, nor a folder of DICOM slices"):
        open_source("pairs", tmp_path).cases("A")


def test_a_missing_file_is_an_error_that_knows_all_cases(tmp_path):
    cases = [SourceCase(name, "train", tmp_path / f"{name}.nii", tmp_path / f"{name}.nii") for name in "ab"]
    (tmp_path / "a.nii").touch()
    with pytest.raises(MissingFilesError, match=r"b\.nii of case b, site A, does not exist") as caught:
        checked(cases, "A")
    assert caught.value.cases == cases
    (tmp_path / "b.nii").touch()
    assert checked(cases, "A") == cases


def test_two_cases_of_one_name_are_no_missing_file(tmp_path):
    (tmp_path / "a.nii").touch()
    cases = [SourceCase("a", "train", tmp_path / "a.nii", tmp_path / "a.nii")] * 2
    with pytest.raises(FlapSamError, match=r"would both be the case a of site A") as caught:
        checked(cases, "A")
    assert not isinstance(caught.value, MissingFilesError)
