# SPDX-License-Identifier: Apache-2.0
import torch
from flap_sam.pretraining.examine import examine, favourite, held_out, overlap_with
from flap_sam.pretraining.network import PromptableSam
from flap_sam.pretraining.pretrain import Asked


def test_random_weights_find_little_and_the_examination_repeats():
    network = PromptableSam(3)
    found, again = (examine(network, held_out(network.side, scenes=5)) for _ in range(2))
    assert list(found) == ["a point", "its best answer", "three points", "a box", "the box itself"]
    for name, overlaps in found.items():
        assert torch.equal(overlaps, again[name])
        assert overlaps.shape == (5 * 4,)
        assert (name == "the box itself") == (overlaps.mean() > 0.3), "all else knows nothing"
    assert (found["its best answer"] >= found["a point"]).all()


def test_the_favourite_answer_is_one_of_the_three_to_a_point():
    logits = torch.arange(8.0).reshape(2, 4, 1, 1)
    expected = torch.tensor([[0.9, 0.2, 0.3, 0.1], [0.1, 0.8, 0.3, 0.7]])
    assert favourite(logits, expected).flatten().tolist() == [2, 5]


def test_the_overlap_of_the_mask_itself_is_whole():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 8:24, 16:40] = masks[1, 32:60, :32] = True
    asked = Asked(masks, torch.tensor([0, 1]))
    logits = (asked.target - 0.5) * 20
    assert (overlap_with(asked, logits) > 0.9).all()
    assert (overlap_with(asked, -logits) < 0.05).all()
