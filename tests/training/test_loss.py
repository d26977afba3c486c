import pytest
import torch
from flap_sam.training.loss import segmentation_loss
from monai.losses import DiceLoss
from torch.nn import functional as F


@pytest.mark.parametrize(("classes", "shape"), [(1, (2, 5, 6, 9)), (3, (1, 5, 7, 4))])
def test_it_is_the_papers_as_monai_computes_it(classes, shape):
    torch.manual_seed(0)
    logits = torch.randn(*shape[:2], classes + 1, *shape[2:], dtype=torch.float64)
    labels = torch.randint(0, classes + 1, shape)
    loss = segmentation_loss(logits, labels)
    flat = logits.flatten(0, 1), labels.flatten(0, 1)
    monai = DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    torch.testing.assert_close(loss.dice, monai(flat[0], flat[1].unsqueeze(1)))
    torch.testing.assert_close(loss.cross_entropy, F.cross_entropy(*flat))
    torch.testing.assert_close(loss.total, 0.2 * loss.cross_entropy + 0.8 * loss.dice)


def test_a_perfect_answer_costs_nothing():
    labels = torch.randint(0, 3, (1, 5, 8, 8))
    logits = 1e4 * F.one_hot(labels, 3).movedim(-1, 2).float()
    assert segmentation_loss(logits, labels).total.item() == pytest.approx(0, abs=1e-6)
