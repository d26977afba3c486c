"""The weights that lie in the package: these tests need the file itself."""

from pathlib import Path

import flap_sam
import pytest
from flap_sam.pretraining.examine import examine, held_out
from flap_sam.pretraining.network import PromptableSam

PACKAGED = Path(flap_sam.__file__).parent / "sam" / "pretrained" / "vit_tiny.safetensors"


@pytest.fixture(scope="module")
def overlaps() -> list[dict[str, float]]:
    """With shapes of 32 scenes that were not trained on: of random weights, and of the package's."""
    networks = PromptableSam(1), PromptableSam.load(PACKAGED)
    found = [examine(network, held_out(network.side, scenes=32)) for network in networks]
    return [{asked_by: values.mean().item() for asked_by, values in of_one.items()} for of_one in found]


@pytest.mark.parametrize("asked_by", ["a point", "its best answer", "three points", "a box"])
def test_the_packages_weights_find_shapes_that_random_ones_do_not(overlaps, asked_by):
    random, packaged = overlaps
    assert random[asked_by] < 0.1
    assert packaged[asked_by] > random[asked_by] + 0.1


def test_more_points_say_more(overlaps):
    _, packaged = overlaps
    assert packaged["three points"] > packaged["a point"]
