# SPDX-License-Identifier: Apache-2.0
"""A site's GPUs, each for one job at a time."""

from typing import Any

from nvflare.app_common.resource_managers.gpu_resource_manager import GPUResourceManager
from nvflare.fuel.utils.gpu_utils import get_host_gpu_ids

from flap_sam.errors import FlapSamError

WHOLE = 1
"""GiB. FLARE's manager shares a GPU out by its memory; here a GPU has one unit of it, and a job takes all of it."""


class WholeGpus(GPUResourceManager):
    """Gives a job the GPUs that it asks for, but at least one and at most all of the site's; none where it has none.

    FLARE's own manager lets jobs share a GPU, and has a site without GPUs refuse a job that asks for one. FLARE also
    makes one in each job's process, which sees the job's GPUs alone, and where its own misses the others: this one
    counts what the machine has, whatever CUDA_VISIBLE_DEVICES says.

    Args:
        num_of_gpus: how many jobs may take, the first that `nvidia-smi` lists.
        expiration_period: seconds for which GPUs are kept for a job that was promised them and does not start.

    Raises:
        FlapSamError: this machine has fewer.
    """

    def __init__(self, num_of_gpus: int, expiration_period: int) -> None:
        super().__init__(num_of_gpus, WHOLE, expiration_period=expiration_period, ignore_host=True)
        there = len(get_host_gpu_ids()) if num_of_gpus else 0
        if there < num_of_gpus:
            raise FlapSamError(
                f"The kit has {num_of_gpus} GPUs for jobs, and `nvidia-smi` lists {there} here; give `flap-sam kit` "
                "their number with --gpus."
            )

    def _check_required_resource_available(self, resource_requirement: dict[str, Any]) -> bool:
        return bool(super()._check_required_resource_available(self._whole(resource_requirement)))

    def _reserve_resource(self, resource_requirement: dict[str, Any]) -> dict[int, int]:
        reserved: dict[int, int] = super()._reserve_resource(self._whole(resource_requirement))
        return reserved

    def _whole(self, asked: dict[str, Any]) -> dict[str, int]:
        wanted = max(1, asked.get(self.num_gpu_key, 1))
        return {self.num_gpu_key: min(wanted, len(self.resources)), self.gpu_mem_key: WHOLE}
