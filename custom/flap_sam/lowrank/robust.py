"""Rules that keep a few hostile or broken sites from steering the sum: on the weight changes, before any SVD."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flap_sam.lowrank.factors import Factors


def hostile_sites(share: float, sites: int) -> int:
    """Whole sites in a share of them; always fewer than half."""
    return max(0, min(math.floor(share * sites + 1e-9), (sites - 1) // 2))


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
        hostile: f; lowered where K >= 2 f + 3 does not hold. At least one neighbour counts; the first of equals wins.
    """
    sites = len(squared_distances)
    if sites < 3:
        return 0
    neighbours = max(1, sites - min(hostile, max(0, (sites - 3) // 2)) - 2)
    ordered = squared_distances.sort(dim=1).values
    return int(ordered[:, 1 : 1 + neighbours].sum(dim=1).argmin())  # the first of a row is the site itself


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
