# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from flap_sam.data.views import Views
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.predict import embed, predict_volume, volume_logits
from torch.nn import functional as F

from tests.training.networks import Threshold

CPU = torch.device("cpu")


def a_volume(slices: int, rows: int = 40, columns: int = 52) -> np.ndarray:
    """Codes whose range differs from slice to slice, two in three reaching the same limits."""
    rng = np.random.default_rng(slices)
    image = rng.integers(3000, 50000, (slices, rows // 4, columns // 4)).repeat(4, 1).repeat(4, 2).astype(np.uint16)
    image[::3, 0, 0], image[1::3, 0, 0] = 65535, 65535
    image[::3, 0, 1], image[1::3, 0, 1] = 0, 0
    return image


def lively(experiment, **changes):
    """A network whose adapters do something and whose logits are not all alike."""
    network, experiment, _ = network_for(experiment.changed(**changes), None)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.endswith(".B") or "fact" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    return network.eval(), experiment


@torch.no_grad()
def window_by_window(network, image, experiment) -> torch.Tensor:
    """Mean probabilities over the windows centred on every slice, on the network's grid: the plain way."""
    n = len(image)
    total, count = torch.zeros(n, experiment.classes + 1, *[experiment.image_size] * 2), torch.zeros(n, 1, 1, 1)
    for centre in range(n):
        slices = [min(max(centre + d, 0), n - 1) for d in range(-2, 3)]
        codes = torch.from_numpy(image[slices].astype(np.float32)) / 65535
        window = F.interpolate(codes[None], (experiment.image_size,) * 2, mode="bilinear", antialias=True)
        if experiment.normalisation == "window":
            window = (window - codes.min()) / (codes.max() - codes.min())
        found = network(window.clamp(0, 1))[0].softmax(1)
        for s in set(slices):
            total[s] += found[slices.index(s)]
            count[s] += 1
    return total / count


@pytest.mark.parametrize("method", ["flap_sam", "pdecft"])
def test_slices_do_not_mix(small, method):
    network, _ = lively(small, method=method)
    windows = torch.rand(2, 5, 32, 32)
    changed = windows.clone()
    changed[1, 3] = torch.rand(32, 32)
    with torch.no_grad():
        before, after = network(windows), network(changed)
    moved = (before - after).abs().amax((2, 3, 4))
    assert moved[1, 3] > 1e-2
    moved[1, 3] = 0
    assert moved.max() == 0


def test_masams_slices_mix(small):
    network, experiment = lively(small, method="masam")
    windows = torch.rand(1, 5, 32, 32)
    changed = windows.clone()
    changed[0, 3] = torch.rand(32, 32)
    with torch.no_grad():
        assert (network(windows) - network(changed))[0, 2].abs().max() > 1e-3
        image = a_volume(7, 32, 32)
        first = network(torch.from_numpy(image[None, :5].astype(np.float32)) / 65535)[0].argmax(1)
    found = predict_volume(network, image, experiment, CPU, "float32")
    assert np.array_equal(found[:5], first)
    assert len(found) == 7


@pytest.mark.parametrize("normalisation", ["volume", "window"])
@pytest.mark.parametrize("slices", [1, 2, 5, 11])
def test_the_probabilities_are_those_of_window_by_window(small, normalisation, slices):
    network, experiment = lively(small, normalisation=normalisation)
    image = a_volume(slices, 32, 32)
    expected = window_by_window(network, image, experiment)
    found = torch.cat([logits.softmax(1) for logits in volume_logits(network, image, experiment, CPU, "float32")])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.std() > 0.01


@pytest.mark.parametrize("normalisation", ["volume", "window"])
@pytest.mark.parametrize("together", [1, 2**20])
def test_however_much_is_done_at_once(small, monkeypatch, normalisation, together):
    network, experiment = lively(small, normalisation=normalisation)
    image = a_volume(9)
    expected = window_by_window(network, image, experiment).log()
    full = F.interpolate(expected, image.shape[1:], mode="bilinear").softmax(1)
    monkeypatch.setattr("flap_sam.training.predict.PIXELS_TOGETHER", together)
    monkeypatch.setattr("flap_sam.training.predict.VALUES_TOGETHER", together)
    found = torch.cat([logits.softmax(1) for logits in volume_logits(network, image, experiment, CPU, "float32")])
    torch.testing.assert_close(found, full, atol=1e-5, rtol=1e-4)
    labels = predict_volume(network, image, experiment, CPU, "float32")
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, found.argmax(1))
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize("slices", [1, 4, 5, 11])
def test_a_volume_is_put_back_together_and_each_slice_encoded_once(small, slices):
    labels = np.random.default_rng(slices).integers(0, 3, (slices, 4, 6)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    image = (labels[:, :, :32] * 0.45 * 65535).astype(np.uint16)
    network = Threshold()
    assert np.array_equal(predict_volume(network, image, small, CPU, "float32"), labels[:, :, :32])
    assert network.encoded == slices


def test_equal_ranges_are_encoded_once(small):
    image = a_volume(9)
    network, windowed = Threshold(), small.changed(normalisation="window")
    predict_volume(network, image, windowed, CPU, "float32")
    assert network.encoded == 9, "every window reaches both limits"
    image[4:] //= 2
    predict_volume(network, image, windowed, CPU, "float32")
    assert 9 < network.encoded - 9 < 18


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_embeddings_that_are_known_are_not_made_again(small, normalisation):
    network, experiment = lively(small, normalisation=normalisation)
    image = a_volume(6)
    views = Views.of(image, normalisation)
    known = torch.cat([e for _, e in embed(network, views, 32, CPU, "float32")]).numpy()
    expected = predict_volume(network, image, experiment, CPU, "float32")
    network.image_encoder = None
    assert np.array_equal(predict_volume(network, image, experiment, CPU, "float32", known), expected)
