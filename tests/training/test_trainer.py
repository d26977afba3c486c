from dataclasses import replace

import pytest
import torch
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import statement
from flap_sam.training.trainer import Trainer


def trainer(experiment, store, site="B") -> Trainer:
    network, experiment, _ = network_for(experiment, None)
    windows = Windows(SiteStore.open(store, site), experiment.image_size)
    return Trainer(network, experiment, windows, torch.device("cpu"), "float32")


def test_training_moves_what_trains_and_nothing_else(small, store):
    subject = trainer(small, store)
    before = {name: p.clone() for name, p in subject.network.named_parameters()}
    result = subject.train(0)
    assert result.steps == 3, "7 windows in batches of 3"
    moved = {name for name, p in subject.network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {t.name for t in statement(subject.network, small.method) if t.used}
    assert all(p.grad is None for p in subject.network.parameters() if not p.requires_grad)


def test_the_loss_falls(small, store):
    subject = trainer(replace(small, local_epochs=8), store)
    first = subject.train(0).loss
    assert subject.train(1).loss < 0.9 * first


def test_two_rounds_in_one_process_are_two_rounds_in_two(small, store, tmp_path):
    small = replace(small, adapter="mole")
    together = trainer(small, store)
    together.train(0)
    middle = together.payload()
    together.save(tmp_path / "state.safetensors")
    together.train(1)

    apart = trainer(small, store)
    apart.restore(tmp_path / "state.safetensors")
    apart.receive(middle)
    apart.train(1)
    for (name, a), b in zip(together.network.named_parameters(), apart.network.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_gates_stay_at_home_and_are_kept(small, store, tmp_path):
    subject = trainer(replace(small, adapter="mole"), store)
    subject.train(0)
    assert not any("gate" in name for name in subject.payload())
    gate = subject.network.image_encoder.blocks[0].attn.gate.logits
    assert gate.any()
    subject.save(tmp_path / "state.safetensors")
    again = trainer(replace(small, adapter="mole"), store)
    again.restore(tmp_path / "state.safetensors")
    assert torch.equal(again.network.image_encoder.blocks[0].attn.gate.logits, gate)


def test_a_state_of_another_experiment_or_a_damaged_one_is_refused(small, store, tmp_path):
    path = tmp_path / "state.safetensors"
    trainer(small, store).save(path)
    with pytest.raises(FlapSamError, match="belongs to another experiment"):
        trainer(replace(small, seed=8), store).restore(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FlapSamError, match="damaged"):
        trainer(small, store).restore(path)


def test_a_loss_that_is_not_finite_stops_the_round(small, store):
    subject = trainer(small, store)
    with torch.no_grad():
        subject.network.mask_decoder.mask_tokens.weight.fill_(float("nan"))
    with pytest.raises(FlapSamError, match="training loss of round 0 is nan"):
        subject.train(0)


def test_the_optimizer_holds_only_what_trains(small, store):
    subject = trainer(small, store)
    subject.train(0)
    kept = sum(state["exp_avg"].numel() for state in subject._optimizer.state.values())
    assert kept == sum(t.numel() for t in subject.payload().values())


@pytest.mark.parametrize("change", [{"augmentation": "paper"}, {"foreground_share": 1.0}])
def test_what_the_experiment_asks_of_an_epoch_is_done(small, store, change):
    plain, changed = trainer(small, store), trainer(replace(small, **change), store)
    again = trainer(replace(small, **change), store)
    assert changed.train(0).loss == again.train(0).loss != plain.train(0).loss
