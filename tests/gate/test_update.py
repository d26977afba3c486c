# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.gate.update import Base, Change
from flap_sam.sam import weights
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.methods import parameter_table

RANDOM = Site(checkpoint=weights.RANDOM)


@pytest.fixture
def base(small) -> Base:
    return Base(small, RANDOM)


def moved(base: Base, by: float = 0.1) -> Change:
    before = base.before({})
    generator = torch.Generator().manual_seed(3)
    sent = {name: t + by * torch.randn(t.shape, generator=generator) for name, t in before.items()}
    return Change(sent, before, base.pairs, 2.0)


def dense(update: Change) -> float:
    """The norm with every matrix formed."""
    paired = {name for pair in update.pairs for name in pair}
    squares = 0.0
    for a, b in update.pairs:
        now, then = (side[b].double() @ side[a].double() for side in (update.sent, update.base))
        squares += (2.0 * (now - then)).square().sum().item()
    for name, tensor in update.sent.items():
        squares += 0 if name in paired else (tensor.double() - update.base[name].double()).square().sum().item()
    return squares**0.5


def test_round_zero_is_measured_from_where_every_site_starts(small, base):
    network, _, _ = network_for(small, None)
    start = dict(network.named_parameters())
    before = base.before({})
    assert list(before) == [t.name for t in parameter_table(network, small.method) if t.sent]
    adapters = {name for pair in base.pairs for name in pair}
    assert all(torch.equal(before[name], start[name]) for name in before if name not in adapters)
    assert not any(before[name].any() for name in adapters), "the canonical form of B A = 0"
    assert Change(before, before, base.pairs, 1.0).norm() == 0


def test_later_rounds_are_measured_from_what_was_received(base):
    first = moved(base)
    before = base.before(first.sent)
    assert all(torch.equal(before[name], first.sent[name]) for name in before)


def test_a_site_of_lower_rank_is_measured_from_its_leading_part(small):
    own = Base(small.changed(rank=2), RANDOM)
    received = moved(Base(small, RANDOM)).sent
    before = own.before(received)
    a, b = own.pairs[0]
    assert torch.equal(before[a], received[a][:2])
    assert torch.equal(before[b], received[b][:, :2])


def test_the_norm_is_of_what_the_adapters_do(base):
    update = moved(base)
    assert update.norm() == pytest.approx(dense(update), rel=1e-9)
    a, b = base.pairs[0]
    mixed = torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0], [0, 0, 1, 1]])
    turned = dict(update.sent) | {a: torch.linalg.inv(mixed) @ update.sent[a], b: update.sent[b] @ mixed}
    assert Change(turned, update.base, base.pairs, 2.0).norm() == pytest.approx(update.norm(), rel=1e-5)


@pytest.mark.parametrize("largest", [10.0, 0.5, 1e-3])
@pytest.mark.parametrize("number", [0, 1])
def test_clipping_ends_at_or_below_the_largest(base, largest, number):
    update = moved(base)
    if number:
        update = Change(moved(base, by=0.3).sent, update.sent, base.pairs, 2.0)
    clipped = update.clipped_to(largest)
    assert 0 < clipped.norm() <= largest
    assert clipped.are_canonical(torch.float32)


def test_what_is_small_enough_stays_as_it_is(base):
    update = moved(base)
    assert update.clipped_to(update.norm() * 1.01) is update
