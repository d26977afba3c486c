# SPDX-License-Identifier: Apache-2.0
import nibabel as nib
import numpy as np
import pytest
import torch
from flap_sam.commands.tables.evaluation import evaluation_table
from flap_sam.data.store import SiteStore, write_manifest
from flap_sam.errors import FlapSamError
from flap_sam.inference.evaluate import evaluate_masks, evaluate_stores, stores_to_score
from flap_sam.inference.model import Model
from flap_sam.sam.weights import Weights
from flap_sam.training.evaluate import score

from tests.data.volumes import save
from tests.training.networks import Threshold

AXES = np.diag([-0.5, 2.0, 1.0, 1])
UNUSED = Weights("random", None)


def box(shift: int, label: int = 1) -> np.ndarray:
    array = np.zeros((12, 10, 9), np.uint8)
    array[2 + shift : 7 + shift, 3:8, 2:6] = label
    return array


@pytest.fixture
def folders(tmp_path):
    for name, shift in (("a", 0), ("b", 1)):
        save(tmp_path / "truth" / f"{name}.nii.gz", box(0), AXES)
        save(tmp_path / "predicted" / f"{name}_mask.nii.gz", box(shift), AXES)
    return tmp_path / "predicted", tmp_path / "truth"


def test_maps_meet_by_name_and_distances_are_in_millimetres(folders):
    same, shifted = evaluate_masks(*folders, 2, 0.4)
    assert (same.case, same.dice, same.hausdorff, same.surface_dice) == ("a", (1.0, None), (0.0, None), (1.0, None))
    assert shifted.dice[0] == pytest.approx(0.8)
    assert shifted.hausdorff[0] == pytest.approx(0.5), "one voxel along the axis of 0.5 mm"
    assert 0 < shifted.surface_dice[0] < 1
    (alone,) = evaluate_masks(folders[0] / "b_mask.nii.gz", folders[1] / "a.nii.gz", 1, 1.0)
    assert alone.surface_dice == (1.0,), "within a tolerance of 1 mm"


def test_the_table_ends_with_mean_and_spread(folders):
    text = evaluation_table(list(evaluate_masks(*folders, 2, 1.0)), ["organ", "lesion"], 1.0)
    assert "0.900 ± 0.141" in text
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│ ")]
    assert [row[:3] for row in rows[:4]] == [
        ["a", "organ", "segmented"],
        ["a", "lesion", "absent"],
        ["b", "organ", "segmented"],
        ["b", "lesion", "absent"],
    ]
    assert [row[6] for row in rows[:2]] == ["0.10", "0.00"], "100 voxels of 1 mm3"
    assert [(row[0], row[1], row[-3], row[-2]) for row in rows[4:]] == [
        ("organ", "2", "0 of 2", "0 of 0"),
        ("lesion", "0", "0 of 0", "0 of 2"),
    ]


def test_a_missing_map_is_named(folders):
    (folders[0] / "b_mask.nii.gz").unlink()
    with pytest.raises(FlapSamError, match=r"holds no label map of b, .* \(1 of 2 are missing\); expected b_mask"):
        list(evaluate_masks(*folders, 2, 1.0))
    with pytest.raises(FlapSamError, match=r"holds no label map \(\.nii"):
        list(evaluate_masks(folders[0].parent, folders[1], 2, 1.0))


def test_missed_and_false_positive_and_absent_are_told_apart(tmp_path):
    full, none = box(0), box(0) * 0
    for name, true, found in (("a", full, full), ("b", full, none), ("c", none, full), ("d", none, none)):
        save(tmp_path / "truth" / f"{name}.nii.gz", true, AXES)
        save(tmp_path / "predicted" / f"{name}.nii.gz", found, AXES)
    scores = list(evaluate_masks(tmp_path / "predicted", tmp_path / "truth", 1, 1.0))
    assert [s.overlaps[0].outcome for s in scores] == ["segmented", "missed", "false positive", "absent"]
    assert scores[2].false_positive_ml == (pytest.approx(5 * 5 * 4 / 1000),)
    diagonal = np.linalg.norm((12 * 0.5, 10 * 2, 9))
    assert scores[1].hausdorff == (pytest.approx(diagonal),)
    text = evaluation_table(scores, ["organ"], 1.0)
    (means,) = [line for line in text.splitlines() if line.startswith("│ organ") and "±" in line]
    assert [cell.strip() for cell in means.split("│")[1:3]] == ["organ", "2"]
    assert f"{diagonal / 2:.1f} ±" in means
    assert "1 of 2" in means


def test_two_maps_of_one_case_are_refused(folders):
    save(folders[0] / "b.nii.gz", box(0), AXES)
    with pytest.raises(FlapSamError, match="would both be the map of b"):
        list(evaluate_masks(*folders, 2, 1.0))


def test_maps_on_other_grids_or_with_other_labels_are_refused(folders):
    save(folders[0] / "b_mask.nii.gz", box(0))
    with pytest.raises(FlapSamError, match="on one grid"):
        list(evaluate_masks(*folders, 2, 1.0))
    save(folders[0] / "b_mask.nii.gz", box(0, 3), AXES)
    with pytest.raises(FlapSamError, match="holds the label 3, expected only the whole numbers 0 to 2"):
        list(evaluate_masks(*folders, 2, 1.0))


def test_a_payload_is_scored_as_its_sites_score_it(small, store):
    cpu = torch.device("cpu")
    stores = stores_to_score(store, ["C", "A"], small.classes)
    model = Model(Threshold(), small, {}, UNUSED)
    found = list(evaluate_stores(model, stores, 1.5, cpu, "float32"))
    assert [s.case for s in found] == ["C/case_1", "C/case_2", "A/case_2"]
    alone = [s for site in "CA" for s in score(Threshold(), SiteStore.open(store, site), "test", small, cpu, "float32")]
    assert [s.dice for s in found] == [s.dice for s in alone]
    assert all(len(s.surface_dice) == 2 for s in found)


def renamed(store, site, *classes):
    manifest = SiteStore.open(store, site).manifest
    write_manifest(store, manifest.model_copy(update={"classes": classes}))


def test_a_store_of_other_classes_is_refused(store):
    with pytest.raises(FlapSamError, match="has 2 classes, the payload has 3"):
        stores_to_score(store, None, 3)
    renamed(store, "B", "organ", "cyst")
    with pytest.raises(FlapSamError, match=r"B has the classes organ, cyst, .*A has organ, lesion; score them apart"):
        stores_to_score(store, None, 2)
    assert [s.manifest.site for s in stores_to_score(store, ["C", "A"], 2)] == ["C", "A"]


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1e-3), ("micron", 1e3)])
def test_distances_of_maps_in_other_units_are_in_millimetres(folders, unit, scale):
    told = []
    for folder, name, shift in ((folders[0], "b_mask", 1), (folders[1], "b", 0)):
        made = nib.Nifti1Image(box(shift), np.diag([*np.diag(AXES)[:3] * scale, 1]))
        made.header.set_xyzt_units(unit)
        nib.save(made, folder / f"{name}.nii.gz")
    scores = list(evaluate_masks(*folders, 2, 0.4, told.append))
    assert scores[1].hausdorff[0] == pytest.approx(0.5)
    assert [note.split(" is in ")[0] for note in told] == ["note on b: b_mask.nii.gz", "note on b: b.nii.gz"]


def test_what_begins_with_a_dot_is_no_map(folders):
    for folder in folders:
        (folder / "._a.nii.gz").write_bytes(bytes(100))
    assert len(list(evaluate_masks(*folders, 2, 1.0))) == 2
