# SPDX-License-Identifier: Apache-2.0
"""Differential privacy of a site's updates: discrete Gaussian noise on what leaves, and what it has cost so far.

With clip C and noise multiplier z, a release of the weights w, measured from the base b, is made in four steps:

1. The update u = w - b, all tensors together, is scaled to L2 norm at most C.
2. Each number is divided by the grid's step g = C / R, with R = 2^18, and rounded towards zero: k = trunc(u / g).
   Rounding towards zero shortens every number, so k, a vector of whole numbers, has norm at most R, as in step 1.
3. Noise x of N_Z(0, s^2) is added to each number of k, in whole numbers, with s = ceil(z R) (`discrete_gaussian`).
4. What leaves is b + g (k + x), rounded to the type of the payload.

Two data sets of the site, whatever they differ in, give vectors k at most 2 R apart, so k + x is a discrete Gaussian
mechanism of sensitivity 2 R and scale s >= z R. Step 4 uses nothing but k + x and b, and b is known to the server: it
is what the server sent, or what the experiment's seed and weights give. Its rounding therefore tells nothing more
about u, in any type, and neither does taking b away again. The noise is never less than agreed, and at most one step
more. Rounding draws each number towards zero by less than one step, C / 2^18.
"""

from collections.abc import Mapping
from math import ceil, isfinite, sqrt

import torch
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate.agreement import Privacy
from flap_sam.gate.discrete_gaussian import discrete_gaussian

Tensors = Mapping[str, Tensor]

RADIUS = 2**18  # R: the steps of the grid in one clip
FLOAT_ERROR = 2**-20  # more than floating point can add to a norm; see `clipped_steps`


def privatised(sent: Tensors, base: Tensors, privacy: Privacy) -> dict[str, Tensor]:
    """The tensors with their update clipped and noise added, float32.

    Raises:
        FlapSamError: an update is not finite.
        OSError, NotImplementedError: the operating system has no entropy to give.
    """
    steps = clipped_steps(sent, base, privacy.clip)
    sizes = [k.numel() for k in steps.values()]
    noise = torch.from_numpy(discrete_gaussian(sum(sizes), ceil(privacy.noise_multiplier * RADIUS)))
    grid = privacy.clip / RADIUS
    return {
        name: (base[name].double() + grid * (k + x.view(k.shape)).double()).float()
        for (name, k), x in zip(steps.items(), noise.split(sizes), strict=True)
    }


def clipped_steps(sent: Tensors, base: Tensors, clip: float) -> dict[str, Tensor]:
    """The clipped update in steps of the grid, int64: the sum of all squares is at most RADIUS^2.

    Summed in any order, n squares come out too small by at most a share n 2^-53, and the other operations add a few
    2^-53. For n below 2^32 the vector that is scaled by a further 1 - 2^-20 is therefore no longer than RADIUS.
    """
    norm = sqrt(sum(_update(sent, base, name).square().sum().item() for name in sent))
    if not isfinite(norm):
        raise FlapSamError(
            f"The update has norm {norm}; noise needs finite tensors. Check the learning rate.", Reason.DIVERGED
        )
    scale = (1 - FLOAT_ERROR) * RADIUS / max(norm, clip)
    return {name: (scale * _update(sent, base, name)).long() for name in sent}  # .long() rounds towards zero


def epsilon(releases: Mapping[float, int], delta: float) -> float:
    """The epsilon that so many releases, by noise multiplier, have cost at this delta.

    Between two vectors k and k' the Renyi divergence of order a is at most a |k - k'|^2 / 2 s^2 in any dimension, as
    for continuous noise: arXiv 2004.00010, section 2, for one number, and independent numbers add up. With |k - k'| at
    most 2 R and s at least z R a release is therefore (2 / z^2)-zCDP. Releases add up too, even where one depends on
    those before. The sum gives epsilon by proposition 12 there, at the best of `dp_accounting`'s orders. Privacy loss
    distributions of continuous Gaussian noise would give some 7 % less, but are not proven for whole numbers.
    """
    from dp_accounting import ZCDpEvent  # its import takes a second, and few sites need it
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    for noise_multiplier, count in releases.items():
        accountant.compose(ZCDpEvent(rho=2 / noise_multiplier**2), count)
    return float(accountant.get_epsilon(delta))


def _update(sent: Tensors, base: Tensors, name: str) -> Tensor:
    return sent[name].double() - base[name].double()
