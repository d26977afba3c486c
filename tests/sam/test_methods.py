# SPDX-License-Identifier: Apache-2.0
"""The counts of DESIGN's table: parameters, to the unit."""

from math import prod

import pytest
from flap_sam.config.experiment import BACKBONES, METHODS, Experiment
from flap_sam.sam import build as building
from flap_sam.sam.build import build
from flap_sam.sam.methods import METHOD_TABLE, groups_of_parameters, parameter_table, train_only
from torch import nn


def counts(**settings) -> tuple[int, int, int]:
    experiment = Experiment(**{"backbone": "vit_b", "image_size": 224, **settings})
    tensors = parameter_table(build(experiment), experiment.method)
    return (
        sum(prod(t.shape) for t in tensors if t.trained),
        sum(prod(t.shape) for t in tensors),
        sum(prod(t.shape) for t in tensors if t.sent),
    )


@pytest.mark.parametrize(
    ("settings", "trained", "total"),
    [
        ({"method": "fullft", "classes": 1}, 90_398_774, 90_398_774),
        ({"method": "fullft"}, 90_532_927, 90_532_927),
        ({"method": "attnft", "classes": 1}, 29_919_208, 90_398_774),
        ({"method": "attnft"}, 30_053_104, 90_532_927),
        ({"method": "decft", "classes": 1}, 3_768_042, 90_398_774),
        ({"method": "decft"}, 3_902_195, 90_532_927),
        ({"method": "pdecft", "classes": 1}, 344_424, 90_398_774),
        ({"method": "pdecft"}, 478_320, 90_532_927),
        ({"method": "loraft", "classes": 1}, 1_368_064, 91_766_838),
        ({"method": "loraft"}, 1_368_064, 91_900_991),
        ({"method": "loradecft", "classes": 1}, 5_136_106, 91_766_838),
        ({"method": "loradecft"}, 5_270_259, 91_900_991),
        ({"method": "flap_sam", "classes": 1}, 1_712_488, 91_766_838),
        ({"method": "flap_sam"}, 1_846_384, 91_900_991),
        ({"rank": 16}, 1_162_352, 91_216_959),
        ({"rank": 4}, 649_328, 90_703_935),
        ({"adapter": "dora"}, 1_867_120, 91_921_727),
        ({"adapter": "mole"}, 4_582_569, 94_637_176),
        ({"method": "masam", "classes": 1}, 28_666_678, 115_291_190),
        ({"method": "masam"}, 28_800_831, 115_425_343),
    ],
)
def test_counts_of_the_table(settings, trained, total):
    assert counts(**settings)[:2] == (trained, total)


def test_what_travels():
    assert counts()[2] == 1_846_384
    assert counts(adapter="mole")[2] == 4_582_569 - 57, "the gates stay at home"
    assert counts(method="decft")[2] < 3_902_195, "SAM's IoU head, which nothing trains, does not travel"


def test_the_tiny_backbone_is_tiny():
    assert 1_000_000 < counts(backbone="vit_tiny", method="fullft")[1] < 2_000_000


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_has_a_known_room(method):
    known = frozenset().union(*(m.groups for m in METHOD_TABLE.values()))
    network = build(Experiment(backbone="vit_tiny", method=method))
    assert {group for _, group in groups_of_parameters(network)} <= known
    assert [name for name, _ in groups_of_parameters(network)] == [name for name, _ in network.named_parameters()]


def test_training_freezes_the_rest():
    network = build(Experiment(backbone="vit_tiny", method="pdecft"))
    trained = train_only(network, "pdecft")
    assert trained == [name for name, p in network.named_parameters() if p.requires_grad]
    heads = ("mask_decoder.mask_tokens", "mask_decoder.output_upscaling", "mask_decoder.output_hypernetworks_mlps")
    assert all(name.startswith(heads) for name in trained)


def test_the_names_of_methods_and_backbones_agree():
    assert set(METHODS) == set(METHOD_TABLE)
    assert set(BACKBONES) == set(building.BACKBONES)


def test_a_parameter_of_no_group_is_named():
    with pytest.raises(ValueError, match=r"on the way to inner\.weight names its group"):
        list(groups_of_parameters(nn.ModuleDict({"inner": nn.Linear(2, 2)})))
