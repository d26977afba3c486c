# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.data.stream import Stream, uniform


def test_uniform_numbers_are_splitmix64s():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    numbers = uniform(torch.tensor([1234567]), torch.arange(4))
    assert numbers.tolist() == [(number >> 11) * 2.0**-53 for number in published]


def test_a_key_draws_the_same_in_any_company():
    keys = torch.tensor([3, -8, 2**62])
    together = Stream(keys)
    alone = [Stream(keys[[i]]) for i in range(3)]
    for n in (2, 5):
        assert torch.equal(together.unit(n), torch.cat([stream.unit(n) for stream in alone]))
