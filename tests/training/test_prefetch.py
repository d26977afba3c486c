# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.training.prefetch import made_ahead


def test_on_the_cpu_batches_are_made_in_turn_and_none_ahead():
    made = []
    batches = made_ahead(lambda item: made.append(item) or item, iter("abc"), torch.device("cpu"))
    assert made == []
    assert next(batches) == "a"
    assert made == ["a"]
    assert list(batches) == ["b", "c"]
