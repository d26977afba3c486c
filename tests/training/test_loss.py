# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.training.loss import loss_of, map_sums, segmentation_loss
from flap_sam.training.team import Team
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


class Half(Team):
    """One of two processes; what the other would add is handed to it."""

    def __init__(self, others: list) -> None:
        super().__init__(0, 2)
        object.__setattr__(self, "others", others)

    def total(self, own):
        return own + self.others.pop(0)


class Recorder(Team):
    """Writes down what it would add."""

    def __init__(self) -> None:
        super().__init__(1, 2)
        object.__setattr__(self, "told", [])

    def total(self, own):
        self.told.append(own.detach())
        return own


def test_two_processes_have_the_loss_and_the_gradient_of_the_whole_batch():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 3, 6, 9, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (3, 5, 6, 9))
    whole = segmentation_loss(logits, labels).total
    (expected,) = torch.autograd.grad(whole, logits)
    parts = [slice(0, None, 2), slice(1, None, 2)]
    gradients = []
    for own, other in (parts, parts[::-1]):
        recorder = Recorder()
        segmentation_loss(logits[other], labels[other], recorder)
        loss = segmentation_loss(logits[own], labels[own], Half(recorder.told)).total
        torch.testing.assert_close(loss, whole)
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(sum(gradients), expected)


def test_windows_of_no_weight_change_nothing():
    labels = torch.randint(0, 3, (1, 5, 6, 9))
    recorder = Recorder()
    segmentation_loss(torch.randn(1, 5, 3, 6, 9), labels, recorder, weight=0.0)
    assert all(not told.any() for told in recorder.told)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (1, 2, 2, 3))
    torch.autograd.gradcheck(lambda x: segmentation_loss(x, labels).total, logits)


def test_the_sums_of_parts_are_those_of_the_whole():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 4, 6, 9), torch.randint(0, 4, (3, 5, 6, 9))
    parts = sum(map_sums(logits[i : i + 1], labels[i : i + 1]) for i in range(3))
    torch.testing.assert_close(loss_of(parts).total, segmentation_loss(logits, labels).total.double())
