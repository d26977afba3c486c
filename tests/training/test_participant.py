# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.config.experiment import METHODS
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError, Reason
from flap_sam.sam.checkpoint import start_digest
from flap_sam.sam.weights import RANDOM
from flap_sam.training import site_state
from flap_sam.training.participant import Participant, _name_in, assign
from flap_sam.wire import payload

from tests.conftest import write_site


def join(experiment, store, site, tmp_path, **settings) -> Participant:
    settings = Site(data=store, device="cpu", state=tmp_path / "state", **settings)
    return Participant(experiment, settings, assign(settings, site, None), site, "run")


def test_a_simulated_site_takes_the_store_site_of_its_number(small, store, tmp_path):
    assert join(small, store, "site-2", tmp_path).assignment.store.manifest.site == "B"
    assert join(small, store, "B", tmp_path).slices == 7


@pytest.mark.parametrize("name", ["site-4", "site-0", "hospital"])
def test_a_site_that_the_store_lacks_is_told_which_there_are(small, store, tmp_path, name):
    with pytest.raises(FlapSamError, match="A, B, C"):
        join(small, store, name, tmp_path)


def test_all_sites_start_alike_and_other_seeds_do_not(small, store, tmp_path):
    mixed = small.changed(ranks={"C": 2})
    digests = {join(mixed, store, site, tmp_path).start_digest for site in "ABC"}
    assert len(digests) == 1, "a rank of one's own is no other start"
    assert join(mixed.changed(seed=8), store, "A", tmp_path).start_digest not in digests


def test_a_site_starts_from_the_box_and_where_it_says_so_from_random_weights(small, store, tmp_path):
    boxed, random = (join(small, store, "A", tmp_path, checkpoint=path) for path in (None, RANDOM))
    assert (boxed.weights.origin, random.weights.origin) == ("bundled", "random")
    assert boxed.start_digest != random.start_digest
    assert random.load_report.loaded == []


def test_a_site_that_pins_other_weights_does_not_start_from_the_box(small, store, tmp_path):
    with pytest.raises(FlapSamError, match=r"vit_tiny\.safetensors cannot be used: .* the site pins 00"):
        join(small, store, "A", tmp_path, checkpoint_sha256="00" * 32)


def test_what_trains_belongs_to_the_start(small, store, tmp_path):
    participant = join(small, store, "B", tmp_path)
    participant.train(0)
    assert start_digest(participant.network, participant.experiment) != participant.start_digest


