# SPDX-License-Identifier: Apache-2.0
"""One site's local epochs: AdamW over the tensors that the method trains, and over nothing else."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from flap_sam.config.experiment import Experiment
from flap_sam.data.augment import Augmentation
from flap_sam.data.windows import Windows, earlier_visits, epoch_order, foreground_order
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import Count, Number, StrictModel
from flap_sam.lowrank.factors import leading
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.initial import initial
from flap_sam.sam.methods import PERSONAL, parameter_table, train_only
from flap_sam.sam.network import FlapSam
from flap_sam.training.embedded import EmbeddedWindows
from flap_sam.training.optimizer import AdamW
from flap_sam.training.precision import autocast
from flap_sam.training.prefetch import made_ahead
from flap_sam.training.schedule import learning_rate
from flap_sam.training.step import backward, backward_by_window
from flap_sam.training.team import ALONE, Team
from flap_sam.wire.form import turning_pairs

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
FUSED = ("cpu", "cuda")  # devices on which AdamW updates all tensors in one pass


class LocalResult(StrictModel):
    """What the local epochs of one round came to: mean loss over the steps, steps, wall seconds."""

    loss: Number
    steps: Count
    seconds: Number


class Trainer:
    """Trains a network on one site's windows and keeps the optimizer between rounds.

    Args:
        network: with its weights, on `device`.
        experiment: resolved.
        windows: the site's training windows, made on `device`.
        precision: as `precision.settle` gave it.
        memory: "normal", or "low": a window at a time, and its encoder's blocks computed again on the way back.
        team: processes that take every step together.
        forward: from a batch of `windows` to logits; by default the network itself.
    """

    def __init__(
        self,
        network: FlapSam,
        experiment: Experiment,
        windows: Windows | EmbeddedWindows,
        device: torch.device,
        precision: str,
        memory: str = "normal",
        team: Team = ALONE,
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.network = network
        self._forward = forward or network
        self.experiment = experiment
        self.windows = windows
        self.device = device
        self.precision = precision
        self.team = team
        if memory == "low":
            network.image_encoder.recompute_blocks()
        self._backward = backward_by_window if memory == "low" else backward
        trained = train_only(network, experiment.method)
        parameters = dict(network.named_parameters())
        self._trained = {name: parameters[name] for name in trained}
        self._table = parameter_table(network, experiment.method)
        self._sent = {tensor.name: parameters[tensor.name] for tensor in self._table if tensor.sent}
        self._personal = {tensor.name for tensor in self._table if tensor.group in PERSONAL}
        always = {tensor.name for tensor in self._table if tensor.sent and tensor.role == "trained"}
        self._pairs = [pair for pair in low_rank_pairs(network) if set(pair) <= always]
        self._turning = [name for pair in turning_pairs(network, experiment) for name in pair]
        self._optimizer = AdamW(
            self._trained.values(),
            betas=(0.9, 0.999),
            weight_decay=experiment.weight_decay,
            fused=device.type in FUSED,
        )
        self._step = 0
        self._mu = experiment.proximal
        self._anchors: dict[str, Tensor] = {}

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.windows) / self.experiment.batch_size)

    def payload(self) -> dict[str, Tensor]:
        """Copies of the tensors that a payload holds, on the CPU."""
        return self._copies(self._sent)

    def update(self, round_number: int) -> dict[str, Tensor]:
        """Those of them that leave the site after a round."""
        return self._copies(tensor.name for tensor in self._table if tensor.leaves_in(round_number))

    def _copies(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: self._sent[name].detach().to("cpu", copy=True) for name in names}

    @torch.no_grad()
    def receive(self, payload: Mapping[str, Tensor]) -> None:
        """Take the tensors of a payload that has been checked; of a higher rank than the site's, the leading part.

        A direction that the server's SVD found no use for comes as zeros in A and B and could never train again:
        where both train, its row of A starts anew, which changes nothing, as B stays zero.
        """
        for name, parameter in self._sent.items():
            parameter.copy_(leading(payload[name], parameter.shape))
        for a, b in self._pairs:
            dead = (self._sent[a] == 0).all(dim=1) & (self._sent[b] == 0).all(dim=0)
            if dead.any():
                start = initial(self.network, a, self.experiment.seed).to(self.device)
                self._sent[a][dead] = start[dead]

    def train(
        self,
        round_number: int,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int, Tensor], None] = lambda *_: None,
    ) -> LocalResult:
        """The local epochs of one round.

        Args:
            stopped: asked before every step whether to give up.
            progress: told after every step: steps done, steps of the round, and the loss, on the device.

        Raises:
            FlapSamError: the loss is no longer finite, or the round was stopped.
        """
        start = time.perf_counter()
        losses: list[Tensor] = []
        self._let_train(round_number)
        torch.manual_seed((self.experiment.seed + round_number) % 2**63)
        self.network.train()
        steps = self.steps_an_epoch * self.experiment.local_epochs
        for epoch in range(self.experiment.local_epochs):
            for images, labels, weight in self._batches(round_number, epoch):
                if stopped():
                    raise FlapSamError(f"Round {round_number} was stopped after {len(losses)} steps.", Reason.ABORTED)
                losses.append(self._update(images, labels, weight))
                progress(len(losses), steps, losses[-1])
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise FlapSamError(
                f"The training loss of round {round_number} is {loss}; lower the learning rate.", Reason.DIVERGED
            )
        return LocalResult(loss=loss, steps=len(losses), seconds=time.perf_counter() - start)

    def _let_train(self, round_number: int) -> None:
        """Let train what does so in a round, and remember where it stood for what is sent of it.

        A factor that takes turns comes in another basis every round: its moments begin anew.
        """
        for name in self._turning:
            self._optimizer.state.pop(self._sent[name], None)
        trained = {tensor.name for tensor in self._table if tensor.trains_in(round_number)}
        for name, parameter in self._trained.items():
            parameter.requires_grad_(name in trained)
        moving = {name: p for name, p in self._sent.items() if name in trained}
        self._anchors = {name: p.detach().clone() for name, p in moving.items()} if self._mu else {}

    def _batches(self, round_number: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Images and labels of the own part of every batch of a local epoch, and the part's weight."""
        augmentation, order = self._epoch(round_number, epoch)
        size = self.experiment.batch_size
        chosen = list(zip(order.split(size), earlier_visits(order).split(size), strict=True))
        parts = [self.team.part(len(indices)) for indices, _ in chosen]
        own = ((indices[part], visits[part]) for (indices, visits), (part, _) in zip(chosen, parts, strict=True))
        made = made_ahead(lambda item: self.windows.batch(item[0], augmentation, item[1]), own, self.device)
        for batch, (_, weight) in zip(made, parts, strict=True):
            yield *batch, weight

    def _epoch(self, round_number: int, epoch: int) -> tuple[Augmentation | None, Tensor]:
        """How the windows of a local epoch are augmented, and their order."""
        key = self.experiment.seed, round_number, epoch
        augmentation = Augmentation(*key) if self.experiment.augmentation == "paper" else None
        if self.experiment.foreground_share:
            return augmentation, foreground_order(self.windows.foreground, self.experiment.foreground_share, *key)
        return augmentation, epoch_order(len(self.windows), *key)

    def _update(self, images: Tensor, labels: Tensor, weight: float) -> Tensor:
        rate = learning_rate(self.experiment, self._step, self.steps_an_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._backward(self._logits, images, labels, self.team, weight)
        self.team.add_gradients(self._trained.values())
        for name, anchor in self._anchors.items():  # FedProx, arXiv 1812.06127: + mu/2 ||w - w_received||^2
            parameter = self._trained[name]
            if parameter.grad is None:
                raise ValueError(f"{name} has no gradient to which its anchor's could be added")
            parameter.grad.add_(parameter.detach() - anchor, alpha=self._mu)
        self._optimizer.step()
        self._step += 1
        return loss

    def _logits(self, images: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            return self._forward(images).float()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the next round needs and the server does not send: steps and moments; and the personal tensors."""
        training = {"steps": torch.tensor(self._step)}
        for name, parameter in self._trained.items():
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                training[f"{moment}/{name}"] = value
        return training, {name: p.detach() for name, p in self._trained.items() if name in self._personal}

    @torch.no_grad()
    def restore(self, training: Mapping[str, Tensor]) -> None:
        """Take up the steps and moments that `state` gave."""
        self._step = int(training["steps"])
        for name, parameter in self._trained.items():
            moments = {m: training[f"{m}/{name}"] for m in MOMENTS if f"{m}/{name}" in training}
            if moments:
                self._optimizer.state[parameter] = {m: v.to(self.device) for m, v in moments.items()}

    @torch.no_grad()
    def restore_personal(self, personal: Mapping[str, Tensor]) -> None:
        """Take up the personal tensors that `state` gave."""
        for name, tensor in personal.items():
            self._trained[name].copy_(tensor)
