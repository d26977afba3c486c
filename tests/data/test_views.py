# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from flap_sam.data.views import Views
from flap_sam.data.windows import volume_windows
from flap_sam.errors import FlapSamError

CPU = torch.device("cpu")


def a_volume(slices: int) -> np.ndarray:
    rng = np.random.default_rng(slices)
    image = rng.integers(0, 65536, (slices, 13, 22)).astype(np.uint16)
    return image // rng.integers(1, 4, (slices, 1, 1)).astype(np.uint16)


def test_under_volume_a_slice_is_its_own_view():
    views = Views.of(a_volume(6), "volume")
    assert views.slices.tolist() == list(range(6))
    assert views.windows[0].tolist() == [0, 0, 0, 1, 2]
    assert views.windows[3].tolist() == [1, 2, 3, 4, 5]
    assert (views.shares() == 1).all()


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_the_windows_of_views_are_the_windows_of_a_volume(normalisation):
    """A window side by side is also the one around its centre."""
    image = a_volume(15)
    views = Views.of(image, normalisation)
    pictures = views.pictures(slice(0, len(views)), 16, CPU)
    for start, _, window in volume_windows(image, 16, normalisation):
        assert torch.equal(pictures[views.windows[start + 2]], window)


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 12])
def test_shares_sum_to_one_for_every_slice(slices):
    views = Views.of(a_volume(slices), "window")
    assert np.bincount(views.slices, views.shares()) == pytest.approx(np.ones(slices))
    shown = {(c, v) for c, window in enumerate(views.windows) for v in window}
    for view, share in enumerate(views.shares()):
        around = sum(views.slices[view] in views.slices[window] for window in views.windows)
        assert share * around == pytest.approx(sum((c, view) in shown for c in range(slices)))


def test_no_view_comes_twice():
    views = Views.of(a_volume(12), "window")
    assert len({(s, *r) for s, r in zip(views.slices, views.ranges.tolist(), strict=True)}) == len(views)
    assert 12 < len(views) < 60


@pytest.mark.parametrize("size", [1, 4, 5, 7, 100])
def test_batches_hold_all_views_of_a_slice(size):
    views = Views.of(a_volume(12), "window")
    runs = list(views.batches(size))
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == len(views)
    slices = [set(views.slices[run]) for run in runs]
    assert sum(map(len, slices)) == 12
    assert all(run.stop - run.start <= size or len(held) == 1 for run, held in zip(runs, slices, strict=True))


def test_a_slice_of_one_intensity_shows_as_zero():
    views = Views.of(np.full((2, 4, 5), 700, np.uint16), "window")
    assert not views.pictures(slice(0, 2), 4, CPU).any()


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(FlapSamError, match="slice"):
        Views.of(np.zeros((5, 4, 4), np.uint16), "slice")
