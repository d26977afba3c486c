# SPDX-License-Identifier: Apache-2.0
"""What a site and the server check of an exchange alike."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.strings import PublicKeys

ROUNDING = 2.0**-14
"""More than float32 moves an inner product of two orthonormal columns."""


def check_count(found: int, fewest: int) -> None:
    """Refuse a list of fewer sites than a step must have."""
    if found < fewest:
        raise FlapSamError(f"The step has {found} sites; expected {fewest} or more.", Reason.LIST)


def check_distinct(public: Sequence[PublicKeys]) -> None:
    """Refuse keys that occur twice."""
    found = [key for keys in public for key in keys.fields]
    if len(set(found)) < len(found):
        raise FlapSamError("A key occurs twice among the sites; expected fresh keys of each.", Reason.PEERS)


def check_question(found: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors to ask with that are not those expected, or whose columns are not orthonormal, up to rounding.

    With Q = 0 at all sites but one a sum would be that site's alone; with longer columns a number could be beyond the
    ring.

    Raises:
        FlapSamError: names the tensor.
    """
    if found.keys() != shapes.keys():
        raise FlapSamError(
            f"The question has {len(found)} tensors; expected those of {len(shapes)} adapters.", Reason.PAYLOAD
        )
    for name, shape in shapes.items():
        tensor = found[name]
        if not is_plain(tensor, torch.float32, shape):
            raise FlapSamError(f"{name} of the question is not float32 of shape {shape}.", Reason.PAYLOAD)
        products = tensor.double().mT @ tensor.double() - torch.eye(tensor.shape[1], dtype=torch.float64)
        if not bool((products.abs() <= ROUNDING).all()):
            raise FlapSamError(f"{name} of the question has columns that are not orthonormal.", Reason.PAYLOAD)


def is_plain(found: object, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    """Whether something is a dense tensor in memory, of a type and a shape."""
    if not isinstance(found, Tensor) or found.layout != torch.strided or found.device.type != "cpu":
        return False
    return found.dtype == dtype and tuple(found.shape) == shape and not found.requires_grad
