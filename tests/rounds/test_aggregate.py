# SPDX-License-Identifier: Apache-2.0
import zlib
from itertools import permutations
from math import prod
from typing import NamedTuple

import pytest
import torch
from flap_sam.config import strategies
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.rounds import aggregate as module
from flap_sam.rounds.aggregate import Aggregator, Merged
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.initial import initial
from flap_sam.wire import payload
from flap_sam.wire.form import is_in_form_of_round, turning_pairs


class Sent(NamedTuple):
    """A site's update."""

    site: str
    slices: int
    payload: dict[str, torch.Tensor]


def update(experiment, site: str, slices: int) -> Sent:
    generator = torch.Generator().manual_seed(zlib.crc32(site.encode()))
    params = {name: torch.randn(shape, generator=generator) for name, shape in payload.sent(experiment).items()}
    return Sent(site, slices, params)


def begun(experiment, **policy) -> Aggregator:
    """Of drawn updates, which are larger than what training changes."""
    aggregator = Aggregator()
    aggregator.begin(experiment, RunPolicy(**{"largest_norm": None, **policy}))
    return aggregator


def aggregate(experiment, updates, **policy) -> Merged:
    aggregator = begun(experiment, **policy)
    for model in updates:
        aggregator.accept(*model)
    return aggregator.close()


def changes(experiment, tensors) -> dict[str, torch.Tensor]:
    return {a: tensors[b].double() @ tensors[a].double() for a, b in low_rank_pairs(build(experiment))}


@pytest.fixture
def six(small):
    slices = {"A": 677, "B": 4093, "C": 3403, "D": 2144, "E": 1047, "F": 10938}
    return [update(small, site, n) for site, n in slices.items()]


def test_six_sites_in_any_order_give_the_same_payload(small, six):
    first = aggregate(small, six).payload
    for order in list(permutations(range(6)))[100::150]:
        again = aggregate(small, [six[i] for i in order]).payload
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_site_alone_gets_its_own_change_and_tensors_back(small):
    alone = update(small, "A", 5)
    merged = aggregate(small, [alone])
    payload.check(merged.payload, payload.types_kept(small))
    own, back = changes(small, alone.payload), changes(small, merged.payload)
    for name in own:
        torch.testing.assert_close(back[name], own[name], rtol=1e-5, atol=1e-5)
    pairs = {name for pair in low_rank_pairs(build(small)) for name in pair}
    for name in set(merged.payload) - pairs:
        assert torch.equal(merged.payload[name], alone.payload[name])
    assert list(merged.kept.values()) == pytest.approx([1] * len(own))


def test_the_change_is_averaged_not_the_factors(small):
    experiment = small.changed(rank=64, alpha=0.5)
    updates = [update(experiment, site, n) for site, n in (("A", 1), ("B", 3))]
    for model in updates:
        for _, b in low_rank_pairs(build(experiment)):
            model.payload[b][:, 16:] = 0  # true rank 16 each, so that rank 64 loses nothing
    merged = aggregate(experiment, updates)
    theirs = [changes(experiment, model.payload) for model in updates]
    ours = changes(experiment, merged.payload)
    for name in ours:
        torch.testing.assert_close(ours[name], 0.25 * theirs[0][name] + 0.75 * theirs[1][name], rtol=1e-4, atol=1e-4)


def test_what_the_truncation_dropped_is_reported(small, six):
    merged = aggregate(small, six)
    total = sum(model.slices for model in six)
    exact = {}
    for model in six:
        for name, change in changes(small, model.payload).items():
            exact[name] = exact.get(name, 0) + model.slices / total * change
    ours = changes(small, merged.payload)
    for name, change in exact.items():
        layer = name.removesuffix(".A")
        dropped = torch.linalg.norm(change - ours[name]).item()
        assert merged.kept[layer] == pytest.approx(1 - dropped**2 / change.square().sum().item(), rel=1e-4)


