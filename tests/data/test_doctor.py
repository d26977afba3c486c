# SPDX-License-Identifier: Apache-2.0
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flap_sam.data.doctor import examine_source, examine_store
from flap_sam.data.findings import Range
from flap_sam.data.manifest import read_manifest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.kits19 import FED_KITS19, case_id
from flap_sam.data.store import ARRAYS, write_case, write_manifest
from flap_sam.errors import FlapSamError

from tests.data.volumes import RECIPE, draft, make_store, manifest_of, save

SITES = {"North": {"n1": "train", "n2": "train", "n3": "test"}, "South": {"s1": "train", "s2": "test"}}
GRID = np.diag((0.5, 0.5, 2.0, 1.0))
HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "hippocampus"


def findings(report):
    return [(finding.severity, finding.site, finding.case) for finding in report.findings]


def only(report, *place):
    """The sentence of the one finding, which must be at that place."""
    assert findings(report) == [place]
    return report.findings[0].sentence


@pytest.fixture
def folder(tmp_path):
    """Two sites of random volumes in the Decathlon layout."""
    folder, rng = tmp_path / "raw", np.random.default_rng(2)
    lines = [f"{case},{site},{split}" for site, cases in SITES.items() for case, split in cases.items()]
    for line in lines:
        image, label = files(folder, line.split(",")[0])
        shape = (6, 8, rng.integers(2, 9))
        save(image, rng.integers(0, 900, shape).astype(np.int16), GRID)
        save(label, rng.integers(0, 3, shape, np.uint8), GRID)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "head", "2": "tail"}}))
    (folder / "sites.csv").write_text("\n".join(["case,site,split", *lines]) + "\n")
    return folder


def files(folder, case):
    return folder / "imagesTr" / f"{case}.nii.gz", folder / "labelsTr" / f"{case}.nii.gz"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def test_a_sound_source(folder):
    report = examine_source("decathlon", folder)
    assert not report.failed
    assert report.findings == ()
    north, south = report.sites
    assert north.expected == north.whole == {"train": 2, "validation": 0, "test": 1}
    assert (south.site, south.holding) == ("South", {"head": 2, "tail": 2})
    assert north.ranges["slice_mm"] == Range(2.0, 2.0, 2.0)
    assert north.ranges["row_mm"] == north.ranges["column_mm"] == Range(0.5, 0.5, 0.5)
    assert 0 <= north.ranges["lowest"].minimum <= north.ranges["highest"].maximum < 900
    assert [(shown.site, shown.case) for shown in report.pictures] == [
        (site, case) for site, cases in SITES.items() for case in cases
    ]
    assert examine_source("decathlon", folder, ["South"]).sites == (south,)


def test_the_json_is_the_report(folder):
    truncate(files(folder, "s1")[0])
    report = examine_source("decathlon", folder)
    found = json.loads(report.to_json())
    assert set(found) == {"examined", "failed", "classes", "sites", "findings"}
    assert found["failed"] is True
    assert found["classes"] == ["head", "tail"]
    assert found["sites"][1]["whole"] == {"train": 0, "validation": 0, "test": 1}
    assert found["sites"][0]["ranges"]["slice_mm"] == {"median": 2.0, "minimum": 2.0, "maximum": 2.0}
    assert found["findings"][0]["sentence"] == report.findings[0].sentence


def test_every_broken_file_is_named_and_the_others_are_examined(folder):
    for path in (*files(folder, "n1"), files(folder, "s2")[1]):
        truncate(path)
    report = examine_source("decathlon", folder)
    assert findings(report) == [("error", "North", "n1")] * 2 + [("error", "South", "s2")]
    for finding, path in zip(report.findings, (*files(folder, "n1"), files(folder, "s2")[1]), strict=True):
        assert finding.sentence.startswith(f"{path} cannot be read")
    assert [site.whole["train"] for site in report.sites] == [1, 1]
    assert report.failed


