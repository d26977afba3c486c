# SPDX-License-Identifier: Apache-2.0
"""The form in which adapters travel: where the server sums products B A, the product and nothing else.

Where A and B take turns, the one that is common to all sites in a round is orthonormal (see `lowrank.one_sided`); in a
round without a payload it is as drawn.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from flap_sam.config import strategies
from flap_sam.config.experiment import Experiment
from flap_sam.lowrank.canonical import canonical
from flap_sam.lowrank.factors import Factors, stack
from flap_sam.lowrank.one_sided import is_orthonormal, one_sided
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


def turning_pairs(network: nn.Module, experiment: Experiment) -> Pairs:
    """Names of A and B of every adapter of which one is fixed in every round; none under most strategies."""
    return low_rank_pairs(network) if strategies.traits(experiment.strategy).roles.take_turns else []


def fixed_names(experiment: Experiment, pairs: Pairs, number: int) -> list[str]:
    """Of turning pairs those that are fixed in the round of this number, the same at all sites."""
    if not pairs:
        return []
    side = "AB".index(strategies.traits(experiment.strategy).roles.fixed_in(number))
    return [pair[side] for pair in pairs]


def in_form_of_round(
    tensors: Mapping[str, Tensor], experiment: Experiment, pairs: Pairs, number: int
) -> dict[str, Tensor]:
    """The tensors, turning pairs split so that the round of this number can start from them; the change is the same."""
    fixed = strategies.traits(experiment.strategy).roles.fixed_in(number)
    return _reformed(tensors, pairs, lambda factors: one_sided(factors, fixed))


def is_in_form_of_round(
    tensors: Mapping[str, Tensor], experiment: Experiment, pairs: Pairs, number: int, dtype: torch.dtype
) -> bool:
    """Whether the factors that are fixed in the round are orthonormal, up to the rounding of a type."""
    names = fixed_names(experiment, pairs, number)
    return all(is_orthonormal(tensors[n].mT if n.endswith(".A") else tensors[n], dtype) for n in names)


def in_canonical_form(tensors: Mapping[str, Tensor], pairs: Pairs) -> dict[str, Tensor]:
    """The tensors, those of the pairs as `lowrank.canonical` has them, in the type and order they came in."""
    return _reformed(tensors, pairs, canonical)


def _reformed(tensors: Mapping[str, Tensor], pairs: Pairs, reform: Callable[[Factors], Factors]) -> dict[str, Tensor]:
    told = dict(tensors)
    for names in _alike(tensors, pairs):
        found = reform(stack([Factors(tensors[a], tensors[b]) for a, b in names]))
        for (a, b), A, B in zip(names, found.A, found.B, strict=True):
            told[a], told[b] = A.to(tensors[a].dtype).contiguous(), B.to(tensors[b].dtype).contiguous()
    return told


def _alike(tensors: Mapping[str, Tensor], pairs: Pairs) -> Iterable[Pairs]:
    """The pairs by their shapes: those of one shape are handled in one batch."""
    groups: dict[tuple[torch.Size, torch.Size], Pairs] = {}
    for a, b in pairs:
        groups.setdefault((tensors[a].shape, tensors[b].shape), []).append((a, b))
    return groups.values()
