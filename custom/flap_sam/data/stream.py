# SPDX-License-Identifier: Apache-2.0
"""Random numbers that depend on a key alone, not on their company: SplitMix64 (Steele, Lea & Flood 2014)."""

import hashlib

import torch
from torch import Tensor


def stable_number(*parts: object) -> int:
    """63 bits that depend on the texts of the parts alone, in every process and on every machine."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Stream:
    """Uniform numbers, a stream for each key: the same calls give each key the same numbers in any company."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self._drawn = 0

    def unit(self, n: int) -> Tensor:
        """float64 [b, n] in [0, 1)."""
        counters = torch.arange(self._drawn, self._drawn + n)
        self._drawn += n
        return uniform(self.keys[:, None], counters)

    def between(self, low: float, high: float, n: int | None = None) -> Tensor:
        """float64 [b, n], or [b], in [low, high)."""
        values = low + (high - low) * self.unit(n or 1)
        return values if n else values[:, 0]


def uniform(keys: Tensor, counters: Tensor) -> Tensor:
    """Numbers of SplitMix64 by their place in the stream, as float64 in [0, 1)."""
    bits = mixed(keys + (counters + 1) * (0x9E3779B97F4A7C15 - 2**64))
    return _shifted(bits, 11).double() * 2.0**-53


def mixed(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: int64 bits that all depend on all of the argument's; products wrap around."""
    x = (x ^ _shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ _shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, n: int) -> Tensor:
    """Bits shifted right, zeros from the left."""
    return (x >> n) & (2 ** (64 - n) - 1)
