# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.wire import encoding, payload
from hypothesis import given
from hypothesis import strategies as st

SHAPES = {"a": (3, 5), "b": (4,), "c": (), "d": (2, 3, 4)}


def drawn(seed: int, spread: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: spread * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0), ("float16", 1e-3), ("bfloat16", 8e-3), ("int8", 1 / 127)]
)
def test_what_arrives_is_what_was_meant_to_the_types_rounding(dtype, tolerance):
    tensors, known = drawn(0), drawn(1)
    wire, carry = encoding.up(tensors, dtype, known, {})
    assert payload.check(wire, encoding.types_up(SHAPES, dtype))
    arrived = encoding.numbers(wire, dtype, known)
    assert arrived.keys() == SHAPES.keys()
    for name, tensor in tensors.items():
        moved = max(tensor.abs().max(), (tensor - known[name]).abs().max())
        assert arrived[name].dtype == torch.float32
        assert (arrived[name] - tensor).abs().max() <= tolerance * moved
        if carry:
            torch.testing.assert_close(carry[name], tensor - arrived[name], atol=1e-6, rtol=0)


@given(rounds=st.integers(2, 12), seed=st.integers(0, 99))
def test_int8_makes_good_what_it_could_not_send(rounds, seed):
    """Error feedback: what arrived over many rounds is what was meant, but for one round's error."""
    meant, arrived, carry = torch.zeros(3, 5), torch.zeros(3, 5), {}
    for number in range(rounds):
        tensors = {"a": drawn(seed + number)["a"]}
        wire, carry = encoding.up(tensors, "int8", {}, carry)
        meant += tensors["a"]
        arrived += encoding.numbers(wire, "int8", {})["a"]
    torch.testing.assert_close(meant - arrived, carry["a"], atol=1e-4, rtol=0)
    assert carry["a"].abs().max() < 0.05


def test_nothing_to_send_is_sent_as_zeros():
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    wire, carry = encoding.up(zeros, "int8", {}, {})
    assert not any(t.any() for t in (*encoding.numbers(wire, "int8", {}).values(), *carry.values()))


def test_down_and_back_is_the_same_once_rounded():
    for dtype in encoding.DOWN:
        once = {n: t.float() for n, t in encoding.down(drawn(0), dtype).items()}
        assert all(torch.equal(once[n], t.float()) for n, t in encoding.down(once, dtype).items())
        assert payload.check(encoding.down(once, dtype), encoding.types_down(SHAPES, dtype))


def test_what_float16_cannot_hold_is_named():
    with pytest.raises(FlapSamError, match="Tensor a reaches 1e"):
        encoding.up({"a": torch.full((2, 2), 1e6)}, "float16", {}, {})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_another_type_than_the_jobs_is_refused(dtype):
    with pytest.raises(FlapSamError, match=r"a is torch\.float32"):
        payload.check(drawn(0), encoding.types_up(SHAPES, dtype))