def test_nothing_of_a_bad_update_counts(small, six):
    aggregator = begun(small)
    bad = update(small, "B", 10)
    last = list(bad.payload)[-1]
    bad.payload[last] = torch.full_like(bad.payload[last], float("nan"))
    aggregator.accept(*six[0])
    with pytest.raises(FlapSamError, match="NaN"):
        aggregator.accept(*bad)
    with pytest.raises(FlapSamError, match="second update"):
        aggregator.accept(*six[0])
    with pytest.raises(FlapSamError, match="0 training slices"):
        aggregator.accept(*update(small, "C", 0))
    merged, alone = aggregator.close(), aggregate(small, six[:1])
    assert all(torch.equal(merged.payload[name], alone.payload[name]) for name in alone.payload)


def test_methods_without_pairs_are_averaged(small):
    experiment = small.changed(method="pdecft")
    merged = aggregate(experiment, [update(experiment, "A", 1), update(experiment, "B", 1)])
    assert merged.kept == {}
    assert merged.payload.keys() == payload.sent(experiment).keys()


def test_masam_averages_what_its_shared_factors_do(small):
    """Sites with one U and V: the cores' average, whatever factors stand for it."""
    experiment = small.changed(method="masam")
    updates = [update(experiment, site, n) for site, n in (("A", 1), ("B", 3))]
    u, v = "image_encoder.fact.U", "image_encoder.fact.V"
    for name in (u, v):
        updates[1].payload[name] = updates[0].payload[name]
    merged = aggregate(experiment, updates).payload
    cores = [name for name in merged if name.endswith(".core")]
    assert len(cores) == 8, "query and value of four layers"
    for core in cores:
        mean = 0.25 * updates[0].payload[core] + 0.75 * updates[1].payload[core]
        expected = updates[0].payload[v] @ mean @ updates[0].payload[u]
        torch.testing.assert_close(merged[v] @ merged[core] @ merged[u], expected, rtol=1e-4, atol=1e-4)


def test_rounds_larger_than_a_block_are_the_same_to_rounding(small, six, monkeypatch):
    whole = aggregate(small, six)
    monkeypatch.setattr(module, "BLOCK_SITES", 2)
    parts = aggregate(small, six)
    for name, change in changes(small, whole.payload).items():
        torch.testing.assert_close(changes(small, parts.payload)[name], change, rtol=1e-5, atol=1e-5)
    pairs = {name for pair in low_rank_pairs(build(small)) for name in pair}
    assert all(torch.equal(parts.payload[name], whole.payload[name]) for name in whole.payload if name not in pairs)


def test_a_site_that_stands_out_is_refused_and_does_not_count(small, six):
    without = aggregate(small, [six[0], *six[2:]])
    for kind in ("adapters", "others"):
        spoilt = six[1]._replace(payload=dict(six[1].payload))
        for name in six[1].payload:
            if name.endswith(".B") == (kind == "adapters"):
                spoilt.payload[name] = 100 * six[1].payload[name]
        merged = aggregate(small, [six[0], spoilt, *six[2:]])
        assert merged.refused.keys() == {"B"}
        assert "expected at most 10 times the median (norm_limit)" in merged.refused["B"]
        assert all(torch.equal(merged.payload[name], without.payload[name]) for name in without.payload)
    anyone = aggregate(small, [six[0], spoilt, *six[2:]], norm_limit=None)
    assert anyone.refused == {}


def test_a_site_may_not_grow_beyond_its_registration(small):
    aggregator = begun(small, largest_slices={"A": 7})
    aggregator.accept(*update(small, "B", 900))
    with pytest.raises(FlapSamError, match="8 training slices; expected 1 to 7, its registered number"):
        aggregator.accept(*update(small, "A", 8))
    aggregator.accept(*update(small, "A", 7))


