# SPDX-License-Identifier: Apache-2.0
"""The table of what is read, beside what the code does: networks, strategies, rules and optimizers are built."""

import itertools
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from flap_sam.config import experiment as settings
from flap_sam.config.experiment import DEFAULTS, Experiment, unread
from flap_sam.config.reads import LORA_METHODS, READ_WITH
from flap_sam.errors import FlapSamError
from flap_sam.foundation.limits import limits
from flap_sam.lowrank.gather import gatherer
from flap_sam.lowrank.robust import shortcoming
from flap_sam.lowrank.server_optimizer import server_optimizer
from flap_sam.rounds.aggregate import strategy_for
from flap_sam.sam.build import build
from flap_sam.sam.methods import METHOD_TABLE, parameter_table
from torch import nn

DOCS = Path(__file__).parents[2] / "docs"
TINY = {"backbone": "vit_tiny", "image_size": 32}
OTHER = {
    "adapter": ("dora", "mole"),
    "rank": (2,),
    "alpha": (0.5,),
    "experts": (2,),
    "strategy": ("factor-average", "freeze-a", "residual", "alternate", "fedsvd", "sketch"),
    "split": ("paper",),
    "energy": (0.5,),
    "sketch_width": (5,),
    "ranks": ({"site-1": 2},),
    "hostile_share": (0.4,),
    "server_learning_rate": (0.5,),
}
CHOICES = [{"method": method} for method in settings.METHODS]
CHOICES += [
    {"method": "loraft", "adapter": adapter, "strategy": strategy}
    for adapter, strategy in itertools.product(settings.ADAPTERS, settings.STRATEGIES)
]
CHOICES += [{"robust": rule} for rule in settings.ROBUST_RULES[1:]]
CHOICES += [{"server_optimizer": rule} for rule in settings.SERVER_OPTIMIZERS[1:]]


def unchecked(changes: dict) -> Experiment:
    """An experiment that nobody has refused."""
    return Experiment(**TINY).model_copy(update=changes)


@cache
def trained(method: str, adapter: str, strategy: str, rank: int, alpha: float, experts: int) -> tuple[nn.Module, str]:
    """The network of a site, and what it is and does in words."""
    named = {"method": method, "adapter": adapter, "strategy": strategy, "rank": rank, "alpha": alpha}
    network = build(unchecked({**named, "experts": experts}))
    tensors = [(t.name, t.shape, t.trained, t.sent) for t in parameter_table(network, method)]
    return network, repr((tensors, [getattr(module, "alpha", None) for module in network.modules()]))


def built(e: Experiment) -> list:
    """All that is made of the settings in question: a site's part of a run and the server's."""
    names = e.method, e.adapter, e.strategy
    network, all_sites = trained(*names, e.rank, e.alpha, e.experts)
    _, one_site = trained(*names, e.ranks.get("site-1", e.rank), e.alpha, e.experts)
    strategy = strategy_for(e, network)
    summed = [type(strategy).__name__, repr(vars(strategy))] if strategy.groups else []  # else it is only called so
    rule = gatherer(e.robust, strategy, e.hostile_share)
    middle = getattr(rule, "_middle", lambda *_: torch.zeros(1))(torch.arange(5.0).square()[:, None], 2)
    counts = [shortcoming(e.robust, e.hostile_share, sites) for sites in range(2, 9)]
    optimizer = server_optimizer(e.server_optimizer, e.server_learning_rate)
    return [all_sites, one_site, summed, type(rule).__name__, middle.item(), counts, optimizer and vars(optimizer)]


def test_every_setting_is_in_the_table_and_no_other():
    assert list(READ_WITH) == [*Experiment.model_fields]
    assert {name for name, row in READ_WITH.items() if row} == OTHER.keys()
    for name, row in READ_WITH.items():
        for other, values in row.items():
            choices = limits(Experiment.model_fields[other]).removeprefix("one of ").partition(" (")[0].split(", ")
            assert set(values) < set(choices), f"{name} is read with some values of {other}, not all"


