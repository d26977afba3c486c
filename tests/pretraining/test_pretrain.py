# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.pretraining import pretrain as pretraining
from flap_sam.pretraining.loss import answer_loss, mask_loss, overlap
from flap_sam.pretraining.network import PromptableSam
from flap_sam.pretraining.pretrain import choose, pretrain, rate
from flap_sam.pretraining.prompts import points_for
from flap_sam.pretraining.scenes import draw
from flap_sam.sam.checkpoint import network_for
from safetensors.torch import load_file


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("SCENES", 2), ("ASKED", 2), ("KEPT_EVERY", 2), ("WARMUP", 1)):
        monkeypatch.setattr(pretraining, name, value)


@pytest.mark.usefixtures("quick")
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = load_file(pretrain(tmp_path / "whole.safetensors", 4, 3, lambda _: None))

    def stop(line: str) -> None:
        if line.startswith("step 2 "):
            raise KeyboardInterrupt

    part = tmp_path / "part.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretrain(part, 4, 3, stop)
    assert not part.exists()
    with pytest.raises(FlapSamError, match="is of a run of 4 steps with seed 3"):
        pretrain(part, 5, 3, lambda _: None)
    state = tmp_path / "part.safetensors.state"
    whole_state = state.read_bytes()
    state.write_bytes(whole_state[:5000])
    with pytest.raises(FlapSamError, match=r"part\.safetensors\.state cannot be read"):
        pretrain(part, 4, 3, lambda _: None)
    state.write_bytes(whole_state)
    resumed = load_file(pretrain(part, 4, 3, lambda _: None))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert [path.name for path in tmp_path.glob("part*")] == ["part.safetensors"]


@pytest.mark.usefixtures("quick")
def test_what_is_written_is_a_sam_checkpoint(tmp_path):
    path = pretrain(tmp_path / "tiny.safetensors", 1, 3, lambda _: None)
    network, experiment, report = network_for(Experiment(method="decft"), path)
    assert experiment.backbone == "vit_tiny"
    weights = load_file(path)
    assert torch.equal(network.image_encoder.pos_embed, weights["image_encoder.pos_embed"])
    assert all(name in report.loaded for name in weights if name.startswith(("image_encoder.", "prompt_encoder.")))


@pytest.mark.usefixtures("quick")
def test_every_part_learns():
    network = PromptableSam(1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    for seed in (0, 1):
        pretraining._step(network, optimizer, draw(2, network.side, seed), seed)
    still = [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    several = tuple(f"mask_decoder.output_hypernetworks_mlps.{k}." for k in (1, 2, 3))
    assert all(name.startswith(several) for name in still), "of the answers to a point only the best one learns"


def test_each_prompt_is_answered_on_its_own_image():
    network = PromptableSam(1).eval()
    scenes = draw(2, network.side, 3)
    asked = choose(scenes, torch.Generator().manual_seed(0), asked=3)
    embeddings = network.image_encoder(scenes.images)
    prompts = points_for(asked.masks, torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, expected = network(embeddings[asked.scene], prompts, None)
        assert together.shape == (6, 4, network.side // 4, network.side // 4)
        assert expected.shape == (6, 4)
        own = type(prompts)(prompts.points[4:5], prompts.labels[4:5])
        alone, _ = network(embeddings[asked.scene][4:5], own, None)
    torch.testing.assert_close(together[4:5], alone, rtol=1e-4, atol=1e-5)


def test_masks_that_are_asked_for_are_large_enough():
    asked = choose(draw(5, 64, 2), torch.Generator().manual_seed(0))
    assert (asked.masks.flatten(1).sum(1) >= 16).all()
    torch.testing.assert_close(asked.target.mean((1, 2)), asked.masks.float().mean((1, 2)))


def test_the_loss_is_least_where_the_answer_is_right():
    target = torch.zeros(1, 8, 8)
    target[:, 2:5, 3:7] = 1
    right, wrong = (target - 0.5) * 40, (0.5 - target) * 40
    assert mask_loss(right, target) < 1e-3
    assert mask_loss(wrong, target) > 15
    assert overlap(right, target) == 1
    assert overlap(wrong, target) == 0


def test_of_three_answers_to_a_point_the_best_one_learns():
    target = torch.zeros(2, 8, 8)
    target[:, 2:5, 3:7] = 1
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[0, 2], logits[1, 3] = (target[0] - 0.5) * 9, (target[1] - 0.5) * 9
    logits.requires_grad_()
    loss, best = answer_loss(logits, torch.zeros(2, 4), target, several=False)
    assert best.tolist() == [2, 3]
    (grad,) = torch.autograd.grad(loss, logits)
    assert [(k, g.abs().sum() > 0) for k, g in enumerate(grad[0])] == [(0, False), (1, False), (2, True), (3, False)]
    _, first = answer_loss(logits, torch.zeros(2, 4), target, several=True)
    assert first.tolist() == [0, 0]


def test_the_rate_rises_and_falls_to_nothing():
    rates = [rate(step, 5000) for step in range(5001)]
    assert rates[0] < rates[250] < max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
