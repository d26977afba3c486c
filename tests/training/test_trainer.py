# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table
from flap_sam.training.trainer import Trainer
from flap_sam.wire.form import in_form_of_round


def trainer(experiment, store, site="B", memory="normal") -> Trainer:
    network, experiment, _ = network_for(experiment, None)
    windows = Windows(SiteStore.open(store, site), experiment.image_size)
    return Trainer(network, experiment, windows, torch.device("cpu"), "float32", memory)


def test_training_moves_what_trains_and_nothing_else(small, store):
    subject = trainer(small, store)
    before = {name: p.clone() for name, p in subject.network.named_parameters()}
    result = subject.train(0)
    assert result.steps == 3, "7 windows in batches of 3"
    moved = {name for name, p in subject.network.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {t.name for t in parameter_table(subject.network, small.method) if t.used}
    assert all(p.grad is None for p in subject.network.parameters() if not p.requires_grad)


def test_every_step_is_told(small, store):
    told = []
    result = trainer(small.changed(local_epochs=2), store).train(0, progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(number, 6) for number in range(1, 7)]
    assert torch.stack([loss for *_, loss in told]).mean().item() == result.loss


def test_the_loss_falls(small, store):
    subject = trainer(small.changed(local_epochs=8), store)
    first = subject.train(0).loss
    assert subject.train(1).loss < 0.9 * first


def restarted(subject: Trainer, experiment, store) -> Trainer:
    again = trainer(experiment, store)
    training, personal = subject.state()
    again.restore({name: tensor.clone() for name, tensor in training.items()})
    again.restore_personal({name: tensor.clone() for name, tensor in personal.items()})
    return again


def test_two_rounds_in_one_process_are_two_rounds_in_two(small, store):
    small = small.changed(adapter="mole")
    together = trainer(small, store)
    together.train(0)
    apart = restarted(together, small, store)
    apart.receive(together.payload())
    together.train(1)
    apart.train(1)
    for (name, a), b in zip(together.network.named_parameters(), apart.network.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_little_memory_trains_the_same(small, store):
    normal, low = trainer(small, store), trainer(small, store, memory="low")
    assert low.train(0).loss == pytest.approx(normal.train(0).loss, rel=1e-5)
    for name, tensor in normal.payload().items():
        torch.testing.assert_close(low.payload()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_gates_stay_at_home_and_are_kept(small, store):
    small = small.changed(adapter="mole")
    subject = trainer(small, store)
    subject.train(0)
    assert not any("gate" in name for name in subject.payload())
    gate = subject.network.image_encoder.blocks[0].attn.gate.logits
    assert gate.any()
    assert torch.equal(restarted(subject, small, store).network.image_encoder.blocks[0].attn.gate.logits, gate)


@pytest.mark.parametrize("adapter", ["lora", "mole"])
def test_with_a_frozen_a_only_b_trains_and_travels(small, store, adapter):
    subject = trainer(small.changed(strategy="freeze-a", adapter=adapter), store)
    before = {name: p.clone() for name, p in subject.network.named_parameters()}
    subject.train(0)
    pairs = low_rank_pairs(subject.network)
    assert all(torch.equal(subject.network.get_parameter(a), before[a]) for a, _ in pairs)
    assert all(subject.network.get_parameter(b).any() for _, b in pairs)
    assert {b for _, b in pairs} <= subject.payload().keys()
    assert not {a for a, _ in pairs} & subject.payload().keys()


@pytest.mark.parametrize("adapter", ["lora", "mole"])
@pytest.mark.parametrize(("strategy", "sides"), [("alternate", "BAB"), ("fedsvd", "BBB")])
def test_in_turn_one_factor_trains_and_travels_in_a_round(small, store, strategy, sides, adapter):
    subject = trainer(small.changed(strategy=strategy, adapter=adapter, proximal=0.1), store)
    pairs = low_rank_pairs(subject.network)
    for number, side in enumerate(sides):
        before = {name: p.clone() for name, p in subject.network.named_parameters()}
        subject.train(number)
        moved = {name for name, p in subject.network.named_parameters() if not torch.equal(p, before[name])}
        chosen, other = ({pair["AB".index(s)] for pair in pairs} for s in (side, "AB".replace(side, "")))
        assert chosen <= moved
        assert not other & moved
        assert chosen <= subject.update(number).keys()
        assert not other & subject.update(number).keys()
        assert chosen | other <= subject.payload().keys(), "both come down"


def test_in_turn_a_factor_begins_every_round_with_moments_of_its_own(small, store):
    """It comes in another basis each time; all else goes on."""
    subject = trainer(small.changed(strategy="fedsvd"), store)
    steps = []
    for number in range(2):
        subject.train(number)
        state, _ = subject.state()
        steps.append({name.removeprefix("step/"): int(n) for name, n in state.items() if name.startswith("step/")})
    factors = {b for _, b in low_rank_pairs(subject.network)}
    assert factors <= steps[0].keys()
    for name, first in steps[0].items():
        assert steps[1][name] == (first if name in factors else 2 * first), name


@pytest.mark.parametrize("number", [0, 1])
def test_in_turn_factors_are_kept_as_they_came_though_a_rank_beyond_the_width_is_zero(small, store, number):
    experiment = small.changed(strategy="alternate", rank=200)
    subject = trainer(experiment, store)
    pairs = low_rank_pairs(subject.network)
    drawn = {name: torch.randn_like(tensor) for name, tensor in subject.payload().items()}
    payload = in_form_of_round(drawn, experiment, pairs, number)
    dead = [(payload[a] == 0).all(1) & (payload[b] == 0).all(0) for a, b in pairs]
    assert any(rows.any() for rows in dead)
    subject.receive(payload)
    assert all(torch.equal(t, payload[name]) for name, t in subject.payload().items())


def test_a_stronger_pull_stays_nearer_to_the_payload(small, store):
    moved = []
    for mu in (0.0, 1.0, 100.0):
        subject = trainer(small.changed(proximal=mu, local_epochs=3), store)
        start = subject.payload()
        subject.train(0)
        moved.append(sum((t - start[name]).square().sum() for name, t in subject.payload().items()).sqrt())
    assert moved[2] < moved[1] < moved[0]


def test_a_dead_direction_starts_anew_and_changes_nothing(small, store):
    subject = trainer(small, store)
    payload = subject.payload()
    a, b = low_rank_pairs(subject.network)[0]
    start = payload[a].clone()
    payload[b].normal_()
    payload[a][1], payload[b][:, 1] = 0, 0
    payload[a][2] = 0
    subject.receive(payload)
    got_a, got_b = subject.network.get_parameter(a), subject.network.get_parameter(b)
    assert torch.equal(got_a[1], start[1]), "as drawn from the seed"
    assert not got_a[2].any(), "a row whose column of B is alive is not dead"
    torch.testing.assert_close(got_b @ got_a, payload[b] @ payload[a])


def test_a_site_of_lower_rank_takes_the_leading_part(small, store):
    payload = trainer(small, store).payload()
    for tensor in payload.values():
        tensor.normal_()
    lower = trainer(small.changed(rank=2), store)
    lower.receive(payload)
    a, b = low_rank_pairs(lower.network)[0]
    assert torch.equal(lower.network.get_parameter(a), payload[a][:2])
    assert torch.equal(lower.network.get_parameter(b), payload[b][:, :2])


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
    plain, changed = trainer(small, store), trainer(small.changed(**change), store)
    again = trainer(small.changed(**change), store)
    assert changed.train(0).loss == again.train(0).loss != plain.train(0).loss