@pytest.mark.parametrize("processes", [1, 2])
def test_a_round_that_another_process_trains_is_not_trained_beside_it(small, store, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(site_state, "PATIENCE", 0.0)
    participant = join(small, store, "A", tmp_path, processes=processes)
    with participant._state.held(), pytest.raises(FlapSamError, match="of this run is in use by process"):
        participant.train(0)
    assert not list(tmp_path.rglob("round_*"))


def test_a_round_trains_from_the_payload_received(small, store, tmp_path):
    participant = join(small, store, "A", tmp_path)
    tensors, result = participant.train(0)
    assert result.steps == 2
    again = join(small, store, "A", tmp_path)
    again.receive(tensors)
    assert [s.dice for s in again.score("test")] == [s.dice for s in participant.score("test")]
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_a_store_with_other_classes_is_refused(small, store, tmp_path):
    with pytest.raises(FlapSamError, match=r"2 classes \(organ, lesion\); the experiment has 3"):
        join(small.changed(classes=3), store, "A", tmp_path)


def test_without_data_and_without_a_demo_the_site_says_what_to_set():
    with pytest.raises(FlapSamError, match="FLAP_SAM_DATA"):
        assign(Site(), "site-1", None)


def test_a_missing_store_is_named_to_the_site_alone(tmp_path):
    with pytest.raises(FlapSamError) as caught:
        assign(Site(data=tmp_path / "nowhere"), "site-1", None)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.reason == Reason.STORE


def test_the_demo_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAP_SAM_CACHE", str(tmp_path))
    first = assign(Site(), "site-1", "phantom")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert first.demo
    assert first.store.manifest.site == "A"
    assert assign(Site(), "site-1", "phantom").demo
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_a_site_without_validation_cases_scores_none(small, tmp_path):
    write_site(tmp_path / "store", "A", {"train": [(3, 20, 20)]})
    assert join(small, tmp_path / "store", "A", tmp_path).score("validation") == []


EVERY_KIND = [(method, "lora") for method in METHODS] + [("flap_sam", "dora"), ("flap_sam", "mole"), ("loraft", "mole")]


@pytest.mark.parametrize(("method", "adapter"), EVERY_KIND)
def test_a_trained_payload_gives_the_same_masks_bit_for_bit(small, store, tmp_path, method, adapter):
    """Through its file, in another process's network; the gates of MoLE come from the site's own state.

    The canonical form of the adapters changes the network they were trained in by rounding alone.
    """
    experiment = small.changed(method=method, adapter=adapter, classes=2)
    trained = join(experiment, store, "A", tmp_path)
    tensors, _ = trained.train(0)
    payload.write(tmp_path / "global.safetensors", tensors, trained.experiment, {})
    tensors = payload.read(tmp_path / "global.safetensors").tensors
    again = join(experiment, store, "A", tmp_path)
    again.receive(tensors)
    again.restore_to_score(1)
    windows = torch.rand(2, 5, 32, 32)
    for participant in (trained, again):
        participant.network.eval()
    with torch.no_grad():
        as_trained = trained.network(windows)
        trained.receive(tensors)
        assert torch.equal(again.network(windows), trained.network(windows))
        assert torch.allclose(as_trained, trained.network(windows), atol=1e-3)


def test_every_payload_is_scored_with_the_gates_of_its_round(small, store, tmp_path):
    participant = join(small.changed(adapter="mole"), store, "A", tmp_path)
    gate = participant.network.image_encoder.blocks[0].attn.gate.logits
    after = []
    for number in range(3):
        participant.restore_before(number)
        participant.train(number)
        after.append(gate.detach().clone())
    for number in (2, 3, 1):
        participant.restore_to_score(number)
        assert torch.equal(gate, after[number - 1])


def test_once_a_payload_is_scored_for_good_the_newest_state_stays_for_more_rounds(small, store, tmp_path):
    """A run of one round that goes on with another trains as one that was planned for two."""
    short, longer = small.changed(rounds=1), small.changed(rounds=2)

    def round_1(participant: Participant, received) -> dict[str, torch.Tensor]:
        participant.receive(received)
        participant.restore_before(1)
        return participant.train(1)[0]

    planned, finished = join(longer, store, "A", tmp_path / "planned"), join(short, store, "A", tmp_path)
    wire, _ = finished.train(0)
    assert all(torch.equal(tensor, wire[name]) for name, tensor in planned.train(0)[0].items())
    finished.restore_to_score(1)
    assert [path.name for path in (tmp_path / "state/run/A").iterdir()] == ["round_00000.safetensors"]
    expected = round_1(planned, wire)
    with pytest.raises(FlapSamError, match="belongs to another experiment"):
        round_1(join(longer.changed(learning_rate=1e-4), store, "A", tmp_path), wire)
    found = round_1(join(longer, store, "A", tmp_path), wire)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    fresh = round_1(join(longer, store, "A", tmp_path / "fresh"), wire)
    assert not all(torch.equal(fresh[name], expected[name]) for name in expected), "without its moments it would differ"


@pytest.mark.parametrize(
    "known", [["A", "B", "C"], ["B", "site-1"], ["site-2", "site-3"], ["site-1"], ["site-10", "x"]]
)
def test_no_two_sites_of_a_simulation_find_the_same_data(known):
    found = [_name_in(known, f"site-{number}") for number in range(1, 12)]
    assert len(set(found)) == len(found)
