# SPDX-License-Identifier: Apache-2.0
"""What of an update leaves: bounded, with noise, or rounded, as the site has agreed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log2

import torch
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate.agreement import CLIP, Agreement, Privacy
from flap_sam.gate.discrete_gaussian import uniform_below
from flap_sam.gate.ledger import Ledger
from flap_sam.gate.noise import epsilon, privatised
from flap_sam.gate.update import Change
from flap_sam.wire import encoding

RANDOM_STEPS = 2**24

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Release:
    """Tensors that may leave, as they travel.

    Args:
        note: what the audit log says of them.
        noise_multiplier: of the noise in them; None where there is none.
    """

    tensors: dict[str, Tensor]
    note: dict[str, object] = field(default_factory=dict)
    noise_multiplier: float | None = None


def release(wire: Tensors, update: Change, payload_dtype: str, agreement: Agreement, ledger: Ledger) -> Release:
    """The tensors of an update that may leave.

    Args:
        wire: the tensors as the site would send them; update: what they say.

    Raises:
        FlapSamError: the update is larger than agreed, an adapter is not in canonical form, or the privacy budget is
            spent.
    """
    if agreement.privacy:
        return _noised(update, payload_dtype, agreement.privacy, ledger)
    if not update.are_canonical(next(iter(wire.values())).dtype):
        raise FlapSamError("An adapter is not in canonical form; its factors may carry more than B A.", Reason.FORM)
    norm, note = update.norm(), {}
    if norm > agreement.largest_update:
        if agreement.over != CLIP:
            raise FlapSamError(
                f"The norm of the update is {norm:.4g}; the site has agreed to {agreement.largest_update:g}.",
                Reason.NORM,
            )
        note = {"clipped": agreement.largest_update}
        update = update.clipped_to(agreement.largest_update)
        wire = _as_sent(update.sent, payload_dtype)
    if agreement.release_bits:
        note |= {"bits": agreement.release_bits}
        wire = _as_sent(rounded(update, agreement.release_bits), payload_dtype)
    return Release(dict(wire), {"norm": norm, **note})


def rounded(update: Change, bits: int) -> dict[str, Tensor]:
    """The tensors with their update rounded at random to a grid of so many bits a number, float32.

    Each number goes to one of its two neighbours on the grid, and is kept in the mean. The grid of a tensor has
    2^bits + 1 steps, from minus to plus the power of two at or above its largest number. So a number carries no more
    than these bits, whatever stands in its low ones.
    """
    told = {}
    for name, tensor in update.sent.items():
        base = update.base[name].double()
        moved = tensor.double() - base
        largest = moved.abs().max().item()
        step = 2.0 ** (ceil(log2(largest)) + 1 - bits) if largest else 1.0
        drawn = torch.from_numpy(uniform_below(RANDOM_STEPS, moved.numel())).view(moved.shape) / RANDOM_STEPS
        told[name] = (base + step * torch.floor(moved / step + drawn)).float()
    return told


def _noised(update: Change, payload_dtype: str, privacy: Privacy, ledger: Ledger) -> Release:
    """The tensors with noise, once the budget has been found to suffice."""
    if ledger.bare:
        raise FlapSamError(
            f"Data of this site left without noise {ledger.bare} times, which no budget covers; nothing more leaves.",
            Reason.BUDGET,
        )
    spent = epsilon(ledger.releases(privacy.noise_multiplier), privacy.delta)
    if spent > privacy.epsilon:
        raise FlapSamError(
            f"The privacy budget is spent: one more update would cost epsilon {spent:.3g} of {privacy.epsilon:g}.",
            Reason.BUDGET,
        )
    tensors = _as_sent(privatised(update.sent, update.base, privacy), payload_dtype)
    return Release(tensors, {"epsilon": spent, "delta": privacy.delta}, privacy.noise_multiplier)


def _as_sent(tensors: Tensors, payload_dtype: str) -> dict[str, Tensor]:
    return encoding.up(tensors, payload_dtype, {}, {})[0]
