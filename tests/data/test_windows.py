# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from flap_sam.data.windows import Windows, earlier_visits, epoch_order, foreground_order, volume_windows
from flap_sam.errors import FlapSamError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from tests.data.volumes import make_store

CASES = {
    "one": ("train", (7, 10, 14)),
    "two": ("validation", (4, 8, 8)),
    "three": ("train", (2, 9, 9)),
    "four": ("train", (4, 10, 14)),
}
SIDE = 8


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), "A", CASES)


def expected(store, name, centre, normalisation):
    """One window, the plain way."""
    case = next(case for case in store.manifest.cases if case.id == name)
    slices = [min(max(centre + step, 0), case.shape[0] - 1) for step in (-2, -1, 0, 1, 2)]
    image = torch.from_numpy(store.image(case)[slices].astype(np.float64) / 65535)
    if normalisation == "window":
        image = (image - image.min()) / (image.max() - image.min())
    image = interpolate(image[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)[:, 0]
    label = torch.from_numpy(store.label(case)[slices].astype(np.float64))
    return image, interpolate(label[:, None], (SIDE, SIDE), mode="nearest-exact")[:, 0]


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_a_mixed_batch_holds_each_slice_with_its_neighbours(store, normalisation):
    windows = Windows(store, SIDE, normalisation)
    assert len(windows) == store.training_slices == 13
    order = [12, 0, 7, 6, 3, 8, 9, 3]
    images, labels = windows.batch(torch.tensor(order))
    places = [("one", n) for n in range(7)] + [("three", n) for n in range(2)] + [("four", n) for n in range(4)]
    for image, label, (name, centre) in zip(images, labels, [places[n] for n in order], strict=True):
        wanted_image, wanted_label = expected(store, name, centre, normalisation)
        torch.testing.assert_close(image.double(), wanted_image, atol=2e-6, rtol=0)
        assert torch.equal(label.double(), wanted_label.double())
    assert images.dtype == torch.float32
    assert labels.dtype == torch.uint8
    assert images.shape == labels.shape == (8, 5, SIDE, SIDE)


def test_edge_slices_are_repeated(store):
    images, labels = Windows(store, SIDE).batch([0, 6])
    for window in (images[0], labels[0]):
        assert torch.equal(window[0], window[2])
        assert torch.equal(window[1], window[2])
        assert not torch.equal(window[3], window[2])
    for window in (images[1], labels[1]):
        assert torch.equal(window[3], window[2])
        assert torch.equal(window[4], window[2])
        assert not torch.equal(window[1], window[2])


def test_single_items_are_those_of_a_batch(store):
    windows = Windows(store, SIDE)
    images, labels = windows.batch([8, 2])
    assert torch.equal(windows[2][0], images[1])
    assert torch.equal(windows[8][1], labels[0])
    assert len(list(windows)) == len(windows)


def test_only_the_needed_slices_are_read(store, monkeypatch):
    reads = []

    class Counting:
        def __init__(self, array):
            self.array = array

        def __getitem__(self, slices):
            reads.append(len(slices))
            return self.array[slices]

    image = type(store).image
    monkeypatch.setattr(type(store), "image", lambda self, case: Counting(image(self, case)))
    Windows(store, SIDE).batch([2, 3, 3, 7])
    assert sorted(reads) == [2, 6]


def test_window_normalisation_fills_the_range_and_survives_a_constant(tmp_path):
    store = make_store(tmp_path, "A", {"flat": ("train", (6, SIDE, SIDE))})
    path = tmp_path / "A" / "arrays" / "flat.image.npy"
    array = np.full((6, SIDE, SIDE), 5000, np.uint16)
    array[5, 0, 0] = 6000
    np.save(path, array)
    images, _ = Windows(store, SIDE, "window").batch([0, 5])
    assert torch.equal(images[0], torch.zeros(5, SIDE, SIDE))
    assert images[1].min() == 0
    assert images[1].max() == 1


@pytest.mark.parametrize("index", [-1, 13])
def test_indices_outside_are_refused(store, index):
    with pytest.raises(IndexError, match=r"0\.\.12"):
        Windows(store, SIDE).batch([index])


def test_unknown_normalisation_is_refused(store):
    with pytest.raises(FlapSamError, match="'slice', expected one of volume, window"):
        Windows(store, SIDE, "slice")
    with pytest.raises(FlapSamError, match="'slice'"):
        next(volume_windows(np.zeros((5, 4, 4), np.uint16), SIDE, "slice"))


@pytest.mark.parametrize("normalisation", ["volume", "window"])
@settings(max_examples=25)
@given(depth=st.integers(1, 13))
def test_volume_windows_cover_every_slice_once_in_order(normalisation, depth):
    image = np.random.default_rng(depth).integers(0, 65536, (depth, SIDE, SIDE), np.uint16)
    covered = []
    for start, valid, images in volume_windows(image, SIDE, normalisation):
        assert images.shape == (5, SIDE, SIDE)
        assert images.dtype == torch.float32
        assert all(torch.equal(images[n], images[valid - 1]) for n in range(valid, 5))
        covered += range(start, start + valid)
        if normalisation == "volume":
            wanted = torch.from_numpy(image[start : start + valid].astype(np.float32) / 65535)
            torch.testing.assert_close(images[:valid], wanted, atol=1e-6, rtol=0)
        else:
            assert images.min() == 0
            assert images.max() == 1
    assert covered == list(range(depth))


@given(st.integers(0, 50), st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 20))
def test_epoch_order_is_a_permutation_that_its_arguments_fix(n, seed, round, epoch):
    order = epoch_order(n, seed, round, epoch)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, epoch_order(n, seed, round, epoch))


def test_epoch_orders_differ():
    orders = {tuple(epoch_order(30, *key).tolist()) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]}
    assert len(orders) == 5


def test_foreground_says_which_central_slices_hold_an_organ(tmp_path):
    store = make_store(tmp_path, "A", {"one": ("train", (3, 6, 6)), "two": ("train", (2, 5, 4))})
    for name, shape, planes in (("one", (3, 6, 6), [1]), ("two", (2, 5, 4), [0])):
        label = np.zeros(shape, np.uint8)
        label[planes, 2, 1] = 2
        np.save(tmp_path / "A" / "arrays" / f"{name}.label.npy", label)
    assert Windows(store, SIDE).foreground.tolist() == [False, True, False, True, False]


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0, 1), st.integers(0, 2**40), st.integers(0, 1000))
def test_a_foreground_order_keeps_its_length_its_share_and_its_arguments_word(foreground, share, seed, round):
    foreground = torch.tensor(foreground)
    n = len(foreground)
    order = foreground_order(foreground, share, seed, round, 0)
    assert order.dtype == torch.int64
    assert len(order) == n
    assert torch.equal(order, foreground_order(foreground, share, seed, round, 0))
    if foreground.all() or not foreground.any():
        assert sorted(order.tolist()) == list(range(n))
        return
    assert abs(foreground[order].sum() - share * n) <= 0.5
    times = order.bincount(minlength=n)
    for kind in (times[foreground], times[~foreground]):
        assert kind.max() - kind.min() <= 1


def test_foreground_orders_differ_and_are_mixed():
    foreground = torch.arange(100) < 20
    orders = [foreground_order(foreground, 0.5, *key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert all(10 < foreground[order[:50]].sum() < 40 for order in orders)


@given(st.lists(st.integers(0, 9), max_size=40))
def test_earlier_visits_count_what_stood_before(order):
    visits = earlier_visits(torch.tensor(order, dtype=torch.int64))
    assert visits.tolist() == [order[:place].count(index) for place, index in enumerate(order)]
