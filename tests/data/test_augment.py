# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from flap_sam.data.augment import CHOICES, Augmentation, Parameters, adjust, reduced, sample
from flap_sam.data.windows import Windows
from torch.nn.functional import interpolate

from tests.data.volumes import make_store

SIDE = 24
CASES = {
    "square": ("train", (6, 52, 52)),
    "wide": ("train", (4, 30, 61)),
    "small": ("train", (3, 15, 11)),
    "again": ("train", (5, 52, 52)),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), "A", CASES)


@pytest.fixture(scope="module")
def windows(store):
    return Windows(store, SIDE)


def drawn(n, seed=3, round=2) -> Parameters:
    return Augmentation(seed, round).draw(["case"] * n, torch.arange(n), torch.zeros(n, dtype=torch.int64))


def only(b=1, **values) -> Parameters:
    """Parameters of b windows that change nothing but what is given, alike for all."""
    none = Parameters.none(b)
    changed = {name: torch.tensor(value, dtype=getattr(none, name).dtype) for name, value in values.items()}
    return replace(none, **{name: value.expand_as(getattr(none, name)).clone() for name, value in changed.items()})


def moved(image, parameters, side=SIDE):
    """An image [rows, columns] in 0..1 and the label (image > 0.5) through the geometry of a window."""
    images = image.float().expand(1, 5, -1, -1)
    small = reduced(images[0], side)[None]
    images, labels = sample(small, (images > 0.5).to(torch.uint8), parameters.affine(), side)
    return images[0, 0], labels[0, 0]


def adjusted(image, **values):
    images = image.expand(1, 5, -1, -1).clone()
    adjust(images, torch.ones_like(images, dtype=torch.uint8), only(**values))
    assert (images == images[:, :1]).all()
    return images[0, 0]


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


# What is drawn


def test_a_draw_is_the_same_in_any_company():
    together = drawn(9)
    cases, visits = ["case", "other", "case"], torch.zeros(3, dtype=torch.int64)
    apart = Augmentation(3, 2).draw(cases, torch.tensor([7, 0, 2]), visits)
    for name, values in vars(together).items():
        assert torch.equal(getattr(apart, name)[[0, 2]], values[[7, 2]]), name


@pytest.mark.parametrize(
    ("augmentation", "case", "slice", "visit"),
    [
        (Augmentation(4, 2), "case", 5, 0),
        (Augmentation(3, 1), "case", 5, 0),
        (Augmentation(3, 2, epoch=1), "case", 5, 0),
        (Augmentation(3, 2), "cases", 5, 0),
        (Augmentation(3, 2), "case", 4, 0),
        (Augmentation(3, 2), "case", 5, 1),
    ],
)
def test_every_part_of_the_key_draws_anew(augmentation, case, slice, visit):
    first = drawn(6)[[5]]
    other = augmentation.draw([case], torch.tensor([slice]), torch.tensor([visit]))
    assert first.noise != other.noise


def test_each_is_drawn_as_often_and_within_the_range_it_should():
    n = 8000
    p = drawn(n)
    erased = p.erased[:, 2] > 0
    shear, translate = p.shear.any(1), p.translate.any(1)
    for applied in (p.symmetry > 0, p.angle != 0, p.gamma != 1, erased):
        assert applied.float().mean() == pytest.approx(0.5, abs=0.02)
    chosen = [shear, p.scale != 1, translate, p.bits > 0, p.contrast != 1, p.brightness != 1, p.sharpness != 1]
    for applied in chosen:
        assert applied.float().mean() == pytest.approx(2 / len(CHOICES), abs=0.02)
    assert set(torch.stack(chosen).sum(0).tolist()) == {1, 2}, "the identity may be one of the two"
    assert (p.symmetry.bincount()[1:] / n - 0.5 / 7).abs().max() < 0.015
    assert set(p.bits[p.bits > 0].tolist()) == {4, 5, 6, 7, 8}
    ranges = [
        (p.angle, 15, -15),
        (p.shear, 0.3, -0.3),
        (p.scale, 1.2, 0.8),
        (p.translate, 0.2, -0.2),
        (p.gamma, 1.5, 0.7),
        (p.contrast, 1.3, 0.7),
        (p.brightness, 1.3, 0.7),
        (p.sharpness, 1.9, 0.1),
        (p.erased[erased, 2:].prod(1), 0.05, 0.02),
    ]
    for values, high, low in ranges:
        slack = (high - low) / 50
        assert high - slack < values.max() <= high + 1e-6
        assert low + slack > values.min() >= low - 1e-6
    assert p.erased.min() >= 0
    assert (p.erased[:, :2] + p.erased[:, 2:]).max() <= 1


def test_draws_of_different_parameters_are_independent():
    p = drawn(8000)
    applied = torch.stack([p.symmetry > 0, p.angle != 0, p.gamma != 1, p.erased[:, 2] > 0, p.bits > 0]).float()
    assert (torch.corrcoef(applied) - torch.eye(5)).abs().max() < 0.05