def test_a_swapped_affine(folder):
    image, label = files(folder, "n2")
    save(label, np.ones((6, 8, 4), np.uint8))
    save(image, np.random.default_rng(0).integers(0, 9, (6, 8, 4)).astype(np.int16), np.eye(4)[[1, 0, 2, 3]])
    assert "n2.nii.gz has an affine" in only(examine_source("decathlon", folder), "error", "North", "n2")
    save(label, np.ones((8, 6, 4), np.uint8))
    found = examine_source("decathlon", folder)
    assert not found.failed, "the same voxels, in another order"
    assert {finding.case for finding in found.findings} == {"n2"}, "its grid is unlike the rest"
    save(label, np.ones((6, 8, 5), np.uint8))
    assert "has shape (6, 8, 5), but" in only(examine_source("decathlon", folder), "error", "North", "n2")


def test_labels_outside_the_classes_of_a_source(folder):
    image, label = files(folder, "n2")
    save(image, np.arange(192, dtype=np.int16).reshape(6, 8, 4))
    save(label, np.full((6, 8, 4), 3, np.uint8))
    sentence = only(examine_source("decathlon", folder), "error", "North", "n2")
    assert "holds the label 3, expected only the whole numbers 0 to 2" in sentence


def test_an_empty_mask_is_a_warning(folder):
    image, label = files(folder, "s1")
    save(image, np.arange(192, dtype=np.int16).reshape(6, 8, 4))
    save(label, np.zeros((6, 8, 4), np.uint8))
    report = examine_source("decathlon", folder)
    assert "mask is empty" in only(report, "warning", "South", "s1")
    assert not report.failed
    assert report.sites[1].holding == {"head": 1, "tail": 1}


def test_a_scan_of_one_intensity(folder):
    image, label = files(folder, "s1")
    save(image, np.full((6, 8, 4), 7, np.int16))
    save(label, np.ones((6, 8, 4), np.uint8))
    assert "one intensity 7" in only(examine_source("decathlon", folder), "error", "South", "s1")


@pytest.mark.parametrize(
    ("first", "second", "severity"),
    [("n1", "s1", "error"), ("n1", "n3", "error"), ("n1", "n2", "warning")],
    ids=["across sites", "across splits", "within a split"],
)
def test_duplicates(folder, first, second, severity):
    """The image is written anew, in another orientation; the mask is another one."""
    array = np.random.default_rng(9).integers(0, 900, (6, 8, 4)).astype(np.int16)
    mirrored = GRID * (-1, 1, 1, 1)
    save(files(folder, first)[0], array, GRID)
    save(files(folder, second)[0], array[::-1], mirrored)
    save(files(folder, first)[1], np.ones((6, 8, 4), np.uint8), GRID)
    save(files(folder, second)[1], np.full((6, 8, 4), 2, np.uint8), mirrored)
    site = "South" if second == "s1" else "North"
    about_the_image, *rest = examine_source("decathlon", folder).findings
    assert (about_the_image.severity, about_the_image.site, about_the_image.case) == (severity, site, second)
    assert f"also that of {first}, site North, train" in about_the_image.sentence
    assert all("orientation" in finding.sentence for finding in rest)


def test_the_same_mask_is_a_duplicate_unless_it_is_empty(folder):
    for case, fill in (("n1", 1), ("s1", 1), ("n3", 0), ("s2", 0)):
        save(
            files(folder, case)[0],
            np.random.default_rng([*case.encode()]).integers(0, 900, (6, 8, 4)).astype(np.int16),
            GRID,
        )
        save(files(folder, case)[1], np.full((6, 8, 4), fill, np.uint8), GRID)
    assert findings(examine_source("decathlon", folder)) == [
        ("warning", "North", "n3"),
        ("warning", "South", "s2"),
        ("error", "South", "s1"),
    ]


def test_every_missing_file_is_named_and_what_is_here_is_examined(folder):
    gone = [files(folder, "n1")[0], files(folder, "n2")[1], *files(folder, "s1")]
    for path in gone:
        path.unlink()
    truncate(files(folder, "n1")[1])
    report = examine_source("decathlon", folder)
    named = [files(folder, "n1")[0], files(folder, "n1")[1], *gone[1:]]
    assert [finding.case for finding in report.findings] == ["n1", "n1", "n2", "s1", "s1"]
    assert all(finding.sentence.startswith(str(path)) for finding, path in zip(report.findings, named, strict=True))
    assert [(site.expected["train"], site.whole["train"], site.whole["test"]) for site in report.sites] == [
        (2, 0, 1),
        (1, 0, 1),
    ]


