# SPDX-License-Identifier: Apache-2.0
"""The small SAM as a promptable network, beside SAM's own."""

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.pretraining.network import PromptableSam, enlarged
from flap_sam.pretraining.prompts import Prompts
from safetensors.torch import save_file

from tests.export.models import segment_anything_of

SIDE = 128


@pytest.fixture(scope="module")
def network() -> PromptableSam:
    return PromptableSam(3).eval()


def test_its_encoders_and_transformer_are_sams_by_name_and_shape(network):
    sam = segment_anything_of(Experiment(backbone="vit_tiny", image_size=SIDE))
    for part in ("image_encoder", "prompt_encoder", "mask_decoder.transformer"):
        sam.get_submodule(part).load_state_dict(network.get_submodule(part).state_dict(), strict=True)
    assert set(network.mask_decoder.state_dict()) == set(sam.mask_decoder.state_dict())


def embeddings(count: int) -> torch.Tensor:
    return torch.randn(count, 128, 8, 8, generator=torch.Generator().manual_seed(1))


def prompts(count: int) -> dict[str, Prompts]:
    generator = torch.Generator().manual_seed(2)
    points = SIDE * torch.rand(count, 2, 2, generator=generator)
    corner = 60 * torch.rand(count, 2, generator=generator)
    boxes, none = torch.cat([corner, corner + 50], dim=1), torch.zeros(count, 0, 2)
    return {
        "points": Prompts(points, torch.tensor([[1.0, 0.0]] * count)),
        "a box": Prompts(none, none[..., 0], boxes),
        "a box and points": Prompts(points, torch.tensor([[1.0, 1.0]] * count), boxes),
    }


@pytest.mark.parametrize("asked", ["points", "a box", "a box and points"])
@pytest.mark.parametrize("corrects", [False, True])
def test_every_prompt_is_answered_on_its_own_image_as_sam_would(network, asked, corrects):
    """SAM's decoder takes one image with many prompts; here each prompt brings its own."""
    images, found = embeddings(3), prompts(3)[asked]
    before = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(4)) if corrects else None
    with torch.no_grad():
        logits, overlaps = network(images, found, before)
        for n in range(3):
            points = (found.points[n : n + 1], found.labels[n : n + 1]) if found.points.shape[1] else None
            boxes = None if found.boxes is None else found.boxes[n : n + 1]
            sparse, dense = network.prompt_encoder(points, boxes, before[n : n + 1, None] if corrects else None)
            expected = network.mask_decoder.predict_masks(
                images[n : n + 1], network.prompt_encoder.get_dense_pe(), sparse, dense
            )
            torch.testing.assert_close(logits[n : n + 1], expected[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(overlaps[n : n + 1], expected[1], rtol=1e-3, atol=1e-4)
    assert logits.shape == (3, 4, 32, 32)


def test_a_seed_says_the_weights_and_a_file_keeps_them(network, tmp_path):
    state = network.state_dict()
    again, other = PromptableSam(3).state_dict(), PromptableSam(4).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert any(not torch.equal(state[name], other[name]) for name in state)
    save_file({name: tensor.contiguous() for name, tensor in other.items()}, tmp_path / "sam.safetensors")
    loaded = PromptableSam.load(tmp_path / "sam.safetensors").state_dict()
    assert all(torch.equal(other[name], loaded[name]) for name in other)


def test_answers_are_enlarged_to_the_images_resolution():
    logits = torch.arange(2 * 32 * 32.0).view(2, 32, 32)
    found = enlarged(logits)
    assert found.shape == (2, SIDE, SIDE)
    inside = found.view(2, 32, 4, 32, 4).mean((2, 4))[:, 1:-1, 1:-1]
    torch.testing.assert_close(inside, logits[:, 1:-1, 1:-1], rtol=1e-5, atol=1e-2)
