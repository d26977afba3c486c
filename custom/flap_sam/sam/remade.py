# SPDX-License-Identifier: Apache-2.0
"""Operands that are made again in the backward pass, where torch would keep them from the forward pass.

torch's own `checkpoint` does the same for any function; it imports torch's compiler to do so, which takes a process
longer than everything else that it imports.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Operands: TypeAlias = tuple[Tensor, ...]


def on_remade(operation: Callable[..., Tensor], make: Callable[..., Operands], *inputs: Tensor) -> Tensor:
    """operation(*make(*inputs)), which keeps the inputs for its backward pass, and not the operands made of them.

    Whatever else the operation keeps it keeps, so that it is not computed again. One backward pass can be taken.

    Args:
        operation: it keeps its operands as they are, as fused attention does.
        make: draws nothing at random, and reaches all that is trained by its inputs.
    """
    source = _Source(make, inputs)
    operands: Operands = _Make.apply(source, *inputs)
    places = {(operand.data_ptr(), operand.shape): place for place, operand in enumerate(operands)}

    def packed(tensor: Tensor) -> Tensor | int:
        return places.get((tensor.data_ptr(), tensor.shape), tensor)

    def unpacked(kept: Tensor | int) -> Tensor:
        return source.again()[kept].detach() if isinstance(kept, int) else kept

    with saved_tensors_hooks(packed, unpacked):
        return operation(*operands)


class _Source:
    """The inputs of a computation without their history, and what it gives when it is run on them again."""

    def __init__(self, make: Callable[..., Operands], inputs: tuple[Tensor, ...]) -> None:
        self.make = make
        device = inputs[0].device.type
        self._autocast = partial(
            torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        )
        self.inputs = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
        self._operands: Operands | None = None

    def again(self) -> Operands:
        if not self.inputs:
            raise RuntimeError("The backward pass of this attention was taken already; it can be taken once.")
        if self._operands is None:
            with torch.enable_grad(), self._autocast():
                self._operands = self.make(*self.inputs)
        return self._operands

    def clear(self) -> None:
        self.inputs, self._operands = [], None


class _Make(torch.autograd.Function):
    """The operands of a source, whose gradients come from the operands made again."""

    @staticmethod
    def forward(context: Any, source: _Source, *inputs: Tensor) -> Operands:
        context.source = source
        return source.make(*inputs)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        source: _Source = context.source
        inputs = source.inputs
        made = [pair for pair in zip(source.again(), gradients, strict=True) if pair[0].requires_grad]
        trained = [tensor for tensor in inputs if tensor.requires_grad]
        with torch.enable_grad():
            end = _End.apply([toward for _, toward in made], *[operand for operand, _ in made])
        found = iter(torch.autograd.grad(end, trained, allow_unused=True))
        source.clear()
        return None, *(next(found) if tensor.requires_grad else None for tensor in inputs)


class _End(torch.autograd.Function):
    """A number whose gradients by its operands are those given: torch.autograd.grad would import sympy to take them."""

    @staticmethod
    def forward(context: Any, gradients: list[Tensor], *_: Tensor) -> Tensor:
        context.gradients = gradients
        return gradients[0].new_zeros(())

    @staticmethod
    def backward(context: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        return None, *context.gradients
