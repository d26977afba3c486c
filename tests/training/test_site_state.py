import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.training.site_state import SiteState


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


def test_forgetting_removes_its_own_files_alone(state, tmp_path):
    keep(state, 0, 1)
    (tmp_path / "run" / "other").mkdir()
    state.forget_training()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["other"]
    state.forget_training()


def test_forgetting_keeps_the_personal_tensors(state):
    keep(state, 0, personal=True)
    state.forget_training()
    assert state.training(9) is None
    assert state.personal(9)


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
        state.forget_training()
    assert not (tmp_path / "run").exists()


def test_a_state_that_cannot_be_kept_is_told_before_the_first_round(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(FlapSamError, match="cannot be written") as told:
        SiteState(tmp_path / "run" / "site-1", "digest").claim(tmp_path)
    assert told.value.reason == Reason.STATE
