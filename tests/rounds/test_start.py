# SPDX-License-Identifier: Apache-2.0
"""A run that starts from a payload: which file, which checks, and that the sites are still measured."""

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.records import run_record
from flap_sam.records.results import BEST, PAYLOAD_FILES
from flap_sam.rounds.start import Start
from flap_sam.sam.build import build
from flap_sam.wire import payload
from flap_sam.wire.encoding import FLOATS
from flap_sam.wire.form import is_in_form_of_round, turning_pairs
from flap_sam.wire.messages import TASK_TRAIN
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.federation.test_controller import SITES, THREE, Federation, plain, reporting

__all__ = ["plain"]


def laid_out(tmp_path, experiment: Experiment, monkeypatch, value: float = 100.0, **notes) -> dict[str, torch.Tensor]:
    """A payload of constants in the operator's folder, and the tensors in it."""
    monkeypatch.setenv("FLAP_SAM_PAYLOADS", str(tmp_path / "payloads"))
    tensors = {name: torch.full(shape, value) for name, shape in payload.sent(experiment).items()}
    payload.write(tmp_path / "payloads/a.safetensors", tensors, experiment, {"frozen": "frozen", **notes})
    return tensors


def test_round_0_starts_from_a_payload(plain, tmp_path, monkeypatch):
    """It is sent to all, scored, and is the best where nothing is better; another run may have trained it otherwise."""
    monkeypatch.setattr("tests.federation.test_controller.VALIDATION", [0.9, 0.6, 0.4])
    tensors = laid_out(tmp_path, plain.changed(seed=1, rounds=5, learning_rate=1e-4), monkeypatch)
    federation = Federation(plain, tmp_path, start="a.safetensors")
    assert federation.panics == []
    assert federation.asked[0] == (TASK_TRAIN, 0, list(SITES))
    assert all(torch.equal(federation.received[0][name], tensors[name]) for name in tensors)
    best = payload.read(tmp_path / "results" / PAYLOAD_FILES[BEST])
    assert (best.notes["round"], best.notes["validation_dice"]) == (0, 0.9)
    assert all(torch.equal(best.tensors[name], tensors[name]) for name in tensors)
    assert run_record.read(tmp_path / "results").attempts[0].policy["start"] == "a.safetensors"


def test_the_first_updates_are_measured_from_the_start(plain, tmp_path, monkeypatch):
    numbers = sum(tensor.numel() for tensor in laid_out(tmp_path, plain, monkeypatch).values())
    federation = Federation(plain, tmp_path, start="a.safetensors")
    changes = {site: r["change"] for site, r in federation.rounds(tmp_path)[0]["sites"].items()}
    for site, slices in SITES.items():
        assert changes[site] == pytest.approx((100.0 - slices) * numbers**0.5, rel=1e-5)


def test_sites_that_do_not_fit_the_start_are_refused(plain, tmp_path, monkeypatch):
    laid_out(tmp_path, plain, monkeypatch)
    odd = reporting("frozen_digest", "other", "site-2")
    federation = Federation(plain, tmp_path, odd, THREE, min_sites=1, start="a.safetensors")
    sentence = "its frozen weights are not those that the start a.safetensors was trained on"
    assert [sentence in r["refused"]["site-2"] for r in federation.rounds(tmp_path)] == [True, False]
    assert "started from other weights than most" in federation.rounds(tmp_path)[1]["refused"]["site-2"]
    everywhere = Federation(
        plain, tmp_path / "all", reporting("frozen_digest", "other", *THREE), THREE, start="a.safetensors"
    )
    assert sentence in everywhere.panics[0]


def test_a_start_that_cannot_be_used_ends_the_job_before_anything_is_asked(plain, tmp_path, monkeypatch):
    laid_out(tmp_path, plain, monkeypatch)
    federation = Federation(plain, tmp_path, start="b.safetensors")
    assert "b.safetensors cannot be read" in federation.panics[0]
    assert federation.asked == []


@pytest.mark.parametrize("entry", ["start_digest", "frozen_digest"])
def test_a_start_takes_nothing_from_the_measure_of_the_sites(plain, tmp_path, monkeypatch, entry):
    """With a payload that does not say what it was trained on too: most sites are the measure."""
    laid_out(tmp_path, plain, monkeypatch, frozen=None)
    federation = Federation(
        plain, tmp_path, reporting(entry, "other", "site-2"), THREE, min_sites=1, start="a.safetensors"
    )
    assert all("other weights than most sites" in r["refused"]["site-2"] for r in federation.rounds(tmp_path))


OTHERWISE = {
    "backbone": {"backbone": "vit_b"},
    "image_size": {"image_size": 48},
    "classes": {"classes": 3},
    "method": {"method": "loraft"},
    "adapter": {"adapter": "dora"},
    "rank": {"rank": 8},
    "alpha": {"alpha": 2.0},
}


