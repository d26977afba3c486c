# SPDX-License-Identifier: Apache-2.0
import json
import runpy

import nibabel as nib
import numpy as np
import pytest
import torch
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError
from flap_sam.export import bundle
from flap_sam.inference.intensities import Conventions, clipped
from flap_sam.inference.predict import predict
from flap_sam.inference.scans import scans_at
from flap_sam.inference.segment import Segmenter, outputs, write
from monai.bundle import ConfigWorkflow, load, verify_net_in_out

from tests.export.models import NOTE, close, pictures, trained

PERMUTED = np.array([[0, 0, -0.8, 20.0], [0, -0.9, 0, 9.0], [2.5, 0, 0, -30.0], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.1, 1.1, 0, -7.0], [-0.9, 0.1, 0.2, 3.0], [0.1, 0, 3.0, 4.0], [0, 0, 0, 1]])
# MONAI warns of whatever bundle it reads.
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning:monai")


def write_scans(folder):
    """A CT in whole numbers, one in scaled ones, and an MR in fractions: none along the patient, none square."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    ct = rng.integers(-300, 600, (6, 41, 36)).astype(np.int16)
    mr = rng.gamma(2.0, 300.0, (30, 33, 7)).astype(np.float32)
    nib.Nifti1Image(ct, PERMUTED).to_filename(folder / "ct.nii.gz")
    nib.Nifti1Image(mr, OBLIQUE).to_filename(folder / "mr.nii")
    scaled = nib.Nifti1Image(rng.normal(100, 200, (31, 35, 6)), np.diag([1.1, 0.9, 3, 1]))
    scaled.header.set_data_dtype(np.int16)
    scaled.header.set_slope_inter(0.37, -13.1)
    scaled.to_filename(folder / "scaled.nii.gz")
    return folder


def exported(experiment, used, tmp_path):
    model = trained(experiment, tmp_path)
    bundle.write(model, NOTE | {"experiment": model.experiment.to_json()}, used, tmp_path / "bundle")
    return model


def workflow(root, **changes):
    found = ConfigWorkflow(
        config_file=str(root / bundle.INFERENCE),
        meta_file=str(root / bundle.METADATA),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(root),
        device="$torch.device('cpu')",
        **changes,
    )
    found.initialize()
    return found


CASES = {
    "ct": ({}, Conventions(clipped("-80", "300"), ("liver", "tumour"), 0, "")),
    "percentiles": ({"adapter": "dora"}, Conventions(clipped("1%", "99%"), None, 0, "")),
    "windows": ({"normalisation": "window", "adapter": "mole"}, Conventions(clipped("-80", "300"), None, 0, "")),
    "padded": ({"method": "masam"}, Conventions(clipped("-80", "300"), None, 38, "")),
}


@pytest.mark.parametrize(("settings", "used"), CASES.values(), ids=CASES)
def test_the_bundle_writes_our_masks(small, tmp_path, settings, used):
    model = exported(small.changed(**settings), used, tmp_path)
    scans = write_scans(tmp_path / "scans")
    run = workflow(tmp_path / "bundle", dataset_dir=str(scans), output_dir=str(tmp_path / "masks"))
    run.run()
    run.finalize()
    ours = Segmenter(model, used, torch.device("cpu"), "float32")
    for scan in ("ct.nii.gz", "mr.nii", "scaled.nii.gz"):
        volume, name = read_volume(scans / scan), scan.split(".")[0]
        expected = outputs(tmp_path / "ours", name, 2, probabilities=False)
        write(expected, volume, ours.segment(volume))
        found, wanted = nib.load(tmp_path / "masks" / f"{name}_mask.nii.gz"), nib.load(expected[0])
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(wanted.dataobj))
        np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-6)
        assert found.get_data_dtype() == np.uint8
        assert len(np.unique(np.asarray(found.dataobj))) > 1


@pytest.mark.parametrize("method", ["flap_sam", "masam"])
def test_monai_loads_the_network_and_finds_it_as_the_metadata_says(small, tmp_path, method):
    used = Conventions(clipped("-80", "300"), ("liver", "tumour"), 0, "")
    model = exported(small.changed(method=method), used, tmp_path)
    root = tmp_path / "bundle"
    network = load("bundle", bundle_dir=str(tmp_path), workflow_type="inference", source="github", device="cpu")
    windows = pictures(2, 1, 5, 32, 32)
    with torch.no_grad():
        expected = model.network(windows[:, 0]).transpose(1, 2)
        close(network.eval()(windows), expected)
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(root / bundle.METADATA),
        config_file=str(root / bundle.INFERENCE),
        device="cpu",
    )
    found = workflow(root)
    assert found.check_properties() == []
    assert found.channel_def == {"0": "background", "1": "liver", "2": "tumour"}
    weights = torch.load(root / bundle.WEIGHTS, weights_only=True)
    assert set(weights) == set(network.state_dict())


def test_the_command_that_the_card_gives(small, tmp_path, monkeypatch):
    exported(small, Conventions(clipped("-80", "300"), None, 0, ""), tmp_path)
    scans = write_scans(tmp_path / "scans")
    words = ["run", "--config_file", bundle.INFERENCE, "--bundle_root", "."]
    card = (tmp_path / "bundle" / bundle.CARD).read_text()
    assert " ".join(["python -m monai.bundle", *words]) in card
    folders = ["--dataset_dir", str(scans), "--output_dir", str(tmp_path / "masks")]
    monkeypatch.chdir(tmp_path / "bundle")
    monkeypatch.setattr("sys.argv", ["monai.bundle", *words, *folders])
    runpy.run_module("monai.bundle", run_name="__main__")
    masks = sorted(file.name for file in (tmp_path / "masks").iterdir())
    assert masks == ["ct_mask.nii.gz", "mr_mask.nii.gz", "scaled_mask.nii.gz"]


def test_nothing_of_a_payload_is_evaluated(small, tmp_path):
    mark = tmp_path / "mark"
    dataset = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    exported(small.changed(dataset=dataset), Conventions(clipped("0", "9"), None, 0, ""), tmp_path)
    found = workflow(tmp_path / "bundle")
    found.parser.get_parsed_content("network_def")
    found.parser.get_parsed_content("_meta_")
    assert not mark.exists()
    assert dataset in json.loads((tmp_path / "bundle" / bundle.METADATA).read_text())["flap_sam"]["experiment"]


def test_a_class_name_that_monai_would_evaluate_is_refused(small, tmp_path):
    with pytest.raises(FlapSamError, match=r"class name '\$print\(1\)' would be evaluated"):
        exported(small, Conventions(clipped("0", "9"), ("$print(1)", "tumour"), 0, ""), tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_a_folder_without_scans_is_an_error(small, tmp_path):
    exported(small, Conventions(clipped("0", "9"), None, 0, ""), tmp_path)
    (tmp_path / "empty").mkdir()
    found = workflow(tmp_path / "bundle", dataset_dir=str(tmp_path / "empty"))
    with pytest.raises(RuntimeError) as problem:
        found.run()
    assert str(tmp_path / "empty") in str(cause(problem.value))


def cause(problem):
    while problem.__cause__:
        problem = problem.__cause__
    return problem


def masks_of_predict(model, used, scans, folder):
    """What `predict` writes, by name, and the sentences on what it could not."""
    segmenter = Segmenter(model, used, torch.device("cpu"), "float32")
    done = list(predict(segmenter, scans_at(scans).scans, folder))
    return {p.name: folder / f"{p.name}_mask.nii.gz" for p in done if not p.error}, [p.error for p in done if p.error]


@pytest.mark.parametrize("settings", [{}, {"method": "masam"}, {"normalisation": "window"}], ids=str)
def test_scans_of_few_slices_and_of_no_use_come_out_as_of_predict(small, tmp_path, settings):
    """Of one slice, along each axis of the file; and scans that cannot be read, before, between and after."""
    used = Conventions(clipped("1%", "99%"), None, 0, "")
    model = exported(small.changed(**settings), used, tmp_path)
    scans, rng = tmp_path / "scans", np.random.default_rng(3)
    scans.mkdir()
    for k, affine in enumerate((np.diag([1.0, 1, 3, 1]), PERMUTED, OBLIQUE)):
        along = int(np.argmax(np.abs(affine[2, :3])))
        for slices in (1, 2):
            shape = np.insert([31, 26], along, slices)
            nib.Nifti1Image(rng.integers(0, 900, shape, np.int16), affine).to_filename(scans / f"b{k}_{slices}.nii.gz")
    nib.Nifti1Image(np.full((9, 8, 7), 5, np.int16), np.eye(4)).to_filename(scans / "a_constant.nii.gz")
    (scans / "b0_3_truncated.nii.gz").write_bytes((scans / "b0_2.nii.gz").read_bytes()[:-50])
    (scans / "z_none.nii").write_bytes(b"")
    wanted, errors = masks_of_predict(model, used, scans, tmp_path / "ours")
    assert (len(wanted), len(errors)) == (6, 3)
    run = workflow(tmp_path / "bundle", dataset_dir=str(scans), output_dir=str(tmp_path / "masks"))
    with pytest.raises(RuntimeError) as problem:
        run.run()
    told = str(cause(problem.value))
    assert told.startswith("3 of 9 scans have no mask. ")
    assert all(error in told for error in errors)
    assert sorted(file.name for file in (tmp_path / "masks").iterdir()) == [f"{name}_mask.nii.gz" for name in wanted]
    for name, ours in wanted.items():
        theirs = nib.load(tmp_path / "masks" / f"{name}_mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(theirs.dataobj), np.asarray(nib.load(ours).dataobj))
        np.testing.assert_array_equal(theirs.affine, nib.load(ours).affine)
