# SPDX-License-Identifier: Apache-2.0
"""Rules that keep a few hostile or broken sites from steering the sum: on the weight changes, before any SVD."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors

FEWEST_SITES = 3


def hostile_sites(share: float, sites: int) -> int:
    """f, the whole sites in a share of them."""
    return math.floor(share * sites + 1e-9)


def shortcoming(rule: str, share: float, sites: int) -> str | None:
    """Why a rule protects nothing among so many sites; None where it does.

    Among two sites nobody can tell which stands apart: the median (Yin et al., arXiv 1803.01498, theorem 1) and the
    median norm of clipping want the honest in the majority, so three sites. The trimmed mean wants f >= 1 and
    K > 2 f (Yin et al., definition 2), Krum f >= 1 and K >= 2 f + 3 (Blanchard et al., arXiv 1703.02757,
    proposition 2).

    Args:
        rule: a name of `experiment.ROBUST_RULES`.
        share: of the sites that may be hostile, below 1/2.
    """
    hostile = hostile_sites(share, sites)
    fewest = {"none": 0, "median": FEWEST_SITES, "clip": FEWEST_SITES}.get(rule)
    if fewest is None:
        if hostile < 1:
            return (
                f"robust {rule!r} with hostile_share {share:g} withstands no site of {sites}; raise hostile_share to "
                f"{math.ceil(100 / sites) / 100:g} or more, take more sites, or set robust to 'median'"
            )
        fewest = 2 * hostile + (3 if rule == "krum" else 1)
    if sites >= fewest:
        return None
    against = f" against {hostile} hostile (hostile_share {share:g})" if rule in ("krum", "trimmed-mean") else ""
    return f"robust {rule!r}{against} needs {fewest} sites, there are {sites}; take more sites or another rule"


def gram(updates: Sequence[Factors]) -> Tensor:
    """<Delta W_i, Delta W_j> over all layers: [K, K] in float64.

    Exact from the factors, tr(B_i^T B_j (A_j A_i^T)); no Delta W is formed and ranks may differ.
    """
    table = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    factors = [(u.scale * u.A.double(), u.B.double()) for u in updates]
    for i, (a_i, b_i) in enumerate(factors):
        for j, (a_j, b_j) in enumerate(factors[: i + 1]):
            table[i, j] = table[j, i] = ((b_i.mT @ b_j) * (a_i @ a_j.mT)).sum()
    return table


def squared_distances(gram: Tensor) -> Tensor:
    """||Delta W_i - Delta W_j||^2 from their scalar products: [K, K], not negative."""
    squares = gram.diagonal()
    return (squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * gram).clamp_min(0)


def clip_weights(norms: Tensor, weights: Sequence[float]) -> list[float]:
    """Norm clipping, w_k min(1, m / n_k) with m the sites' median norm: Sun et al., arXiv 1911.07963, section 4.

    Args:
        norms: [K] of what the sites changed.
        weights: shares of 1; what the clipped ones miss of it belongs to the payload that the round started from.
    """
    middle = median(norms).item()
    return [w * min(1.0, middle / n) if n > 0 else w for w, n in zip(weights, norms.tolist(), strict=True)]


def krum(squared_distances: Tensor, hostile: int) -> int:
    """The site whose K - f - 2 nearest are nearest: Blanchard et al., arXiv 1703.02757, section 4.

    Args:
        squared_distances: [K, K].
        hostile: f, with K >= 2 f + 3. The first of equals wins.
    """
    sites = len(squared_distances)
    if sites < 2 * hostile + 3:
        raise ValueError(f"Krum against {hostile} of {sites} sites; at least {2 * hostile + 3} are needed")
    ordered = squared_distances.sort(dim=1).values
    return int(ordered[:, 1 : sites - hostile - 1].sum(dim=1).argmin())  # the first of a row is the site itself


def trimmed_mean(stacked: Tensor, hostile: int) -> Tensor:
    """Mean without the f largest and the f smallest, number by number: Yin et al., arXiv 1803.01498, definition 2.

    Args:
        stacked: [K, ...]; the result is [...], float64.
    """
    ordered = stacked.double().sort(dim=0).values
    return ordered[hostile : len(ordered) - hostile].mean(dim=0)


def median(stacked: Tensor) -> Tensor:
    """Median over the sites, number by number: Yin et al., definition 1. Of an even number, the middle two's mean."""
    return trimmed_mean(stacked, (len(stacked) - 1) // 2)
