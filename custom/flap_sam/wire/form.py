# SPDX-License-Identifier: Apache-2.0
"""The form in which adapters travel: where the server sums products B A, the product and nothing else."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from flap_sam.config import strategies
from flap_sam.config.experiment import Experiment
from flap_sam.lowrank.canonical import canonical
from flap_sam.lowrank.factors import Factors, stack
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.methods import parameter_table

Pairs = list[tuple[str, str]]


def summed_pairs(network: nn.Module, experiment: Experiment) -> Pairs:
    """Names of A and B of every adapter that travels in canonical form, as the server sums its products B A.

    None under a strategy that averages A and B for themselves; nor in int8, which sends how far A and B have moved.
    """
    if not strategies.traits(experiment.strategy).sums_changes or experiment.payload_dtype == "int8":
        return []
    sent = {tensor.name for tensor in parameter_table(network, experiment.method) if tensor.sent}
    return [(a, b) for a, b in low_rank_pairs(network) if {a, b} <= sent]


def in_canonical_form(tensors: Mapping[str, Tensor], pairs: Pairs) -> dict[str, Tensor]:
    """The tensors, those of the pairs as `lowrank.canonical` has them, in the type and order they came in."""
    told = dict(tensors)
    for names in _alike(tensors, pairs):
        found = canonical(stack([Factors(tensors[a], tensors[b]) for a, b in names]))
        for (a, b), A, B in zip(names, found.A, found.B, strict=True):
            told[a], told[b] = A.to(tensors[a].dtype).contiguous(), B.to(tensors[b].dtype).contiguous()
    return told


def _alike(tensors: Mapping[str, Tensor], pairs: Pairs) -> Iterable[Pairs]:
    """The pairs by their shapes: those of one shape are handled in one batch."""
    groups: dict[tuple[torch.Size, torch.Size], Pairs] = {}
    for a, b in pairs:
        groups.setdefault((tensors[a].shape, tensors[b].shape), []).append((a, b))
    return groups.values()
