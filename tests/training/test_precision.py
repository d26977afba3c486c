# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.training.precision import autocast, settle

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def machine(monkeypatch):
    """What the processor and the GPU can do, as the test says."""

    def is_of(cpu: dict[str, bool], gpu: tuple[int, int] = (8, 0)) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu, raising=False)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: gpu)
        monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    return is_of


@pytest.mark.parametrize(
    ("wanted", "device", "cpu", "gpu"),
    [
        ("bfloat16", CPU, {"avx512_bf16": False}, (9, 0)),
        ("tf32", CPU, {"amx_bf16": True}, (9, 0)),
        ("bfloat16", GPU, {"amx_bf16": True}, (7, 5)),
        ("tf32", GPU, {}, (7, 0)),
    ],
)
def test_what_a_device_cannot_do_is_refused(machine, wanted, device, cpu, gpu):
    machine(cpu, gpu)
    with pytest.raises(FlapSamError, match=f"precision is {wanted}, for which its device '{device}' has no instr"):
        settle(wanted, device)


def test_auto_takes_bfloat16_on_a_gpu_that_has_it_and_nowhere_else(machine):
    machine({"amx_bf16": True})
    assert settle("auto", GPU) == "bfloat16"
    assert settle("auto", CPU) == "float32"
    machine({}, (7, 5))
    assert settle("auto", GPU) == "float32"


def test_what_a_device_can_do_is_done(machine):
    machine({"avx512_bf16": True})
    for wanted, device in (("float32", CPU), ("bfloat16", CPU), ("tf32", GPU), ("bfloat16", GPU)):
        assert settle(wanted, device) == wanted


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_of_the_precision(precision, expected):
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
