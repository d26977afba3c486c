# SPDX-License-Identifier: Apache-2.0
"""The arithmetic that the network runs in: what the site asks for, held against what its device can do."""

import contextlib

import torch

from flap_sam.errors import FlapSamError, Reason

AMPERE = (8, 0)  # the first GPUs with TF32 and bfloat16


def settle(wanted: str, device: torch.device) -> str:
    """The precision to compute in, a name of `site.PRECISIONS` other than "auto"; sets up the process for it.

    Raises:
        FlapSamError: the device has no instructions for it, and would emulate it many times slower or not at all.
    """
    choices = able(device)
    if wanted != "auto" and wanted not in choices:
        raise FlapSamError(
            f"The site's precision is {wanted}, for which its device {str(device)!r} has no instructions; set "
            f"`precision` to {' or '.join(choices)}, or to auto.",
            Reason.PRECISION,
        )
    precision = _best(choices, device) if wanted == "auto" else wanted
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return precision


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Autocast to bfloat16 where the site computes in it, else nothing."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def able(device: torch.device) -> list[str]:
    """The precisions that a device has instructions for."""
    if device.type == "cuda":
        modern = torch.cuda.get_device_capability(device) >= AMPERE
        return ["float32", "tf32", "bfloat16"] if modern else ["float32"]
    if device.type == "cpu":
        found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return ["float32", "bfloat16"] if found.get("avx512_bf16") or found.get("amx_bf16") else ["float32"]
    return ["float32"]


def _best(choices: list[str], device: torch.device) -> str:
    """bfloat16 on GPUs that have it; a CPU stays with float32, which is the same bits on every machine's runs."""
    return "bfloat16" if device.type == "cuda" and "bfloat16" in choices else "float32"