# The geometry


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetries_permute_pixels(symmetry):
    image = noise(SIDE, SIDE)
    wanted = torch.rot90(image.flip(1) if symmetry >= 4 else image, -(symmetry % 4))
    found, labels = moved(image, only(symmetry=symmetry))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    assert torch.equal(labels, (wanted > 0.5).to(torch.uint8))


def square(top, left, size, side=SIDE):
    image = torch.zeros(side, side)
    image[top : top + size, left : left + size] = 1
    return image


def test_translation_moves_right_and_down():
    found, labels = moved(square(6, 6, 4), only(translate=[3 / SIDE, 5 / SIDE]))
    torch.testing.assert_close(found, square(11, 9, 4), atol=2e-5, rtol=0)
    assert torch.equal(labels.float(), square(11, 9, 4))


def test_scale_is_about_the_centre():
    found, labels = moved(square(8, 8, 8), only(scale=1.5))
    torch.testing.assert_close(labels.float(), square(6, 6, 12))
    assert found.sum() == pytest.approx(144, rel=0.02)


def test_shear_along_x_shifts_rows_and_no_columns():
    _, labels = moved(square(4, 10, 4), only(shear=[0.3, 0.0]))
    centre = (labels.nonzero().float() + 0.5).mean(0) - SIDE / 2
    assert centre[0] == pytest.approx(-6)
    assert centre[1] == pytest.approx(0.3 * -6, abs=0.3)


def test_rotation_turns_by_its_angle_and_keeps_area():
    image = square(38, 72, 20, 96)
    _, labels = moved(image, only(angle=15), 96)
    y, x = (labels.nonzero().float() + 0.5).mean(0) - 48
    assert torch.rad2deg(torch.atan2(y, x)) == pytest.approx(15, abs=0.5)
    assert labels.sum() == pytest.approx(400, rel=0.03)


def test_the_affine_composes_in_order_and_is_exact_where_nothing_happens():
    assert torch.equal(Parameters.none(3).affine(), torch.eye(2, 3).expand(3, 2, 3))
    steps = {"symmetry": 5, "angle": 9.0, "shear": [0.2, -0.1], "scale": 1.1, "translate": [0.1, -0.15]}
    product = torch.eye(3)
    for name, value in steps.items():
        product = product @ torch.cat([only(**{name: value}).affine()[0], torch.tensor([[0.0, 0.0, 1.0]])])
    torch.testing.assert_close(only(**steps).affine()[0], product[:2], atol=1e-6, rtol=0)


def test_what_lies_outside_is_zero():
    found, labels = moved(torch.ones(SIDE, SIDE), only(translate=[0.25, 0.0]))
    assert torch.equal(labels, (torch.arange(SIDE) >= 6).to(torch.uint8).expand(SIDE, SIDE))
    torch.testing.assert_close(found, labels.float(), atol=2e-5, rtol=0)


def test_images_and_labels_move_together():
    image = torch.zeros(100, 131)
    image[30:60, 40:90] = 1
    for row in range(60):
        found, labels = moved(image, drawn(60)[[row]], 48)
        inside, truth = found > 0.5, labels > 0
        assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("shape", [(52, 52), (53, 100), (24, 24), (15, 11), (130, 71)])
def test_sampling_is_near_the_antialiased_resizing(shape):
    """The frame stays in place, with or without a rest beside the blocks; smooth images hardly differ."""
    y, x = torch.meshgrid(*(((torch.arange(n) + 0.5) / n) for n in shape), indexing="ij")
    image = 0.5 + 0.3 * torch.sin(5 * x + 1) * torch.cos(4 * y)
    wanted = interpolate(image[None, None], (SIDE, SIDE), mode="bilinear", antialias=True)[0, 0]
    found, labels = moved(image, Parameters.none(1))
    torch.testing.assert_close(found[2:-2, 2:-2], wanted[2:-2, 2:-2], atol=0.01, rtol=0)
    nearest = interpolate((image > 0.5).float()[None, None], (SIDE, SIDE), mode="nearest-exact")[0, 0]
    assert (labels == nearest).float().mean() > 0.97


def test_noise_is_averaged_as_by_the_antialiased_resizing():
    stored = torch.randn(1, 512, 512, generator=torch.Generator().manual_seed(0))
    resized = interpolate(stored[None], (224, 224), mode="bilinear", antialias=True).std().item()
    found, _ = moved(stored[0], only(angle=7.0), 224)
    assert found[40:-40, 40:-40].std() == pytest.approx(resized, rel=0.2)


# Intensities and erasing


def test_gamma_is_a_power():
    image = noise(SIDE, SIDE)
    torch.testing.assert_close(adjusted(image, gamma=1.4), image**1.4)


@pytest.mark.parametrize("bits", [4, 8])
def test_posterizing_keeps_the_upper_bits(bits):
    image = noise(SIDE, SIDE)
    wanted = (image * 255).floor().to(torch.int64) >> (8 - bits) << (8 - bits)
    torch.testing.assert_close(adjusted(image, bits=bits), wanted / 255)