def test_an_empty_kits19_folder_lacks_every_case(tmp_path):
    report = examine_source("kits19", tmp_path, ["A", "F"])
    assert [finding.case for finding in report.findings[::2]] == [
        case_id(number) for site in "AF" for split in FED_KITS19[site].values() for number in split
    ]


def test_a_site_without_training_case(folder):
    (folder / "sites.csv").write_text("case,site,split\nn1,North,test\n")
    report = examine_source("decathlon", folder)
    assert findings(report) == [("error", "North", None), *[("warning", "any", None)] * 2]
    assert "no training case" in report.findings[0].sentence
    assert all("which no line of sites.csv names" in finding.sentence for finding in report.findings[1:])


def test_what_is_no_source(folder, tmp_path):
    with pytest.raises(FlapSamError, match="no source 'ct', expected one of kits19"):
        examine_source("ct", folder)
    with pytest.raises(FlapSamError, match="gone does not exist"):
        examine_source("kits19", tmp_path / "gone")
    with pytest.raises(FlapSamError, match="no site 'West', it has North, South"):
        examine_source("decathlon", folder, ["West"])
    (folder / "sites.csv").unlink()
    with pytest.raises(FlapSamError, match=r"sites\.csv cannot be read"):
        examine_source("decathlon", folder)


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path / "store", "A", {"a1": ("train", (7, 5, 6)), "a2": ("test", (4, 8, 3))})
    make_store(tmp_path / "store", "B", {"b1": ("train", (3, 6, 6)), "b2": ("validation", (2, 5, 9))})
    return tmp_path / "store"


def array_file(store, case, kind="image"):
    return store / case[0].upper() / "arrays" / f"{case}.{kind}.npy"


def rewrite(store, case, label):
    """Put another mask into the store, with its checksum."""
    manifest = read_manifest(store / case[0].upper() / "manifest.json")
    cases = [
        write_case(store / manifest.site / ARRAYS, old, np.load(array_file(store, case)), label, manifest.recipe)
        if old.id == case
        else old
        for old in manifest.cases
    ]
    write_manifest(store, manifest.model_copy(update={"cases": tuple(cases)}))


def test_a_sound_store(store):
    report = examine_store(store)
    assert not report.failed
    assert report.findings == ()
    assert report.classes == ("kidney", "tumour")
    assert [site.whole for site in report.sites] == [
        {"train": 1, "validation": 0, "test": 1},
        {"train": 1, "validation": 1, "test": 0},
    ]
    assert report.sites[0].ranges["lowest"] == Range(-100.0, -100.0, -100.0)
    assert report.sites[0].ranges["slices"] == Range(5.5, 4.0, 7.0)
    assert report.sites[0].ranges["slice_mm"] == Range(5.0, 5.0, 5.0)
    assert len(report.pictures) == 4


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_changed_byte_in_an_array_file(store, kind):
    path = array_file(store, "a2", kind)
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 3
    path.write_bytes(content)
    sentence = only(examine_store(store), "error", "A", "a2")
    assert sentence.startswith(f"{path} has the SHA-256")
    assert "changed after its preparation" in sentence


def test_broken_and_missing_arrays_are_named_once(store):
    truncate(array_file(store, "a1"))
    array_file(store, "b2", "label").unlink()
    report = examine_store(store)
    assert findings(report) == [("error", "A", "a1"), ("error", "B", "b2")]
    assert [shown.case for shown in report.pictures] == ["a2", "b1"]


def test_masks_of_a_store(store):
    label = np.zeros((4, 8, 3), np.uint8)
    rewrite(store, "a2", label)
    assert "mask is empty" in only(examine_store(store), "warning", "A", "a2")
    label[0, 0, 0] = 3
    rewrite(store, "a2", label)
    assert "holds the label 3, expected 0 to 2" in only(examine_store(store), "error", "A", "a2")


