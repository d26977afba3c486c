# SPDX-License-Identifier: Apache-2.0
"""A machine with GPUs, as FLARE finds them by `nvidia-smi`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

CONSUMER = "nvflare.app_common.resource_consumers.gpu_resource_consumer"
MIB = 81559


@contextmanager
def machine_with(gpus: int) -> Iterator[None]:
    """A block in which this machine has so many GPUs, with nothing on them."""
    ids, memory = list(range(gpus)), [MIB] * gpus
    found = {
        "flap_sam.federation.gpus.get_host_gpu_ids": ids,
        f"{CONSUMER}.get_host_gpu_ids": ids,
        f"{CONSUMER}.get_host_gpu_memory_free": memory,
    }
    with ExitStack() as stack:
        for name, value in found.items():
            stack.enter_context(patch(name, lambda *_, _value=value, **__: _value))
        yield
