# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.site_state import SiteState
from safetensors import safe_open
from safetensors.torch import save_file


@pytest.fixture
def state(tmp_path) -> SiteState:
    return SiteState(tmp_path / "run" / "site-1", "digest")


def keep(state: SiteState, *rounds: int, personal: bool = False) -> None:
    for number in rounds:
        gates = {"gate": torch.full((3,), float(number))} if personal else {}
        state.save(number, {"steps": torch.tensor(number)}, gates)


def test_the_newest_before_a_round_is_taken_up(state):
    assert state.training(5) is None
    keep(state, 0, 1, 4)
    for before, expected in ((9, 4), (5, 4), (4, 1)):
        number, tensors = state.training(before)
        assert (number, tensors["steps"].item()) == (expected, expected)
    assert state.training(1) is None, "only the newest two are kept"


def test_personal_tensors_stay_for_every_round(state):
    keep(state, *range(4), personal=True)
    assert [state.personal(n)["gate"][0].item() for n in (1, 2, 4, 9)] == [0, 1, 3, 3]
    assert state.personal(0) == {}


def below(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_of_a_run_that_is_over_the_newest_state_stays_until_another_is(state, tmp_path):
    """Of this site's runs: neither what other sites keep, nor runs that go on, nor folders that are no runs'."""
    others = {
        n: SiteState(tmp_path / n, "digest") for n in ("next/site-1", "goes-on/site-1", "next/site-2", "gate/site-1")
    }
    for one in (state, *others.values()):
        one.claim(tmp_path / str(one.folder))
        keep(one, 0, 1, personal=True)
    for one in (state, others["next/site-2"]):
        one.close()
        one.close()
    others["gate/site-1"]._forget_claim()
    personal = ["personal_00000.safetensors", "personal_00001.safetensors"]
    training = ["round_00000.safetensors", "round_00001.safetensors"]
    assert below(state.folder) == [*personal, training[1]]
    assert state.training(2)[0] == 1
    others["next/site-1"].close()
    assert below(state.folder) == personal
    assert below(others["next/site-1"].folder) == [*personal, training[1]]
    assert below(others["next/site-2"].folder) == [*personal, training[1]]
    assert below(others["goes-on/site-1"].folder) == ["data", *personal, *training]
    assert below(others["gate/site-1"].folder) == [*personal, *training]


def test_a_run_that_is_taken_up_again_is_not_forgotten(state, tmp_path):
    keep(state, 0)
    state.close()
    state.claim(tmp_path)
    other = SiteState(tmp_path / "other" / "site-1", "digest")
    keep(other, 0)
    other.close()
    assert state.training(1)[0] == 0


def test_a_damaged_or_foreign_state_is_named(state):
    keep(state, 0)
    with pytest.raises(FlapSamError, match="another experiment") as caught:
        SiteState(state.folder, "other").training(1)
    assert caught.value.reason == Reason.STOPPED
    path = next(state.folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FlapSamError, match="is damaged"):
        state.training(1)


def test_two_sites_of_a_run_do_not_share_their_data(tmp_path):
    one, other = (SiteState(tmp_path / "run" / name, "digest") for name in ("site-1", "site-2"))
    (tmp_path / "store/A").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "store")
    one.claim(tmp_path / "store/A")
    one.claim(tmp_path / "store/A")
    with pytest.raises(FlapSamError, match=r"site-2 works on .*store/A, as site site-1 does in the same run") as told:
        other.claim(tmp_path / "link/A")
    assert told.value.reason == Reason.SHARED_STORE
    one.claim(tmp_path / "store/A")  # who was there first goes on
    other.claim(tmp_path / "store/B")
    SiteState(tmp_path / "another run" / "site-2", "digest").claim(tmp_path / "store/A")
    for state in (one, other):
        state.close()
    assert not (tmp_path / "run").exists()


def test_a_state_that_cannot_be_kept_is_told_before_the_first_round(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(FlapSamError, match="cannot be written") as told:
        SiteState(tmp_path / "run" / "site-1", "digest").claim(tmp_path)
    assert told.value.reason == Reason.STATE


def test_a_state_of_another_version_is_refused_naming_both_and_none_is_the_first(state):
    keep(state, 0)
    path = state.folder / "round_00000.safetensors"
    with safe_open(path, framework="pt") as file:
        said = file.metadata()
    assert said.pop("version") == "1"
    save_file({"steps": torch.tensor(0)}, path, said)
    assert state.training(1)[0] == 0
    for version, sentence in (("2", "it is of version 2 .* reads version 1: update flap-sam"), ("x", "is damaged")):
        save_file({"steps": torch.tensor(0)}, path, said | {"version": version})
        with pytest.raises(FlapSamError, match=f"Training state {path} .*{sentence}"):
            state.training(1)
