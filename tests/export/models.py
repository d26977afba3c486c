# SPDX-License-Identifier: Apache-2.0
"""Payloads whose every tensor differs from its start, and segment_anything's own modules to load what comes of them."""

from functools import partial

import torch
from flap_sam.config.experiment import Experiment
from flap_sam.inference.model import Model
from flap_sam.sam.build import BACKBONES, PATCH
from flap_sam.sam.checkpoint import network_for, start_digest
from flap_sam.sam.methods import parameter_table
from flap_sam.sam.weights import weights_for
from flap_sam.wire import payload
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

NOTE = {"payload_sha256": "ab", "experiment": "{}", "notes": "{}"}
EXPERIMENTS = {
    "lora": {"alpha": 1.7},
    "lora, whole decoder": {"method": "loradecft"},
    "lora alone": {"method": "loraft"},
    "dora": {"adapter": "dora", "alpha": 0.6},
    "mole": {"adapter": "mole", "alpha": 1.3},
    "frozen A": {"strategy": "freeze-a"},
    "in turn": {"strategy": "alternate"},
    "prompts": {"prompt_grid": 2},
    "fullft": {"method": "fullft"},
    "attnft": {"method": "attnft"},
    "decft": {"method": "decft"},
    "pdecft": {"method": "pdecft"},
}


def write_payload(experiment, folder, checkpoint=None):
    """A payload file in which nothing is as it started, B not 0."""
    network, experiment, _ = network_for(experiment, weights_for(experiment.backbone, checkpoint).file)
    generator = torch.Generator().manual_seed(5)
    parameters = dict(network.named_parameters())
    tensors = {
        name: parameters[name].detach() + 0.05 * torch.randn(shape, generator=generator)
        for name, shape in payload.sent(experiment).items()
    }
    path = folder / "payload.safetensors"
    payload.write(path, tensors, experiment, {"round": 3, "start": start_digest(network, experiment)})
    return path


def trained(experiment, folder, checkpoint=None):
    """The model of such a payload; its gates, which no payload holds, differ from each other too."""
    model = Model.load(write_payload(experiment, folder, checkpoint), checkpoint)
    generator = torch.Generator().manual_seed(6)
    for tensor in parameter_table(model.network, model.experiment.method):
        if tensor.group == "gate":
            model.network.get_parameter(tensor.name).normal_(generator=generator)
    return model


def write_checkpoint(path):
    """SAM weights that the experiment's seed does not give."""
    network, _, _ = network_for(Experiment(backbone="vit_tiny", image_size=64, method="fullft", seed=99), None)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def segment_anything_of(experiment) -> Sam:
    """segment_anything's own network in the experiment's sizes, with random weights."""
    sizes, size = BACKBONES[experiment.backbone], experiment.image_size
    return Sam(
        ImageEncoderViT(
            img_size=size,
            patch_size=PATCH,
            embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            out_chans=sizes.prompt_width,
            use_rel_pos=True,
            window_size=sizes.window,
            global_attn_indexes=sizes.global_attention,
        ),
        PromptEncoder(sizes.prompt_width, (size // PATCH,) * 2, (size, size), mask_in_chans=16),
        MaskDecoder(
            transformer_dim=sizes.prompt_width,
            transformer=TwoWayTransformer(2, sizes.prompt_width, sizes.decoder_heads, sizes.decoder_mlp),
        ),
    ).eval()


def below(state, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def pictures(*shape):
    """Numbers in 0..1, the same in every run."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(8))


def close(found, expected):
    """To what float32 leaves of sums taken in another order; the adapters change the logits by more than 0.01."""
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
