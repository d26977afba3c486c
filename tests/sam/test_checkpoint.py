# SPDX-License-Identifier: Apache-2.0
import pickle
import random

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import sha256
from flap_sam.sam.build import BACKBONES
from flap_sam.sam.checkpoint import frozen_digest, network_for, read, start_digest
from flap_sam.sam.methods import UNUSED, parameter_table
from safetensors.torch import save_file
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

from tests.sam.mapping import is_mapped


@pytest.fixture
def sam_state(small):
    """A file's worth of SAM at another image size, with SAM's own 4x decoder and 4 masks."""
    network, _, _ = network_for(small.changed(method="fullft", image_size=96, seed=99), None)
    state = {name: t for name, t in network.state_dict().items() if not name.startswith("mask_decoder.output")}
    sizes = BACKBONES["vit_tiny"]
    transformer = TwoWayTransformer(2, sizes.prompt_width, sizes.decoder_heads, sizes.decoder_mlp)
    theirs = MaskDecoder(transformer_dim=sizes.prompt_width, transformer=transformer).state_dict()
    state |= {f"mask_decoder.{name}": t for name, t in theirs.items() if name.startswith(("output", "iou", "mask"))}
    return {name: t.contiguous() for name, t in state.items()}


@pytest.fixture
def sam_file(sam_state, tmp_path):
    torch.save(sam_state, tmp_path / "sam.pth")
    return tmp_path / "sam.pth"


def test_every_tensor_is_loaded_resized_or_started_anew(small, sam_file, sam_state):
    network, experiment, report = network_for(small.changed(backbone="auto", classes=3), sam_file)
    assert experiment.backbone == "vit_tiny"
    state = network.state_dict()
    assert sorted([*report.loaded, *report.resized, *report.started_anew]) == sorted(state)
    assert all(torch.equal(state[name], sam_state[name]) for name in report.loaded)
    global_layers = BACKBONES["vit_tiny"].global_attention
    tables = [f"image_encoder.blocks.{i}.attn.rel_pos_{axis}" for i in global_layers for axis in "hw"]
    assert sorted(report.resized) == sorted(["image_encoder.pos_embed", *tables])
    up = "mask_decoder.output_upscaling"
    assert {f"{up}.0.weight", f"{up}.1.weight", f"{up}.3.weight"} <= set(report.loaded)
    anew = ("mask_decoder.mask_tokens.weight", "mask_decoder.output_hypernetworks_mlps.0.layers.0.weight")
    assert {*anew, f"{up}.6.weight"} <= set(report.started_anew), "of the same shape as SAM's, but started anew"


def test_safetensors_give_the_same_network(small, sam_file, sam_state, tmp_path):
    save_file(sam_state, tmp_path / "sam.safetensors")
    first, _, _ = network_for(small, sam_file)
    second, _, _ = network_for(small, tmp_path / "sam.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_the_weights_are_mapped_not_read(small, sam_file):
    network, _, _ = network_for(small.changed(image_size=96), sam_file)
    assert is_mapped(network.image_encoder.blocks[0].mlp.lin1.weight, str(sam_file))


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def broken_files(folder, sam_state):
    yield folder / "absent.pth", "there is no such file"
    whole = folder / "whole.pth"
    torch.save(sam_state, whole)
    cut = folder / "cut.pth"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    yield cut, "cut off"
    text = folder / "text.pth"
    text.write_text("<html>not found</html>")
    yield text, "not a PyTorch file"
    plain_pickle = folder / "pickle.pth"
    plain_pickle.write_bytes(pickle.dumps(Evil()))
    yield plain_pickle, "not a PyTorch file"
    evil = folder / "evil.pth"
    torch.save({"image_encoder.pos_embed": Evil()}, evil)
    yield evil, "other than tensors"
    listed = folder / "list.pth"
    torch.save([torch.zeros(3)], listed)
    yield listed, "other than named tensors"
    other = folder / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, other)
    yield other, "not SAM's"
    odd = folder / "odd.pth"
    torch.save({"image_encoder.patch_embed.proj.bias": torch.zeros(5)}, odd)
    yield odd, "width 5 and depth 0"
    damaged = folder / "cut.safetensors"
    save_file(sam_state, damaged)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    yield damaged, "damaged"


