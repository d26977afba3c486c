# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.commands.tables.checkpoint import describe
from flap_sam.config.experiment import Experiment
from flap_sam.foundation.files import sha256
from flap_sam.sam.build import build
from flap_sam.sam.checkpoint import network_for


def test_every_tensor_and_the_hash_are_shown(small, tmp_path):
    network, _, _ = network_for(small, None)
    torch.save(network.state_dict(), tmp_path / "sam.pth")
    experiment = Experiment(image_size=48)
    text = describe(tmp_path / "sam.pth", experiment)
    assert f"sha256 {sha256(tmp_path / 'sam.pth')}\n" in text
    assert "vit_tiny for 48 px" in text
    listed = dict(line.rsplit("  ", 1)[::-1] for line in text.splitlines()[2:] if line)
    assert listed.keys() == build(experiment.resolved("vit_tiny", 48)).state_dict().keys()
    assert listed["image_encoder.pos_embed"].strip() == "resized"
    assert listed["mask_decoder.mask_tokens.weight"].strip() == "started anew"