@pytest.mark.parametrize("setting", OTHERWISE)
def test_a_payload_of_another_form_is_refused_by_the_setting(small, tmp_path, monkeypatch, setting):
    laid_out(tmp_path, small, monkeypatch)
    job = small.changed(**OTHERWISE[setting])
    there, here = getattr(small, setting), getattr(job, setting)
    sentence = f"start a.safetensors was trained with {setting} {there!r}, the job has {here!r}; change the job"
    with pytest.raises(FlapSamError, match=sentence):
        Start.read(tmp_path / "payloads", "a.safetensors", job)


@pytest.mark.parametrize("payload_dtype", ["float32", "float16", "bfloat16", "int8"])
def test_what_the_job_leaves_to_the_sites_is_the_payloads(small, tmp_path, monkeypatch, payload_dtype):
    """And the numbers are those that the sites will get."""
    tensors = laid_out(tmp_path, small, monkeypatch, value=0.1)
    job = small.changed(backbone="auto", image_size=None, payload_dtype=payload_dtype, seed=3, rounds=7)
    found = Start.read(tmp_path / "payloads", "a.safetensors", job)
    assert found.experiment == job.changed(backbone="vit_tiny", image_size=32)
    sent = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(payload_dtype, torch.float16)
    for name, tensor in tensors.items():
        assert torch.equal(found.tensors[name], tensor.to(sent).float())
    found.check(found.experiment, "frozen")
    with pytest.raises(
        FlapSamError, match=r"it runs vit_tiny at 48 px, but the start a\.safetensors is for vit_tiny at 32"
    ):
        found.check(found.experiment.changed(image_size=48), "frozen")


def test_a_payload_of_a_version_that_did_not_note_it_fits_any_weights(small, tmp_path, monkeypatch):
    laid_out(tmp_path, small, monkeypatch, frozen=None)
    found = Start.read(tmp_path / "payloads", "a.safetensors", small)
    found.check(found.experiment, "any")


def damages() -> st.SearchStrategy:
    return st.sampled_from(["missing", "extra", "shape", "dtype", "nan", "inf", "cut", "foreign", "no notes"])


@given(damage=damages(), place=st.integers(0, 10))
def test_a_damaged_payload_is_refused(tmp_path_factory, damage, place):
    job = Experiment(backbone="vit_tiny", image_size=32, method="pdecft")
    folder = tmp_path_factory.mktemp("payloads")
    tensors = {name: torch.zeros(shape) for name, shape in payload.sent(job).items()}
    path, name = folder / "a.safetensors", list(tensors)[place % len(tensors)]
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        tensors["extra"] = torch.zeros(1)
    elif damage == "shape":
        tensors[name] = tensors[name].flatten()[:-1]
    elif damage == "dtype":
        tensors[name] = tensors[name].half()
    elif damage in ("nan", "inf"):
        tensors[name].view(-1)[-1] = float(damage)
    payload.write(path, tensors, job, {"frozen": "frozen"})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: 100 * place])
    elif damage == "foreign":
        save_file(load_file(path), path)
    elif damage == "no notes":
        save_file(load_file(path), path, {"format": f"{payload.KIND} {payload.VERSION}", "experiment": job.to_json()})
    with pytest.raises(FlapSamError, match=r"payload is refused|Payload .*a\.safetensors"):
        Start.read(folder, "a.safetensors", job)


def test_a_server_that_names_no_folder_starts_from_no_payload(small):
    with pytest.raises(FlapSamError, match=r"may set `payloads` in its flap_site.json, or FLAP_SAM_PAYLOADS"):
        Start.read(None, "a.safetensors", small)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("strategy", ["alternate", "fedsvd"])
def test_a_start_is_split_as_the_first_round_needs_it(small, tmp_path, strategy, dtype):
    """Whatever strategy left it: the change is the same, and A is orthonormal."""
    generator = torch.Generator().manual_seed(0)
    tensors = {n: 0.1 * torch.randn(shape, generator=generator) for n, shape in payload.sent(small).items()}
    payload.write(tmp_path / "a.safetensors", tensors, small, {"frozen": "frozen"})
    job = small.changed(strategy=strategy, payload_dtype=dtype)
    start = Start.read(tmp_path, "a.safetensors", job)
    pairs = turning_pairs(build(job), job)
    assert is_in_form_of_round(start.tensors, job, pairs, 0, FLOATS[dtype])
    assert not is_in_form_of_round(tensors, job, pairs, 0, FLOATS[dtype])
    for a, b in pairs:
        change = start.tensors[b] @ start.tensors[a]
        torch.testing.assert_close(change, tensors[b] @ tensors[a], rtol=0, atol=1e-3 if dtype == "float16" else 1e-6)
