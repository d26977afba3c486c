"""Differential privacy of a site's updates: the Gaussian mechanism on what leaves, and what it has cost so far.

Every update u is clipped to L2 norm C over all its numbers (A, B and every other tensor) and leaves as
u + N(0, (z C)^2). Two data sets of the site, whatever they differ in, give clipped updates at most 2 C apart, so one
release is a Gaussian mechanism of noise multiplier z / 2. The releases are composed by Google's `dp_accounting`
(privacy loss distributions, Koskela et al., arXiv 1906.03049).
"""

import secrets
from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from flap_sam.federation.gate.agreement import Privacy

Tensors = Mapping[str, Tensor]


def privatised(sent: Tensors, base: Tensors, privacy: Privacy) -> dict[str, Tensor]:
    """The tensors with their update clipped and noise added, float32."""
    updates = {name: tensor.double() - base[name].double() for name, tensor in sent.items()}
    norm = sqrt(sum(update.square().sum().item() for update in updates.values()))
    share = min(1.0, privacy.clip / norm) if norm else 1.0
    generator = torch.Generator().manual_seed(secrets.randbits(63))
    spread = privacy.noise_multiplier * privacy.clip
    return {
        name: (base[name] + share * u + spread * torch.randn(u.shape, generator=generator, dtype=u.dtype)).float()
        for name, u in updates.items()
    }


def epsilon(releases: Mapping[float, int], delta: float) -> float:
    """The epsilon that so many releases, by noise multiplier, have cost at this delta."""
    from dp_accounting import GaussianDpEvent  # its import takes a second, and few sites need it
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    accountant = PLDAccountant()
    for noise_multiplier, count in releases.items():
        accountant.compose(GaussianDpEvent(noise_multiplier / 2), count)
    return accountant.get_epsilon(delta)