def test_the_methods_with_adapters_are_those_of_the_network():
    assert set(LORA_METHODS) == {name for name, method in METHOD_TABLE.items() if method.lora}
    assert set(READ_WITH["rank"]["method"]) == {
        name for name, method in METHOD_TABLE.items() if method.lora or method.fact
    }


@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: ",".join(c.values()))
def test_a_setting_that_is_not_read_changes_nothing_and_one_that_is_read_does(choices):
    usual = built(Experiment(**TINY, **choices))
    for name, values in OTHER.items():
        for value in values:
            if choices.get(name, DEFAULTS[name]) == value or (name in choices and choices[name] != DEFAULTS[name]):
                continue
            changed = built(unchecked({**choices, name: value}))
            if name == "ranks" and choices.get("method", "flap_sam") in READ_WITH["rank"]["method"]:
                assert changed != usual, "where it is refused, the site has a rank that the server cannot sum"
            elif name in unread(choices):
                assert changed == usual, f"{name} {value} with {choices}"
                with pytest.raises(FlapSamError, match=rf"experiment's {name} .* needs \w+ '.*, not '"):
                    Experiment(**{**TINY, **choices, name: value})
            else:
                assert changed != usual, f"{name} {value} with {choices}"
                if "server_optimizer" in choices and value in ("alternate", "fedsvd"):
                    continue  # refused for another reason, see below
                Experiment(**{**TINY, **choices, name: value})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"method": "decft", "adapter": "dora"},
            r"adapter 'dora' needs method 'loraft' or .* not 'decft'; leave adapter",
        ),
        ({"method": "fullft", "split": "paper"}, r"split 'paper' needs method 'loraft' .* not 'fullft'"),
        ({"method": "pdecft", "energy": 0.5}, r"energy 0.5 needs method .* not 'pdecft'"),
        (
            {"strategy": "freeze-a", "split": "paper"},
            r"split 'paper' needs strategy 'svd' or 'residual' or 'sketch', not 'freeze-a'",
        ),
        ({"sketch_width": 9}, r"sketch_width 9 needs strategy 'sketch', not 'svd'; leave sketch_width out"),
        ({"strategy": "alternate", "ranks": {"a": 2}}, r"ranks .* needs strategy 'svd' or .* not 'alternate'"),
        (
            {"strategy": "alternate", "server_optimizer": "adam"},
            r"server_optimizer 'adam' needs strategy svd, .*, sketch, not 'alternate', whose factors",
        ),
        ({"strategy": "fedsvd", "server_optimizer": "momentum"}, r"'momentum' needs strategy .* not 'fedsvd'"),
        ({"method": "masam", "strategy": "alternate"}, r"strategy 'alternate' needs method 'loraft' .* not 'masam'"),
        ({"server_learning_rate": 0.1}, r"server_learning_rate 0.1 needs server_optimizer 'momentum' or .* not 'none'"),
        ({"experts": 2}, r"experts 2 needs adapter 'mole', not 'lora'; leave experts out or change adapter"),
        ({"robust": "median", "hostile_share": 0.3}, r"hostile_share 0.3 needs robust .* not 'median'"),
    ],
)
def test_the_error_names_both_settings(given, sentence):
    with pytest.raises(FlapSamError, match=sentence):
        Experiment(**given)


def test_another_method_takes_what_it_reads():
    mixed = Experiment(adapter="mole", experts=2, rank=4, energy=0.5, ranks={"site-1": 2}, seed=3)
    assert mixed.changed(method="decft") == Experiment(method="decft", seed=3)
    assert mixed.changed(strategy="freeze-a").experts == 2
    with pytest.raises(FlapSamError, match="rank 2 needs method"):
        mixed.changed(method="decft", rank=2)


@pytest.mark.parametrize("file", sorted(DOCS.glob("results*.jsonl")), ids=lambda path: path.name)
def test_every_published_cell_is_still_an_experiment(file):
    for line in file.read_text().splitlines():
        found = json.loads(line)["settings"]
        assert json.loads(Experiment(**found).to_json()) == found