def test_one_site_has_no_more_than_its_largest_share_whatever_the_blocks(small, monkeypatch):
    small = small.changed(method="pdecft")
    slices = {"A": 10, "B": 3, "C": 10**6, "D": 7, "E": 20}
    updates = [update(small, site, n) for site, n in slices.items()]
    expected = aggregate(small, [update(small, site, 60 if site == "C" else n) for site, n in slices.items()])
    for block in (32, 3, 2):
        monkeypatch.setattr(module, "BLOCK_SITES", block)
        for order in list(permutations(range(5)))[::60]:
            found = aggregate(small, [updates[i] for i in order])
            assert found.counted == slices | {"C": 60}
            assert all(torch.equal(found.payload[name], expected.payload[name]) for name in expected.payload)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_every_share_holds_in_rounds_larger_than_a_block(small, six, monkeypatch, share):
    whole = aggregate(small, six, largest_share=share)
    monkeypatch.setattr(module, "BLOCK_SITES", 2)
    parts = aggregate(small, six, largest_share=share)
    assert parts.counted == whole.counted
    for name, change in changes(small, whole.payload).items():
        torch.testing.assert_close(changes(small, parts.payload)[name], change, rtol=1e-5, atol=1e-5)


def test_a_rule_without_enough_sites_makes_nothing(small, six):
    with pytest.raises(FlapSamError, match=r"The round has 2 sites that count: robust 'median' needs 3 sites"):
        aggregate(small.changed(robust="median"), six[:2])
    with pytest.raises(FlapSamError, match=r"robust 'krum' with hostile_share 0.1 withstands no site of 6"):
        aggregate(small.changed(robust="krum", hostile_share=0.1), six)


def test_norms_are_those_of_the_changes(small, six):
    merged = aggregate(small, six)
    for model in six:
        whole = sum(change.square().sum() for change in changes(small, model.payload).values()).sqrt().item()
        assert merged.norms[model.site].adapters == pytest.approx(whole)


def test_of_a_round_in_which_all_are_refused_nothing_is_made(small):
    assert begun(small).close().payload == {}


def test_a_sum_beyond_float32_is_refused_by_the_server_not_by_the_sites(small):
    huge = update(small, "A", 1)
    for name, tensor in huge.payload.items():
        huge.payload[name] = torch.full_like(tensor, 3e38)
    with pytest.raises(FlapSamError, match="NaN or infinity"):
        aggregate(small, [huge, huge_copy(huge)])


def huge_copy(model: Sent) -> Sent:
    return model._replace(site="B")


TURNING = [name for name, traits in strategies.OURS.items() if traits.roles.take_turns]