def test_the_same_scan_at_two_sites_of_a_store(store):
    """Sites clip differently, so its image differs; its mask does not."""
    label = np.ones((2, 5, 9), np.uint8)
    rewrite(store, "b2", label)
    twin = write_case(store / "C" / ARRAYS, draft("c1", "train", label.shape), label.astype(np.uint16), label, RECIPE)
    write_manifest(store, manifest_of("C", [twin]))
    assert "that of b2, site B, validation" in only(examine_store(store), "error", "C", "c1")


def test_sites_that_training_would_refuse(store):
    (store / "B" / "manifest.json").unlink()
    shutil.copytree(store / "A", store / "D")
    make_store(store, "E", {"e1": ("train", (1, 4, 4))})
    write_manifest(store, manifest_of("E", [], RECIPE.model_copy(update={"classes": ("liver",)})))
    (store / "F" / "arrays").mkdir(parents=True)
    (store / "F" / "manifest.json").write_text("{")
    report = examine_store(store)
    sentences = {(finding.site, finding.case): finding.sentence for finding in report.findings if finding.case is None}
    assert "did not finish" in sentences["B", None]
    assert "is the manifest of site 'A'" in sentences["D", None]
    assert "not a readable manifest" in sentences["F", None]
    assert {finding.case for finding in report.findings if finding.site == "D"} == {None, "a1", "a2"}
    of_e = [finding.sentence for finding in report.findings if finding.site == "E"]
    assert "lists no training case" in of_e[0]
    assert "The classes are liver, but those of site A are kidney, tumour" in of_e[1]
    assert report.sites[1].ranges == {}


def test_what_is_no_store(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(FlapSamError, match="holds no prepared site"):
            examine_store(path)


@pytest.fixture
def scans(tmp_path):
    """Five scans of noise and two organs in one site of the layout pairs; the first four train."""
    folder = tmp_path / "pairs"
    for k in range(5):
        write_scan(folder, k)
    lines = [f"c{k},A,{'train' if k < 4 else 'test'}" for k in range(5)]
    (folder / "sites.csv").write_text("\n".join(["case,site,split", *lines]) + "\n")
    return folder


def write_scan(folder, k, change=lambda image: image, affine=GRID, label=None, seed=None):
    """A scan with an organ where its number says; its image changed at last."""
    own = np.zeros((12, 11, 9), np.uint8)
    own[3:6, 2 + k : 6 + k, 2:7] = 1
    image = np.random.default_rng(100 + k if seed is None else seed).normal(0, 20, own.shape) + 120 * own
    save(folder / "images" / f"c{k}.nii.gz", change(np.rint(image)).astype(np.int16), affine)
    save(folder / "labels" / f"c{k}.nii.gz", own if label is None else label, affine)


def test_a_sound_site_of_scans(scans):
    assert examine_source("pairs", scans).findings == ()


CHANGED = {"higher": lambda a: a + 1024, "ten times": lambda a: a * 10, "lower": lambda a: a - 3000}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("case", [0, 4])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_scan_of_other_intensities(scans, tmp_path, change, case, prepared):
    """Also where the store has laid every scan on its own range."""
    write_scan(scans, case, change)
    if prepared:
        prepare("pairs", scans, tmp_path / "store", workers=1)
    report = examine_store(tmp_path / "store") if prepared else examine_source("pairs", scans)
    assert not report.failed
    assert re.search("intensities (begin|end) at|labelled voxels", only(report, "warning", "A", f"c{case}"))


def test_a_site_that_has_lost_its_intercept_is_told_from_another(scans):
    for k in (1, 3):
        write_scan(scans, k, lambda a: a + 1024)
    lines = [f"c{k},{'North' if k in (1, 3) else 'South'},train" for k in range(5)]
    (scans / "sites.csv").write_text("\n".join(["case,site,split", *lines]) + "\n")
    report = examine_source("pairs", scans)
    assert findings(report) == [("warning", "North", "c1"), ("warning", "North", "c3")]
    assert "HU + 1024" in report.findings[0].sentence


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.diag((0.5, 0.5, 4.0, 1)), "slices 4 mm apart"),
        (np.diag((1.0, 0.5, 2.0, 1)), "columns 1 mm apart"),
        (np.diag((1.0, 1.0, 4.0, 1)), "mm apart"),
        (GRID * (-1, 1, 1, 1), "orientation LAS, 4 of the site's 5 cases in RAS"),
        (GRID[[2, 1, 0, 3]], "orientation"),
    ],
)
def test_a_scan_of_another_grid(scans, affine, word):
    write_scan(scans, 2, affine=affine)
    found = examine_source("pairs", scans).findings
    assert {(finding.severity, finding.case) for finding in found} == {("warning", "c2")}
    assert any(word in finding.sentence for finding in found)


