"""One site's local epochs: AdamW over the tensors that the method trains, and over nothing else."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from flap_sam.data.augment import Augmentation
from flap_sam.data.windows import Windows, earlier_visits, epoch_order, foreground_order
from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.files import replacing
from flap_sam.sam.methods import statement, train_only
from flap_sam.training.loss import segmentation_loss
from flap_sam.training.schedule import learning_rate

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class LocalResult:
    """What the local epochs of one round came to: mean loss over the steps, steps, wall seconds."""

    loss: float
    steps: int
    seconds: float


class Trainer:
    """Trains a network on one site's windows and keeps the optimizer between rounds.

    Args:
        network: with its weights, on `device`.
        experiment: resolved.
        windows: the site's training windows, made on `device`.
        precision: "float32", or "bfloat16" for autocast.
    """

    def __init__(
        self, network: nn.Module, experiment: Experiment, windows: Windows, device: torch.device, precision: str
    ) -> None:
        self.network = network
        self.experiment = experiment
        self.windows = windows
        self.device = device
        self.precision = precision
        trained = train_only(network, experiment.method)
        parameters = dict(network.named_parameters())
        self._trained = {name: parameters[name] for name in trained}
        self._sent = [tensor.name for tensor in statement(network, experiment.method) if tensor.sent]
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), betas=(0.9, 0.999), weight_decay=experiment.weight_decay
        )
        self._step = 0

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.windows) / self.experiment.batch_size)

    def payload(self) -> dict[str, Tensor]:
        """Copies of the tensors that leave the site, on the CPU."""
        return {name: self._trained[name].detach().to("cpu", copy=True) for name in self._sent}

    @torch.no_grad()
    def receive(self, payload: dict[str, Tensor]) -> None:
        """Take the tensors of a payload that has been checked."""
        for name in self._sent:
            self._trained[name].copy_(payload[name])

    def train(self, round_number: int, stopped: Callable[[], bool] = lambda: False) -> LocalResult:
        """The local epochs of one round.

        Args:
            stopped: asked before every step whether to give up.

        Raises:
            FlapSamError: the loss is no longer finite, or the round was stopped.
        """
        start, losses = time.perf_counter(), []
        torch.manual_seed((self.experiment.seed + round_number) % 2**63)
        self.network.train()
        size = self.experiment.batch_size
        for epoch in range(self.experiment.local_epochs):
            augmentation, order = self._epoch(round_number, epoch)
            for indices, visits in zip(order.split(size), earlier_visits(order).split(size), strict=True):
                if stopped():
                    message = f"Round {round_number} was stopped after {len(losses)} steps."
                    raise FlapSamError(message, public=message)
                losses.append(self._update(*self.windows.batch(indices, augmentation, visits)))
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            message = f"The training loss of round {round_number} is {loss}; lower the learning rate."
            raise FlapSamError(message, public=message)
        return LocalResult(loss, len(losses), time.perf_counter() - start)

    def _epoch(self, round_number: int, epoch: int) -> tuple[Augmentation | None, Tensor]:
        """How the windows of a local epoch are augmented, and their order."""
        key = self.experiment.seed, round_number, epoch
        augmentation = Augmentation(*key) if self.experiment.augmentation == "paper" else None
        if self.experiment.foreground_share:
            return augmentation, foreground_order(self.windows.foreground, self.experiment.foreground_share, *key)
        return augmentation, epoch_order(len(self.windows), *key)

    def _update(self, images: Tensor, labels: Tensor) -> Tensor:
        rate = learning_rate(self.experiment, self._step, self.steps_an_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.device, self.precision):
            logits = self.network(images)
        loss = segmentation_loss(logits.float(), labels.long()).total
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._step += 1
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write what the next round needs and the server does not send: moments, step, personal tensors."""
        personal = {name: p for name, p in self._trained.items() if name not in self._sent}
        state = {f"tensor/{name}": p.detach().contiguous() for name, p in personal.items()}
        for name, parameter in self._trained.items():
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                state[f"{moment}/{name}"] = value.contiguous()
        metadata = {"step": str(self._step), "experiment": self.experiment.digest()}
        with replacing(path) as stream:
            stream.write(save(state, metadata=metadata))

    @torch.no_grad()
    def restore(self, path: Path) -> None:
        """Take up what `save` wrote.

        Raises:
            FlapSamError: the file is damaged or belongs to another experiment.
        """
        state, metadata = _read_state(path)
        if metadata.get("experiment") != self.experiment.digest():
            raise FlapSamError(f"Training state {path} belongs to another experiment; remove it to start anew.")
        self._step = int(metadata["step"])
        for name, parameter in self._trained.items():
            if f"tensor/{name}" in state:
                parameter.copy_(state[f"tensor/{name}"])
            moments = {m: state[f"{m}/{name}"] for m in MOMENTS if f"{m}/{name}" in state}
            if moments:
                on_device = {m: v.to(self.device) if m != "step" else v for m, v in moments.items()}
                self._optimizer.state[parameter] = on_device


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Autocast to bfloat16 where the site asks for it, else nothing."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return load_file(path), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise FlapSamError(f"Training state {path} is damaged ({error}); remove it to start anew.") from error
