# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.sam import remade
from flap_sam.sam.remade import on_remade
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F


def folded(q, k, v, table, _):
    return torch.cat([q, q @ table], dim=-1), torch.cat([k, k.sin() @ table], dim=-1), F.pad(v, (0, 3))


def inputs(dtype=torch.float32):
    torch.manual_seed(0)
    shapes = (2, 3, 7, 5), (2, 3, 7, 5), (2, 3, 7, 5), (5, 3), (4,)
    drawn = [torch.randn(*shape, dtype=dtype) for shape in shapes]
    return [t.requires_grad_(place != 1) for place, t in enumerate(drawn)]  # keys are frozen


def gradients(run, tensors, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = run(*tensors)
    out.float().square().sum().backward()
    return [out.detach(), *(t.grad for t in tensors)]


@pytest.mark.parametrize("autocast", [False, True])
def test_output_and_gradients_are_those_of_the_plain_computation_bit_for_bit(autocast):
    plain = gradients(lambda *given: F.scaled_dot_product_attention(*folded(*given)), inputs(), autocast)
    found = gradients(lambda *given: on_remade(F.scaled_dot_product_attention, folded, *given), inputs(), autocast)
    assert [t is None for t in found] == [False, False, True, False, False, True]
    for a, b in zip(plain, found, strict=True):
        assert a is b is None or torch.equal(a, b)


def test_the_operands_are_not_kept_and_what_the_operation_computes_is(monkeypatch):
    kept = []

    def recording(pack, unpack):
        return saved_tensors_hooks(lambda tensor: kept.append(pack(tensor)) or kept[-1], unpack)

    monkeypatch.setattr(remade, "saved_tensors_hooks", recording)
    out = on_remade(F.scaled_dot_product_attention, folded, *inputs())
    assert sorted(place for place in kept if isinstance(place, int)) == [0, 1, 2]
    results = [tensor.shape for tensor in kept if not isinstance(tensor, int)]
    assert out.shape in results
    assert sum(shape.numel() for shape in results) < 2 * out.numel()  # the other is the sums of the softmax


def test_make_runs_once_forward_and_once_backward():
    runs = []

    def make(*given):
        runs.append(torch.is_grad_enabled())
        return folded(*given)

    out = on_remade(F.scaled_dot_product_attention, make, *inputs())
    out.sum().backward(retain_graph=True)
    assert runs == [False, True]
    with pytest.raises(RuntimeError, match="can be taken once"):
        out.sum().backward()