def test_files_in_several_orientations_are_one_warning(scans):
    for k in (0, 1):
        write_scan(scans, k, affine=GRID * (-1, 1, 1, 1))
    assert "(3 RAS, 2 LAS)" in only(examine_source("pairs", scans), "warning", "A", None)


def test_copies_and_twins_are_told_apart(scans):
    """A copy; the image with another mask; the mask with another image; the image with other intensities."""
    label = np.asarray(nib.load(scans / "labels" / "c0.nii.gz").dataobj)

    def sentence(**how):
        write_scan(scans, 4, **how)
        (error,) = (f for f in examine_source("pairs", scans).findings if f.severity == "error")
        assert error.case == "c4"
        return error.sentence

    assert sentence(seed=100, change=lambda _: raw(scans, 0), label=label).startswith("This is a copy")
    assert "with another mask" in sentence(change=lambda _: raw(scans, 0))
    assert "but the image is another" in sentence(label=label)
    noisy = raw(scans, 0) * 0.9 + np.random.default_rng(5).normal(0, 2, label.shape)
    assert "but for its intensities also that of c0" in sentence(change=lambda _: noisy)


def raw(scans, k):
    return np.asarray(nib.load(scans / "images" / f"c{k}.nii.gz").dataobj)


def test_some_slices_of_another_scan(scans):
    whole, mask = raw(scans, 0), np.asarray(nib.load(scans / "labels" / "c0.nii.gz").dataobj)
    save(scans / "images" / "c4.nii.gz", whole[:, :, 2:], GRID)
    save(scans / "labels" / "c4.nii.gz", mask[:, :, 2:], GRID)
    assert "7 of the image's 7 slices are also those of c0" in only(examine_source("pairs", scans), "error", "A", "c4")


def test_one_patient_by_the_names_of_its_cases(scans):
    names = ["p1_pre", "p1_post", "p2_pre", "p3_ses-2", "p3_ses-1"]
    for k, name in enumerate(names):
        for kind in ("images", "labels"):
            (scans / kind / f"c{k}.nii.gz").rename(scans / kind / f"{name}.nii.gz")
    splits = ["train", "train", "train", "train", "test"]
    lines = [f"{name},A,{split}" for name, split in zip(names, splits, strict=True)]
    (scans / "sites.csv").write_text("\n".join(["case,site,split", *lines]) + "\n")
    assert "of the patient of p3_ses-2" in only(examine_source("pairs", scans), "warning", "A", "p3_ses-1")


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the hippocampus crops are not here")
def test_real_hippocampus_crops_are_sound(tmp_path):
    assert examine_source("decathlon", HIPPOCAMPUS, ["A"]).findings == ()
    prepare("decathlon", HIPPOCAMPUS, tmp_path, ["A"], workers=1)
    report = examine_store(tmp_path)
    assert report.findings == ()
    assert report.sites[0].holding == {"Anterior": 12, "Posterior": 12}


def test_a_layout_where_any_label_counts_and_case_names_return_at_other_sites(tmp_path):
    for n, site in enumerate(("UCL", "HK")):
        scan = np.random.default_rng(n).integers(0, 900, (6, 8, 4))
        save(tmp_path / site / "Case00.nii.gz", scan.astype(np.int16))
        save(tmp_path / site / "Case00_segmentation.nii.gz", np.where(scan > 450, 5, 0).astype(np.uint8))
    report = examine_source("prostate", tmp_path, ["D", "F"])
    assert report.findings == ()
    assert [site.holding for site in report.sites] == [{"prostate": 1}] * 2
