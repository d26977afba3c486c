# SPDX-License-Identifier: Apache-2.0
"""What the round log keeps of reports and of the aggregator's word."""

import pytest
from flap_sam.lowrank.screen import Norms
from flap_sam.rounds.aggregate import Merged
from flap_sam.rounds.round_records import closed, lines_of_capped, round_record, site_record
from flap_sam.wire.messages import TrainReport


def report(slices, loss=0.5, validation=(0.25, None)) -> TrainReport:
    return TrainReport(
        experiment="{}",
        start_digest="s",
        frozen_digest="f",
        weights="checkpoint",
        labels="l",
        slices=slices,
        loss=loss,
        steps=2,
        seconds=1.5,
        validation=list(validation),
        demo=False,
    )


def merged(counted, kept=None) -> Merged:
    norms = {site: Norms(adapters=2.0 + k, others=1.0, change=0.5 + k, factors=9.0) for k, site in enumerate(counted)}
    residual = dict.fromkeys(kept or {}, 0.25)
    return Merged({}, norms, {}, counted, kept or {}, residual)


def records():
    return {"B": site_record(report(30, loss=1.0), 10, 20), "A": site_record(report(10, loss=None), 10, 20)}


KNOWN = {"run": "run", "round": 0, "seconds": 2.0, "server_seconds": 0.5, "refused": {}, "missing": [], "late": []}


def test_a_record_is_what_the_site_says_and_not_yet_what_it_counts_for():
    found = site_record(report(30), bytes_down=10, bytes_up=20)
    assert (found.slices, found.loss, found.steps, found.validation) == (30, 0.5, 2, [0.25, None])
    assert (found.bytes_down, found.bytes_up, found.counted_slices) == (10, 20, 30)
    assert (found.norm, found.change) == (None, None)
    assert not {"start_digest", "labels"} & set(dict(found)), "what is the same at all sites is not repeated"


@pytest.mark.parametrize("kept", [{}, {"layer": 0.9}])
def test_when_a_round_closes_sites_are_in_order_with_what_they_count_for(kept):
    found = closed(records(), merged({"A": 10, "B": 15}, kept))
    assert list(found) == ["A", "B"]
    assert [record.counted_slices for record in found.values()] == [10, 15]
    assert [record.change for record in found.values()] == [0.5, 1.5]
    assert [record.norm for record in found.values()] == ([2.0, 3.0] if kept else [None, None]), "of adapters alone"


def test_who_counts_for_less_than_it_has_is_told():
    found = closed(records(), merged({"A": 10, "B": 15}))
    assert list(lines_of_capped(found, 0.6)) == ["B counts for 15 of its 30 slices: one site's share is at most 0.6"]


def test_loss_is_weighed_by_what_counts_and_dice_by_site():
    sites = {
        "A": site_record(report(10, loss=2.0, validation=(0.2, 0.4)), 0, 0),
        "B": site_record(report(90, loss=1.0, validation=(0.6, None)), 0, 0),
    }
    found = round_record(closed(sites, merged({"A": 10, "B": 30})), merged({"A": 10, "B": 30}), **KNOWN)
    assert found.loss == pytest.approx((2.0 * 10 + 1.0 * 30) / 40)
    assert found.validation == pytest.approx((0.3 + 0.6) / 2)
    assert found.svd_energy_kept is None


def test_a_site_that_withholds_its_loss_has_no_part_in_the_mean():
    done = merged({"A": 10, "B": 30}, {"one": 0.9, "two": 0.7})
    found = round_record(closed(records(), done), done, **KNOWN)
    assert (found.loss, found.svd_energy_kept) == (1.0, pytest.approx(0.8))
    assert {name: (layer.kept, layer.residual) for name, layer in found.layers.items()} == {
        "one": (0.9, 0.25),
        "two": (0.7, 0.25),
    }
