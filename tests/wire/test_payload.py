# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table
from flap_sam.wire import payload
from safetensors import safe_open
from safetensors.torch import save_file


@pytest.fixture
def tensors(small):
    return {name: torch.randn(shape) for name, shape in payload.sent(small).items()}


@pytest.mark.parametrize(
    ("method", "adapter"),
    [("flap_sam", "lora"), ("flap_sam", "dora"), ("flap_sam", "mole"), ("masam", "lora"), ("fullft", "lora")],
)
def test_the_template_is_what_the_network_sends(small, method, adapter):
    experiment = small.changed(method=method, adapter=adapter)
    network, _, _ = network_for(experiment, None)
    state = network.state_dict()
    tensors = parameter_table(network, method)
    assert payload.sent(experiment) == {t.name: tuple(state[t.name].shape) for t in tensors if t.sent}


def test_a_file_keeps_every_bit_and_the_experiment(small, tensors, tmp_path):
    path = tmp_path / "global.safetensors"
    payload.write(path, tensors, small, {"round": 3})
    file = payload.read(path)
    again, experiment = file.tensors, file.experiment
    assert experiment == small
    assert list(again) == list(tensors)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert [p.name for p in tmp_path.iterdir()] == ["global.safetensors"]


def faults(tensors):
    first, second = list(tensors)[:2]
    yield "missing", {k: v for k, v in tensors.items() if k != second}, second
    yield "shape", {**tensors, second: torch.zeros(3, 3)}, second
    yield "float16", {**tensors, second: tensors[second].half()}, second
    yield "NaN", {**tensors, second: torch.full_like(tensors[second], float("nan"))}, second
    yield "infinity", {**tensors, second: torch.full_like(tensors[second], float("inf"))}, second
    yield "list", {**tensors, second: [1.0]}, second
    yield "not part", {**tensors, "image_encoder.pos_embed": torch.zeros(1)}, "image_encoder.pos_embed"
    yield "first of two", {**tensors, second: torch.zeros(1), first: torch.zeros(1)}, first
    yield "sparse", {**tensors, second: tensors[second].to_sparse()}, second


def test_the_first_tensor_that_differs_is_named(small, tensors):
    template = payload.types_kept(small)
    for fault, changed, named in faults(tensors):
        with pytest.raises(FlapSamError) as caught:
            payload.check(changed, template)
        assert f"{named} " in str(caught.value), fault
    with pytest.raises(FlapSamError, match="it is NoneType"):
        payload.check(None, template)


def test_a_payload_of_another_experiment_is_refused(small, tensors, tmp_path):
    path = tmp_path / "global.safetensors"
    payload.write(path, tensors, small.changed(rank=8), {})
    with pytest.raises(FlapSamError, match=r"adapter_q\.A has shape"):
        payload.read(path)


def test_a_file_that_is_no_payload_is_refused(small, tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("no")
    with pytest.raises(FlapSamError, match="cannot be read"):
        payload.read(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(FlapSamError, match="has format None"):
        payload.read(path)
    told = {"format": f"{payload.KIND} {payload.VERSION}", "experiment": small.to_json()}
    for notes in ({}, {"notes": "["}, {"notes": "3"}):
        save_file(tensors, path, told | notes)
        with pytest.raises(FlapSamError, match="has no notes"):
            payload.read(path)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("flap-sam payload 2", "it is of version 2 of its format, this flap-sam reads version 1: update flap-sam"),
        ("flap-sam payload 0", "it is of version 0 .* reads version 1: an older flap-sam wrote it"),
        ("flap-sam payload x", "has format 'flap-sam payload x'; expected 'flap-sam payload 1'"),
        ("flap-sam payload -1", "has format"),
        ("flap-sam merged 1", "has format"),
        ("", "has format"),
    ],
)
def test_a_payload_of_another_version_or_kind_is_refused_naming_both(small, tensors, tmp_path, told, sentence):
    path = tmp_path / "x.safetensors"
    payload.write(path, tensors, small, {"round": 3})
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    assert said["format"] == "flap-sam payload 1"
    save_file(tensors, path, said | {"format": told})
    with pytest.raises(FlapSamError, match=f"^Payload {path} .*{sentence}"):
        payload.read(path)
