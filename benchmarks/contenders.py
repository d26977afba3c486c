# SPDX-License-Identifier: Apache-2.0
"""The same training step, ours and the baseline's, from the same weights on the same windows."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from baseline import Baseline, BaselineLoss
from flap_sam.config.experiment import Experiment
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import train_only
from flap_sam.training.precision import autocast, settle
from flap_sam.training.step import backward, backward_by_window
from flap_sam.training.team import ALONE
from torch import Tensor, nn

BASELINE, OURS, LOW = "segment_anything", "ours", "ours, memory low"
RATE = 1e-5


@dataclass(frozen=True)
class Contender:
    """A network that trains.

    Args:
        gradients: from images and labels to the loss; leaves the gradients at the parameters.
        trained: the parameters that train, by our names.
    """

    network: nn.Module
    gradients: Callable[[Tensor, Tensor], Tensor]
    trained: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.gradients(images, labels)
        self.optimizer.step()
        return loss


def sizes(description: str) -> argparse.ArgumentParser:
    """The options that both scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--batch", type=int, default=1, help="windows of 5 slices")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    return parser


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def contender(name: str, asked: argparse.Namespace, precision: str = "float32") -> Contender:
    """One of the names above, for `flap_sam` with LoRA and weights drawn from a seed."""
    wanted = Experiment(backbone=asked.backbone, image_size=asked.image_size, rank=asked.rank)
    network, experiment, _ = network_for(wanted, None)
    for tensor in network.state_dict().values():
        if not tensor.any():
            nn.init.normal_(tensor, std=0.02, generator=torch.Generator().manual_seed(tensor.numel()))
    names = train_only(network, experiment.method)
    if name == BASELINE:
        return _baseline(Baseline(experiment, network.state_dict()), names)
    network.to(device()).train()
    if name == LOW:
        network.image_encoder.recompute_blocks()
    settled, step = settle(precision, device()), backward_by_window if name == LOW else backward

    def logits(images: Tensor) -> Tensor:
        with autocast(device(), settled):
            return network(images).float()

    trained = {n: network.get_parameter(n) for n in names}
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=0.1, fused=True)
    return Contender(network, lambda images, labels: step(logits, images, labels, ALONE, 1.0), trained, optimizer)


def _baseline(network: Baseline, names: Sequence[str]) -> Contender:
    network.to(device()).train().requires_grad_(False)
    trained = {name: network.get_parameter(network.name_of(name)).requires_grad_() for name in names}
    loss_of = BaselineLoss()

    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        loss = loss_of(network(images), labels)
        loss.backward()
        return loss.detach()

    return Contender(network, gradients, trained, torch.optim.AdamW(trained.values(), lr=RATE, weight_decay=0.1))


def batch(asked: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images and labels of random windows."""
    generator, shape = torch.Generator().manual_seed(0), (asked.batch, 5, asked.image_size, asked.image_size)
    images = torch.rand(shape, generator=generator)
    return images.to(device()), torch.randint(0, 3, shape, generator=generator, dtype=torch.uint8).to(device())
