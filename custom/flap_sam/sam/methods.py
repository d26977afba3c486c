# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning methods: which groups of the network train, and which of those leave the site."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from flap_sam.config.strategies import Role, trains
from flap_sam.sam.adapters import FACTOR_GROUPS

ATTENTION = frozenset({"encoder_attention", "decoder_attention"})
HEADS = frozenset({"up", "hyp", "mask_tokens"})
DECODER = HEADS | {"decoder", "decoder_attention", "decoder_unused"}
LOW_RANK = frozenset({"lora", "lora_even", "lora_odd", "magnitude", "gate"})
FACT = frozenset({"fact", "slice_adapter"})
PROMPT = frozenset({"prompt", "prompt_unused"})
EVERYTHING = DECODER | PROMPT | ATTENTION | {"encoder"}

UNUSED = frozenset({"decoder_unused", "prompt_unused"})
PERSONAL = frozenset({"gate"})
RENEWED = frozenset({"lora_renewed"})
ADAPTER_GROUPS = LOW_RANK | RENEWED | FACT | {"lora_frozen"}
ROLES: dict[str, Role] = {group: role for role, group in FACTOR_GROUPS.items()}


@dataclass(frozen=True)
class Method:
    """One row of the paper's Table 1: the groups that train; `lora` and `fact` say which adapters exist."""

    groups: frozenset[str]
    lora: bool = False
    fact: bool = False

    @property
    def mixes_slices(self) -> bool:
        """Whether a slice's logits depend on the other slices of its window: they do through MA-SAM's 3D adapters."""
        return self.fact


METHOD_TABLE = {
    "fullft": Method(EVERYTHING),
    "attnft": Method(ATTENTION | HEADS),
    "decft": Method(DECODER),
    "pdecft": Method(HEADS),
    "loraft": Method(LOW_RANK, lora=True),
    "loradecft": Method(LOW_RANK | DECODER, lora=True),
    "flap_sam": Method(LOW_RANK | HEADS, lora=True),
    "masam": Method(FACT | DECODER | PROMPT, fact=True),
}


@dataclass(frozen=True)
class ParameterRow:
    """What happens to one parameter.

    Args:
        group: where it lives.
        trained: counted as trainable, as the paper counts.
        used: a training step can change it; SAM's IoU head, say, is counted by the paper but never run.
        sent: each payload holds it.
        role: when it trains, see `config.strategies.Roles`.
    """

    name: str
    shape: tuple[int, ...]
    group: str
    trained: bool
    used: bool
    sent: bool
    role: Role

    def trains_in(self, number: int) -> bool:
        """Whether a step of the round of this number can change it."""
        return self.used and trains(self.role, number)

    def leaves_in(self, number: int) -> bool:
        """Whether it leaves the site after the round of this number."""
        return self.sent and self.trains_in(number)


def parameter_table(network: nn.Module, method: str) -> list[ParameterRow]:
    """Every parameter of the network, in its order, and what the method does with it."""
    groups = METHOD_TABLE[method].groups
    parameters = dict(network.named_parameters())
    return [
        ParameterRow(
            name,
            tuple(parameters[name].shape),
            group,
            trained=group in groups,
            used=group in groups - UNUSED,
            sent=group in (groups | RENEWED) - UNUSED - PERSONAL,
            role=ROLES.get(group, "trained"),
        )
        for name, group in groups_of_parameters(network)
    ]


def freezes_encoder(network: nn.Module, method: str) -> bool:
    """Whether the image encoder stays as it is in all rounds: nothing of it trains."""
    return not any(t.trained for t in parameter_table(network, method) if t.name.startswith("image_encoder."))


def groups_of_parameters(module: nn.Module, prefix: str = "", group: str | None = None) -> Iterator[tuple[str, str]]:
    """Name and group of every parameter: the nearest `parameter_groups` above it that names the way to it."""
    declared = getattr(module, "parameter_groups", {})
    for name, _ in module.named_parameters(recurse=False):
        if (own := declared.get(name, group)) is None:
            raise ValueError(f"no `parameter_groups` on the way to {prefix}{name} names its group")
        yield prefix + name, own
    for name, child in module.named_children():
        yield from groups_of_parameters(child, f"{prefix}{name}.", declared.get(name, group))


def train_only(network: nn.Module, method: str) -> list[str]:
    """Freeze all that the method does not train; returns the names of what a step can change."""
    trained = [tensor.name for tensor in parameter_table(network, method) if tensor.used]
    wanted = set(trained)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
    return trained
