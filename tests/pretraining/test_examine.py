import torch
from flap_sam.pretraining.examine import examine, overlap_with
from flap_sam.pretraining.network import PromptableSam
from flap_sam.pretraining.pretrain import Asked
from flap_sam.reporting.pretraining import overlap_table


def test_random_weights_find_little_and_the_examination_repeats():
    network = PromptableSam(3)
    found = examine(network, scenes=5)
    assert found == examine(network, scenes=5)
    assert list(found) == ["a point", "its best answer", "three points", "a box"]
    assert all(0 <= value < 0.3 for value in found.values())
    assert found["its best answer"] >= found["a point"]
    assert f"{found['a box']:.3f}" in overlap_table({"random": found})


def test_the_overlap_of_the_mask_itself_is_whole():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 8:24, 16:40] = masks[1, 32:60, :32] = True
    asked = Asked(masks, masks[:, ::4, ::4].float(), torch.tensor([0, 1]))
    logits = (asked.target - 0.5) * 20
    assert (overlap_with(asked, logits) > 0.9).all()
    assert (overlap_with(asked, -logits) < 0.05).all()