def test_contrast_is_about_the_mean_and_brightness_about_black():
    image = noise(SIDE, SIDE)
    torch.testing.assert_close(adjusted(image, contrast=0.7), image.mean() + 0.7 * (image - image.mean()))
    torch.testing.assert_close(adjusted(image, brightness=1.3), (1.3 * image).clamp(max=1))


def test_sharpness_spreads_or_gathers_a_point_and_leaves_the_edge():
    image = torch.full((7, 7), 0.1)
    image[3, 3] = 0.5
    softer, sharper = adjusted(image, sharpness=0.0), adjusted(image, sharpness=1.9)
    assert softer[3, 3] == pytest.approx(0.1 + 0.4 * 5 / 13)
    assert softer[2, 4] == pytest.approx(0.1 + 0.4 / 13)
    assert sharper[3, 3] > 0.5
    assert sharper[2, 4] < 0.1
    for changed in (softer, sharper):
        assert torch.equal(changed[0], image[0])


def test_the_erased_box_is_noise_without_label():
    images, labels = torch.full((2, 5, 100, 100), 0.5), torch.ones(2, 5, 100, 100, dtype=torch.uint8)
    parameters = replace(only(2, erased=[0.2, 0.3, 0.1, 0.4]), noise=torch.tensor([1, 2]))
    adjust(images, labels, parameters)
    box = torch.zeros(100, 100, dtype=torch.bool)
    box[20:30, 30:70] = True
    assert torch.equal(labels == 0, box.expand_as(labels))
    assert (images[..., ~box] == 0.5).all()
    erased = images[..., box]
    assert (erased == erased[:, :1]).all(), "the same noise in all slices"
    assert erased[0, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert erased[0, 0].std() == pytest.approx(12**-0.5, rel=0.1)
    assert not torch.equal(erased[0], erased[1])


def test_a_window_without_a_box_is_not_erased():
    labels = torch.ones(3, 5, SIDE, SIDE, dtype=torch.uint8)
    parameters = only(3)
    parameters.erased[1] = torch.tensor([0.0, 0.0, 0.5, 0.5])
    adjust(torch.zeros(labels.shape), labels, parameters)
    assert (labels == 0).flatten(1).any(1).tolist() == [False, True, False]


# Windows


@dataclass(frozen=True)
class Fixed(Augmentation):
    """Turns every window by the same angle and does nothing else."""

    angle: float = 0.0

    def draw(self, cases, slices, visits):
        return only(len(cases), angle=self.angle)


def test_a_window_is_augmented_alike_in_any_batch(windows):
    augmentation = Augmentation(1, 0)
    everything, truth = windows.batch(range(len(windows)), augmentation)
    some = [17, 3, 9, 3, 12, 0, 6]
    images, labels = windows.batch(some, augmentation)
    torch.testing.assert_close(images, everything[some], atol=1e-6, rtol=0)
    assert torch.equal(labels, truth[some])
    assert images.dtype == torch.float32
    assert labels.dtype == torch.uint8
    other, _ = windows.batch(some, Augmentation(1, 1))
    assert ((images - other).abs().flatten(1).amax(1) > 0.05).sum() > 5


def test_a_second_visit_is_augmented_anew(windows):
    images, _ = windows.batch([5, 5, 5], Augmentation(1, 0), torch.tensor([0, 1, 0]))
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_intensities_and_labels_stay_in_range(store, normalisation):
    windows = Windows(store, SIDE, normalisation)
    for round in range(12):
        images, labels = windows.batch(range(len(windows)), Augmentation(0, round))
        assert images.isfinite().all()
        assert images.min() >= 0
        assert images.max() <= 1
        assert set(labels.unique().tolist()) <= {0, 1, 2}


def test_all_slices_of_a_window_move_alike(store):
    windows = Windows(store, SIDE)
    windows._codes = [np.broadcast_to(codes[:1], codes.shape) for codes in windows._codes]
    windows._labels = [np.broadcast_to(labels[:1], labels.shape) for labels in windows._labels]
    images, labels = windows.batch(range(len(windows)), Augmentation(0, 0))
    assert torch.equal(images, images[:, :1].expand_as(images))
    assert torch.equal(labels, labels[:, :1].expand_as(labels))


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_parameters_that_change_nothing_change_nothing(store, normalisation):
    windows = Windows(store, SIDE, normalisation)
    order = [17, 3, 9, 12, 0]
    for augmented, plain in zip(windows.batch(order, Fixed(0, 0)), windows.batch(order), strict=True):
        assert torch.equal(augmented, plain)


def test_window_normalisation_comes_after_sampling_and_before_the_intensities(store):
    by_volume, _ = Windows(store, SIDE).batch([2], Fixed(0, 0, angle=10.0))
    by_window, _ = Windows(store, SIDE, "window").batch([2], Fixed(0, 0, angle=10.0))
    stored = store.image(store.cases("train")[0])[:5] / 65535
    low, high = stored.min(), stored.max()
    torch.testing.assert_close(by_window, ((by_volume - low) / (high - low)).clamp(0, 1), atol=1e-5, rtol=0)
