# SPDX-License-Identifier: Apache-2.0
"""Sites and server over several rounds, without FLARE between them: every strategy, rule, optimizer and wire type."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.rounds.aggregate import Aggregator, Merged
from flap_sam.sam.build import BACKBONES
from flap_sam.sam.weights import RANDOM
from flap_sam.training.participant import Participant, assign
from flap_sam.wire import encoding, payload

from tests.conftest import write_site

SITES = ("site-1", "site-2", "site-3")
FIVE = (*SITES, "site-4", "site-5")


class Rounds:
    """Sites that stay in memory and one server."""

    def __init__(self, experiment, store, state, names=SITES, run="run"):
        self.names = names
        self.site = Site(data=store, checkpoint=RANDOM, device="cpu", state=state)
        self.experiment, self.run = experiment, run
        self.sites = {name: self.join(name) for name in names}
        self.resolved = self.sites[names[0]].experiment
        self.server = self.new_server()

    def join(self, name) -> Participant:
        return Participant(self.experiment, self.site, assign(self.site, name, None), name, self.run)

    def new_server(self) -> Aggregator:
        server = Aggregator()
        server.begin(self.resolved, RunPolicy())
        return server

    def receive(self, name, tensors) -> None:
        if tensors:
            wire = encoding.down(tensors, self.resolved.payload_dtype)
            self.sites[name].receive(payload.check(wire, payload.types_down(self.resolved)))

    def round(self, number, tensors, backwards=False) -> Merged:
        self.server.start_round(tensors, number)
        for name in self.names[::-1] if backwards else self.names:
            self.receive(name, tensors)
            self.sites[name].restore_before(number)
            wire, _ = self.sites[name].train(number)
            self.server.accept(name, self.sites[name].slices, wire)
        return self.server.close()

    def outputs(self, name, tensors, number) -> torch.Tensor:
        """Logits of the payload at a site."""
        self.receive(name, tensors)
        self.sites[name].restore_to_score(number)
        self.sites[name].network.eval()
        with torch.no_grad():
            return self.sites[name].network(torch.linspace(0, 1, 5 * 32 * 32).reshape(1, 5, 32, 32))


@pytest.fixture
def store(tmp_path) -> Path:
    """Sites of one step a round, one of two."""
    slices = {"A": 2, "B": 4, "C": 3, "D": 1, "E": 3}
    for site, count in slices.items():
        write_site(tmp_path / "store", site, {"train": [(count, 24, 30)], "validation": [(1, 33, 20)]})
    return tmp_path / "store"


@pytest.fixture(autouse=True)
def shallow(monkeypatch) -> Iterator[None]:
    """A windowed and a global layer. No file holds such a network: it is drawn."""
    monkeypatch.setitem(BACKBONES, "vit_tiny", replace(BACKBONES["vit_tiny"], depth=2, global_attention=(1,)))
    payload.travelling.cache_clear()
    yield
    payload.travelling.cache_clear()


EVERY = [
    {"strategy": "svd", "split": "paper"},
    {"strategy": "svd", "energy": 0.5},
    {"strategy": "svd", "ranks": {"site-2": 2}},
    {"strategy": "factor-average"},
    {"strategy": "freeze-a"},
    {"strategy": "freeze-a", "adapter": "mole"},
    {"strategy": "residual"},
    {"strategy": "alternate"},
    {"strategy": "alternate", "adapter": "dora", "payload_dtype": "float16"},
    {"strategy": "alternate", "adapter": "mole", "proximal": 0.1},
    {"strategy": "alternate", "robust": "median"},
    {"strategy": "alternate", "payload_dtype": "int8"},
    {"strategy": "fedsvd"},
    {"strategy": "sketch"},
    {"strategy": "sketch", "sketch_width": 3, "ranks": {"site-2": 2}},
    {"method": "masam"},
    {"adapter": "dora"},
    {"adapter": "mole"},
    {"server_optimizer": "momentum"},
    {"server_optimizer": "adam", "strategy": "residual"},
    {"server_optimizer": "yogi"},
    {"server_optimizer": "adam", "strategy": "factor-average"},
    {"robust": "clip"},
    {"robust": "trimmed-mean", "hostile_share": 0.34},
    {"robust": "median", "method": "masam"},
    {"robust": "krum"},
    {"proximal": 0.1},
    {"payload_dtype": "float16"},
    {"payload_dtype": "bfloat16"},
    {"payload_dtype": "int8"},
    {"payload_dtype": "int8", "ranks": {"site-3": 3}},
]


@pytest.mark.parametrize("settings", EVERY, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
def test_a_server_and_sites_started_again_every_round_give_the_same_bits(small, store, tmp_path, settings):
    """Everything a party remembers is in its state, whatever the order of arrival; and the payload changes."""
    experiment = small.changed(**settings)
    names = FIVE if experiment.robust == "krum" else SITES  # Krum needs five
    through, again = (Rounds(experiment, store, tmp_path / run, names) for run in ("through", "again"))
    one, other = {}, {}
    for number in range(2):
        before = one
        one = dict(through.round(number, one).payload)
        if number:
            memory = again.server.memory()
            again.sites = {name: again.join(name) for name in names}
            again.server = again.new_server()
            again.server.restore(memory)
        other = dict(again.round(number, other, backwards=True).payload)
        assert all(torch.equal(one[name], other[name]) for name in one), number
        assert not before or any(not torch.equal(one[name], before[name]) for name in one)
    assert payload.check(one, payload.types_kept(through.resolved))
    if experiment.adapter != "mole" and not experiment.ranks:
        outputs = [through.outputs(name, one, 2) for name in SITES]
        assert torch.equal(outputs[0], outputs[1]), "all sites now run one network"
        assert torch.equal(outputs[0], outputs[2])
