from dataclasses import replace

import torch
from flap_sam.sam.build import build
from flap_sam.sam.initial import initial


def initial_state(network, seed):
    return {name: initial(network, name, seed) for name in network.state_dict()}


def test_same_seed_same_start_other_seed_other_start(small):
    network = build(small)
    first, again, other = (initial_state(network, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_tensor_starts_alike_whatever_else_is_in_the_network(small):
    plain = initial_state(build(replace(small, method="fullft")), 1)
    adapted = initial_state(build(small), 1)
    assert all(torch.equal(plain[name], adapted[name]) for name in plain)


def test_b_starts_at_zero_and_a_does_not(small):
    state = initial_state(build(small), 1)
    assert not any(state[name].any() for name in state if name.endswith("adapter_q.B"))
    assert all(state[name].any() for name in state if name.endswith("adapter_q.A"))
