# SPDX-License-Identifier: Apache-2.0
"""Training windows for a decoder alone, of embeddings that say which view they are of."""

import numpy as np
import pytest
import torch
from flap_sam.data.augment import Augmentation
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import Windows
from flap_sam.training.embedded import EmbeddedCase, EmbeddedWindows


class Encoded:
    """A case whose view k is the number 100 * case + k everywhere; counts how often it is asked for."""

    def __init__(self, number: int, slices: int) -> None:
        self.asked = 0
        windows = np.stack([np.clip(np.arange(centre - 2, centre + 3), 0, slices - 1) for centre in range(slices)])
        views = 100.0 * number + np.arange(slices, dtype=np.float32)
        self.case = EmbeddedCase(np.broadcast_to(views[:, None, None, None], (slices, 4, 2, 2)).copy(), windows)

    def __call__(self) -> EmbeddedCase:
        self.asked += 1
        return self.case


@pytest.fixture
def pair(store):
    windows = Windows(SiteStore.open(store, "B"), 32)
    cases = [Encoded(number, slices) for number, slices in enumerate((6, 1))]
    return windows, EmbeddedWindows(windows, cases), cases


def test_they_stand_for_the_windows_one_by_one(pair):
    windows, embedded, _ = pair
    assert len(embedded) == len(windows) == 7
    assert torch.equal(embedded.foreground, windows.foreground)
    order = [6, 0, 3, 5]
    found, labels = embedded.batch(order)
    assert torch.equal(labels, windows.batch(order)[1])
    assert found.shape == (4, 5, 4, 2, 2)
    assert found.dtype == torch.float32
    assert found[:, :, 0, 0, 0].tolist() == [
        [100.0] * 5,
        [0, 0, 0, 1, 2],
        [1, 2, 3, 4, 5],
        [3, 4, 5, 5, 5],
    ]


def test_only_the_cases_of_a_batch_are_asked_for(pair):
    _, embedded, cases = pair
    embedded.batch(torch.tensor([1, 2]))
    assert [case.asked for case in cases] == [2, 0]


def test_what_is_encoded_already_cannot_be_augmented(pair):
    _, embedded, _ = pair
    with pytest.raises(ValueError, match="cannot be augmented"):
        embedded.batch([0], augmentation=Augmentation(0, 0))
