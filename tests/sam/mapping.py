# SPDX-License-Identifier: Apache-2.0
"""Where a tensor's numbers lie."""

from pathlib import Path

from torch import Tensor


def is_mapped(tensor: Tensor, ending: str) -> bool:
    """Whether a tensor's numbers lie in a mapping of a file of which the kernel tells so."""
    with Path("/proc/self/maps").open() as maps:
        ranges = [line.split()[0].split("-") for line in maps if line.rstrip().endswith(ending)]
    return any(int(start, 16) <= tensor.data_ptr() < int(end, 16) for start, end in ranges)