def turning_update(experiment, site: str, slices: int, number: int) -> Sent:
    """Of the factor that travels in a round, and of all other tensors that do."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{site}{number}".encode()))
    shapes = payload.leaving(experiment, number)
    return Sent(site, slices, {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()})


@pytest.mark.parametrize("adapter", ["lora", "dora", "mole"])
@pytest.mark.parametrize("strategy", TURNING)
def test_beside_a_common_factor_the_mean_of_the_changes_is_exact(small, strategy, adapter):
    """Against the weighted sum of products in float64, over rounds of both kinds; layers are not square."""
    experiment = small.changed(strategy=strategy, adapter=adapter)
    aggregator = begun(experiment, norm_limit=None)
    network, _, _ = network_for(experiment, None)
    received = {name: network.get_parameter(name).detach() for name in payload.sent(experiment)}
    assert len({tuple(network.get_parameter(b).shape) for _, b in low_rank_pairs(network)}) > 1
    for number in range(4):
        aggregator.start_round(received if number else {}, number)
        updates = [turning_update(experiment, site, n, number) for site, n in (("A", 3), ("B", 5), ("C", 1))]
        expected = {}
        for sent in updates:
            aggregator.accept(*sent)
            assert 0 < len(sent.payload) < len(received)
            for name, change in changes(experiment, received | sent.payload).items():
                expected[name] = expected.get(name, 0) + sent.slices / 9 * change
        merged = aggregator.close()
        payload.check(merged.payload, payload.types_kept(experiment))
        pairs = turning_pairs(network, experiment)
        assert is_in_form_of_round(merged.payload, experiment, pairs, number + 1, torch.float32)
        for name, change in changes(experiment, merged.payload).items():
            torch.testing.assert_close(change, expected[name], rtol=0, atol=2e-6 * change.abs().max().item())
        received = merged.payload


@pytest.mark.parametrize(("strategy", "moves"), [("fedsvd", False), ("alternate", True)])
def test_under_fedsvd_the_rows_of_a_stay_in_their_first_space_and_under_alternate_they_move(small, strategy, moves):
    experiment = small.changed(strategy=strategy)
    aggregator = begun(experiment, norm_limit=None)
    a, _ = low_rank_pairs(build(experiment))[0]
    first = torch.linalg.qr(initial(build(experiment), a, experiment.seed).double().mT).Q.mT
    received, columns = {}, []
    for number in range(4):
        aggregator.start_round(received, number)
        aggregator.accept(*turning_update(experiment, "A", 1, number))
        received = aggregator.close().payload
        rows = torch.linalg.qr(received[a].double().mT).Q
        columns.append(torch.linalg.norm(rows - first.mT @ (first @ rows)).item())
    assert columns[0] < 1e-5, "an even round leaves the space of A as it is under both"
    assert (columns[1] > 0.5) == (columns[3] > 0.5) == moves
    assert moves or max(columns) < 1e-5


def test_in_turn_about_half_of_the_adapters_goes_up(small):
    plain = payload.sent(small)
    adapters = {name for pair in low_rank_pairs(build(small)) for name in pair}
    whole = sum(prod(shape) for name, shape in plain.items() if name in adapters)
    for number in range(4):
        up = payload.leaving(small.changed(strategy="alternate"), number)
        assert {name for name in up if name not in adapters} == plain.keys() - adapters
        assert {name[-1] for name in up if name in adapters} == {"AB"[number % 2 == 0]}
        assert 0.4 < sum(prod(shape) for name, shape in up.items() if name in adapters) / whole < 0.6


def test_what_a_round_does_not_ask_for_is_refused(small):
    experiment = small.changed(strategy="alternate")
    aggregator = begun(experiment)
    aggregator.start_round({}, 1)
    with pytest.raises(FlapSamError, match=r"tensor .*\.A is missing"):
        aggregator.accept(*turning_update(experiment, "A", 1, 0))


@pytest.mark.parametrize("rule", ["median", "krum", "clip", "trimmed-mean"])
def test_a_robust_rule_works_on_the_factor_that_travels(small, rule):
    """Five sites that agree, the fifth far away: all rules but the mean stay with the four."""
    experiment = small.changed(strategy="alternate", robust=rule)
    aggregator = begun(experiment, norm_limit=None)
    four = turning_update(experiment, "A", 1, 0).payload
    for site in "ABCD":
        aggregator.accept(site, 1, four)
    aggregator.accept("E", 1, {name: 100 * tensor for name, tensor in four.items()})
    network = build(experiment)
    start = {a: initial(network, a, experiment.seed) for a, _ in low_rank_pairs(network)}
    for name, change in changes(experiment, aggregator.close().payload).items():
        own = changes(experiment, start | four)[name]
        assert torch.linalg.norm(change - own) < 0.3 * torch.linalg.norm(own)


def test_a_narrow_sketch_is_reported_by_layer(small, six):
    wide, narrow = (aggregate(small.changed(strategy="sketch", sketch_width=w), six) for w in (None, 6))
    svd = aggregate(small, six)
    for name, change in changes(small, svd.payload).items():
        torch.testing.assert_close(changes(small, wide.payload)[name], change, rtol=1e-4, atol=1e-4)
    assert wide.excess == {}
    assert narrow.excess.keys() == narrow.kept.keys() == svd.kept.keys()
    for layer, excess in narrow.excess.items():
        assert excess > 0
        assert narrow.residual[layer] ** 2 == pytest.approx(svd.residual[layer] ** 2 + excess**2, rel=1e-6)
