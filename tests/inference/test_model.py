# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.inference.model import Model
from flap_sam.sam.checkpoint import network_for, start_digest_with_rounds
from flap_sam.sam.weights import RANDOM
from flap_sam.training.participant import Participant, assign
from flap_sam.wire import payload
from safetensors.torch import save_file

NOTES = {"round": 1}


def trained(experiment, store, folder, checkpoint=None):
    """A payload file of one round at one site, and the participant that trained it."""
    site = Site(data=store, device="cpu", state=folder, checkpoint=checkpoint)
    participant = Participant(experiment, site, assign(site, "A", None), "A", "run")
    tensors, _ = participant.train(0)
    path = folder / "global.safetensors"
    payload.write(path, tensors, participant.experiment, NOTES | {"start": participant.start_digest})
    return path, participant


@pytest.fixture
def checkpoint(small, tmp_path):
    """Weights of SAM's names other than those that the experiment's seed gives."""
    network, _, _ = network_for(small.changed(method="fullft", seed=99), None)
    path = tmp_path / "sam.safetensors"
    save_file({name: t.contiguous() for name, t in network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("method", ["flap_sam", "pdecft", "fullft", "masam"])
def test_the_network_is_the_one_that_was_trained(small, store, tmp_path, checkpoint, method):
    given = RANDOM if method == "masam" else checkpoint
    path, participant = trained(small.changed(method=method), store, tmp_path, given)
    model = Model.load(path, given)
    participant.receive(payload.read(path).tensors)  # in canonical form, as it travels
    expected = participant.network.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in model.network.state_dict().items())
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.notes["round"] == 1


def test_weights_that_it_was_not_trained_from_are_refused(small, store, tmp_path, checkpoint):
    path, _ = trained(small, store, tmp_path, checkpoint)
    for given, name in ((RANDOM, "random weights"), (None, "the bundled small SAM")):
        with pytest.raises(
            FlapSamError, match=rf"trained from a network of sha256 \w{{64}}; from {name} it is \w{{64}}"
        ):
            Model.load(path, given)
    weights = {name: t + 1e-6 for name, t in network_for(small, checkpoint)[0].state_dict().items()}
    other = tmp_path / "other.safetensors"
    save_file(weights, other)
    with pytest.raises(FlapSamError, match=r"from \S+/other\.safetensors it is"):
        Model.load(path, other)


def test_a_payload_that_notes_its_start_as_earlier_versions_did_is_still_taken(small, store, tmp_path, checkpoint):
    """They hashed the number of rounds too."""
    path, participant = trained(small, store, tmp_path, checkpoint)
    tensors = payload.read(path).tensors
    network, experiment, _ = network_for(small, checkpoint)
    before = start_digest_with_rounds(network, experiment)
    assert before != participant.start_digest
    payload.write(path, tensors, participant.experiment, NOTES | {"start": before})
    assert Model.load(path, checkpoint).notes["start"] == before
    with pytest.raises(FlapSamError, match="was trained from a network of sha256"):
        Model.load(path, RANDOM)