def test_files_that_are_not_sams_are_refused_in_one_sentence(small, sam_state, tmp_path, capsys):
    for path, cause in broken_files(tmp_path, sam_state):
        with pytest.raises(FlapSamError, match=cause) as caught:
            network_for(small, path)
        assert str(path) in str(caught.value)
        assert caught.value.reason == Reason.CHECKPOINT
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_a_missing_and_a_misshapen_tensor_are_named(small, sam_state, tmp_path):
    name = "image_encoder.blocks.1.mlp.lin1.weight"
    for change, cause in ((None, "missing"), (torch.zeros(3, 4), r"of shape \[3, 4\]")):
        state = {**sam_state, name: change} if change is not None else {k: t for k, t in sam_state.items() if k != name}
        torch.save(state, tmp_path / "sam.pth")
        with pytest.raises(FlapSamError, match=f"{name} is {cause}"):
            network_for(small, tmp_path / "sam.pth")


def test_another_backbone_than_the_experiments_is_refused(small, sam_file):
    with pytest.raises(FlapSamError, match="holds vit_tiny; the experiment wants vit_b"):
        network_for(small.changed(backbone="vit_b"), sam_file)


def test_without_a_checkpoint_a_named_backbone_keeps_its_own_image_size():
    _, experiment, report = network_for(Experiment(backbone="vit_b", method="pdecft"), None)
    assert (experiment.backbone, experiment.image_size) == ("vit_b", 224)
    assert report.loaded == []


def test_a_pin_must_match(small, sam_file):
    network_for(small, sam_file, pin=sha256(sam_file).upper())
    with pytest.raises(FlapSamError, match="the site pins 00"):
        network_for(small, sam_file, pin="00" * 32)


def test_resizing_is_bilinear(small, sam_state, sam_file):
    network, _, _ = network_for(small, sam_file)
    source = sam_state["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(source, size=(2, 2), mode="bilinear").permute(0, 2, 3, 1)
    torch.testing.assert_close(network.image_encoder.pos_embed.data, expected)
    assert read(sam_file).keys() == sam_state.keys()


def test_a_pin_without_a_file_is_refused():
    with pytest.raises(FlapSamError, match="pins its checkpoint's sha256 and asks for random weights"):
        network_for(Experiment(), None, "ab" * 32)


def digests(experiment: Experiment, path) -> tuple[str, str]:
    """Of a network's start and of what stays frozen in it."""
    network, resolved, _ = network_for(experiment, path)
    return start_digest(network, resolved), frozen_digest(network, resolved)


def test_more_rounds_start_from_the_same_network(small, sam_file):
    assert digests(small, sam_file) == digests(small.changed(rounds=9), sam_file)
    assert digests(small, sam_file)[0] != digests(small.changed(learning_rate=1e-4), sam_file)[0]


@pytest.mark.parametrize("method", ["attnft", "decft", "pdecft", "loraft", "loradecft", "flap_sam"])
def test_what_stays_frozen_is_every_tensor_that_a_step_reads_and_none_changes(small, sam_file, method):
    network, experiment, _ = network_for(small.changed(method=method), sam_file)
    stated = {t.name: t for t in parameter_table(network, method)}
    before, state = frozen_digest(network, experiment), network.state_dict()
    for name in random.Random(method).sample(sorted(state), 25):
        kept = state[name].clone()
        state[name] += 1
        counts = name not in stated or not (stated[name].trained or stated[name].group in UNUSED)
        assert (frozen_digest(network, experiment) != before) == counts, name
        state[name].copy_(kept)
    assert frozen_digest(network, experiment) == before


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({}, True),
        ({"method": "decft"}, True),
        ({"strategy": "alternate"}, True),
        ({"strategy": "fedsvd"}, True),
        ({"method": "loraft"}, False),
        ({"strategy": "freeze-a"}, False),
    ],
)
def test_a_payload_fits_another_seed_where_all_that_is_drawn_travels(small, sam_file, settings, fits):
    """Under `loraft` the heads stay as drawn, under `freeze-a` every A."""
    job = small.changed(**settings)
    assert (digests(job, sam_file)[1] == digests(job.changed(seed=8, learning_rate=1e-4), sam_file)[1]) == fits
