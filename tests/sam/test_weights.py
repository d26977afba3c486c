# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from flap_sam.config.experiment import BACKBONES, Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.sam import pretrained
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.weights import RANDOM, weights_for
from safetensors.torch import load_file

ELSEWHERE = Path("/data/sam.pth")


@pytest.mark.parametrize("backbone", ["auto", *BACKBONES])
def test_what_is_configured_goes_before_the_box(backbone):
    assert (weights_for(backbone, ELSEWHERE).origin, weights_for(backbone, ELSEWHERE).file) == ("checkpoint", ELSEWHERE)
    assert (weights_for(backbone, RANDOM).origin, weights_for(backbone, RANDOM).file) == ("random", None)


@pytest.mark.parametrize("backbone", ["auto", "vit_tiny"])
@pytest.mark.parametrize("method", ["flap_sam", "masam", "fullft"])
def test_where_nothing_is_configured_the_network_is_the_box_s(backbone, method):
    found = weights_for(backbone, None)
    assert (found.origin, found.file) == ("bundled", pretrained.FILE)
    network, experiment, report = network_for(Experiment(backbone=backbone, method=method), found.file)
    assert (experiment.backbone, report.resized) == ("vit_tiny", [])
    state, kept = network.state_dict(), load_file(pretrained.FILE)
    assert all(torch.equal(state[name], kept[name]) for name in report.loaded)
    parts = ("image_encoder.", "mask_decoder.transformer.")
    assert {name for name in kept if name.startswith(parts)} <= set(report.loaded)


@pytest.mark.parametrize("backbone", ["vit_b", "vit_l", "vit_h"])
def test_a_backbone_that_the_box_lacks_is_refused(backbone):
    with pytest.raises(
        FlapSamError, match=f"backbone is {backbone}.* set FLAP_SAM_CHECKPOINT.* or to `random`"
    ) as told:
        weights_for(backbone, None)
    assert told.value.reason == Reason.CHECKPOINT


@pytest.mark.parametrize("pin", [None, "ab" * 32])
def test_a_sites_pin_goes_with_the_file_and_the_box_s_file_is_always_pinned(pin):
    assert weights_for("auto", ELSEWHERE, pin).pin == weights_for("auto", RANDOM, pin).pin == pin
    assert weights_for("auto", None, pin).pin == (pin or pretrained.SHA256)
