# SPDX-License-Identifier: Apache-2.0
"""The next batch while the step runs: on a GPU a thread makes it, on a stream of its own."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Batch = tuple[Tensor, Tensor]


def made_ahead(make: Callable[[Item], Batch], items: Iterable[Item], device: torch.device) -> Iterator[Batch]:
    """`make` of every item in turn; on a GPU each is made while its predecessor is in use.

    On the CPU, where a thread would only take time from the step, each is made when it is asked for.
    """
    if device.type != "cuda":
        yield from map(make, items)
        return
    stream = torch.cuda.Stream(device)

    def aside(item: Item) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            batch = make(item)
            return batch, stream.record_event()

    with ThreadPoolExecutor(1) as thread:
        coming = (thread.submit(aside, item) for item in items)
        waiting = next(coming, None)
        while waiting is not None:
            following = next(coming, None)  # the next is under way before this is used
            batch, made = waiting.result()
            waiting = following
            current = torch.cuda.current_stream(device)
            current.wait_event(made)
            for tensor in batch:
                tensor.record_stream(current)
            yield batch
