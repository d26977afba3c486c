# SPDX-License-Identifier: Apache-2.0
"""What of an update leaves."""

from dataclasses import replace

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.gate import release as module
from flap_sam.gate.agreement import Agreement, Privacy
from flap_sam.gate.ledger import Ledger
from flap_sam.gate.release import release, rounded
from flap_sam.gate.update import Change
from flap_sam.wire.form import in_canonical_form

AGREED = Agreement(
    experiments=(), metrics=(), largest_update=2.0, largest_payload=9.0, runs=1, repeats=0, evaluations=1
)
PRIVATE = AGREED.model_copy(
    update={"privacy": Privacy(clip=0.5, noise_multiplier=4.0, epsilon=8.0, delta=1e-5, slices=10)}
)
PAIRS = [("A", "B")]


def update(by: float = 0.05, seed: int = 0) -> Change:
    generator = torch.Generator().manual_seed(seed)
    base = {"A": torch.zeros(3, 11), "B": torch.zeros(7, 3), "head": torch.randn(5, 9, generator=generator)}
    sent = {name: t + by * torch.randn(t.shape, generator=generator) for name, t in base.items()}
    return Change(in_canonical_form(sent, PAIRS), base, PAIRS, 1.0)


def leaving(found: Change, agreement: Agreement, dtype: str = "float32", ledger: Ledger | None = None):
    return release(found.sent, found, dtype, agreement, ledger or Ledger())


def test_what_is_small_enough_leaves_as_it_is():
    found = update()
    told = leaving(found, AGREED)
    assert all(told.tensors[name] is tensor for name, tensor in found.sent.items())
    assert told.note == {"norm": found.norm()}
    assert told.noise_multiplier is None


def test_what_is_larger_stays_or_is_clipped():
    with pytest.raises(FlapSamError) as refused:
        leaving(update(5.0), AGREED)
    assert refused.value.reason == Reason.NORM
    told = leaving(update(5.0), AGREED.model_copy(update={"over": "clip"}))
    found = replace(update(5.0), sent=told.tensors)
    assert 1.5 < found.norm() <= 2.0
    assert found.are_canonical(torch.float32)


def test_an_adapter_out_of_form_stays():
    found = update()
    with pytest.raises(FlapSamError) as refused:
        leaving(replace(found, sent=found.sent | {"A": found.sent["A"].flip(0)}), AGREED)
    assert refused.value.reason == Reason.FORM


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_rounded_numbers_carry_no_more_than_their_bits(bits):
    found = update()
    for name, tensor in rounded(found, bits).items():
        moved, exact = (
            tensor.double() - found.base[name].double(),
            found.sent[name].double() - found.base[name].double(),
        )
        step = 2.0 ** (torch.ceil(exact.abs().max().log2()).item() + 1 - bits)
        steps = (moved / step).round()
        assert torch.allclose(moved, step * steps, atol=1e-6)
        assert steps.abs().max() <= 2 ** (bits - 1)
        assert (moved - exact).abs().max() < step + 1e-6


def test_rounding_keeps_the_mean_and_never_draws_the_same_numbers():
    found = update(0.05)
    drawn = torch.stack([rounded(found, 3)["head"] for _ in range(400)]).double()
    exact = found.sent["head"].double()
    step = 2.0 ** (torch.ceil((exact - found.base["head"]).abs().max().log2()).item() - 2)
    assert (drawn.mean(0) - exact).abs().max() < 5 * step / 2 / 400**0.5
    assert not torch.equal(drawn[0], drawn[1])


def test_a_tensor_that_has_not_moved_stays_where_it_was():
    found = update(0.0)
    assert all(torch.equal(t, found.base[name]) for name, t in rounded(found, 4).items())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_noise_is_of_the_agreed_size_in_every_type(dtype):
    large = Change({"head": torch.zeros(300, 100)}, {"head": torch.zeros(300, 100)}, [], 1.0)
    told = release(large.sent, large, dtype, PRIVATE, Ledger())
    assert told.tensors["head"].float().std().item() == pytest.approx(2.0, rel=0.02)
    assert told.noise_multiplier == 4.0
    assert 0 < told.note["epsilon"] < 8.0


def test_the_budget_counts_what_left_before(monkeypatch):
    monkeypatch.setattr(module, "epsilon", lambda releases, _: float(sum(releases.values())))
    assert leaving(update(), PRIVATE, ledger=Ledger(noised={"4.0": 7})).note["epsilon"] == 8.0
    with pytest.raises(FlapSamError) as refused:
        leaving(update(), PRIVATE, ledger=Ledger(noised={"4.0": 8}))
    assert refused.value.reason == Reason.BUDGET


@pytest.mark.parametrize("bare", [1, 20])
def test_no_budget_covers_what_left_without_noise(bare):
    with pytest.raises(FlapSamError, match=f"without noise {bare} times") as refused:
        leaving(update(), PRIVATE, ledger=Ledger(bare=bare))
    assert refused.value.reason == Reason.BUDGET
