import os

import pytest
import torch
from flap_sam.errors import FlapSamError
from flap_sam.records.candidate import Candidate
from flap_sam.records.run_record import RunRecord, stint
from flap_sam.rounds.run_state import KEPT, RunState, RunStore, find
from flap_sam.wire.messages import TrainReport
from safetensors.torch import save_file

FIRST = TrainReport(
    experiment="{}",
    start_digest="d",
    slices=3,
    loss=0.5,
    steps=2,
    seconds=0.1,
    validation=[0.5, None],
    demo=False,
    weights="checkpoint",
    labels="l",
)
RECORD = RunRecord(run="run", setting="federated", demo=False, weights="checkpoint", stints=[stint(0, ["site-1"], {})])


def state(number: int, experiment: str = "e", best: Candidate | None = None) -> RunState:
    current = Candidate({"a.A": torch.full((2, 3), float(number))}, number)
    memory = {"strategy/x": torch.tensor([1.0, number], dtype=torch.float64)}
    return RunState(experiment, FIRST, current, best, memory, "line\n" * number, RECORD)


def test_a_state_comes_back_as_it_was(tmp_path):
    store = RunStore(tmp_path, "run")
    best = Candidate({"a.A": torch.ones(2, 3)}, 1, {"site-1": [0.25, None]})
    store.save(state(2, best=best))
    again = store.load()
    assert (again.experiment, again.first, again.log, again.record) == ("e", FIRST, "line\nline\n", RECORD)
    assert (again.current.round, again.best.round, again.best.validation) == (2, 1, {"site-1": [0.25, None]})
    assert torch.equal(again.current.tensors["a.A"], torch.full((2, 3), 2.0))
    assert torch.equal(again.best.tensors["a.A"], best.tensors["a.A"])
    assert again.memory["strategy/x"].dtype == torch.float64


def test_the_newest_is_taken_and_the_old_ones_go(tmp_path):
    store = RunStore(tmp_path, "run")
    for number in range(1, 6):
        store.save(state(number))
    assert store.load().current.round == 5
    assert len(list(store.folder.glob("*.safetensors"))) == len(list(store.folder.glob("*.sha256"))) == KEPT


def test_a_damaged_state_is_named_and_the_one_before_it_is_there(tmp_path):
    store = RunStore(tmp_path, "run")
    store.save(state(1))
    store.save(state(2))
    newest = sorted(store.folder.glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    with pytest.raises(FlapSamError, match="its hash differs"):
        store.load()
    newest.unlink()
    assert store.load().current.round == 1


def test_the_latest_run_of_the_experiment_is_found(tmp_path):
    for run, experiment in (("20260101-a", "e"), ("20260102-a", "e"), ("20260103-a", "other")):
        RunStore(tmp_path, run).save(state(1, experiment))
    assert find(tmp_path, "latest", "e", print).run == "20260102-a"
    assert find(tmp_path, "20260101-a", "e", print).run == "20260101-a"
    with pytest.raises(FlapSamError, match="No run of this experiment"):
        find(tmp_path, "latest", "none", print)
    with pytest.raises(FlapSamError, match="has no state"):
        find(tmp_path, "nowhere", "e", print).load()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:20])


def without_notes(path):
    save_file({"a": torch.zeros(1)}, path)


DAMAGES = [
    cut_short,
    without_notes,
    lambda path: path.write_bytes(b""),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: path.with_suffix(".sha256").unlink(),
    lambda path: path.with_suffix(".sha256").write_text("odd"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_of_another_run_does_not_stop_this_one(tmp_path, damage):
    mine, other = RunStore(tmp_path, "20260101-mine"), RunStore(tmp_path, "20260102-other")
    mine.save(state(1, "e"))
    other.save(state(1, "other"))
    damage(next(other.folder.glob("*.safetensors")))
    said = []
    assert find(tmp_path, "latest", "e", said.append).run == mine.run
    assert len(said) == (other.experiment() is None)
    assert all("20260102-other is passed over" in line for line in said)


def test_a_run_whose_newest_state_is_damaged_is_still_the_latest(tmp_path):
    RunStore(tmp_path, "20260101-a").save(state(3))
    newer = RunStore(tmp_path, "20260102-a")
    newer.save(state(1))
    newer.save(state(2))
    cut_short(sorted(newer.folder.glob("*.safetensors"))[-1])
    assert find(tmp_path, "latest", "e", print).run == newer.run
    with pytest.raises(FlapSamError, match="is damaged"):
        newer.load()


def test_a_state_without_its_hash_falls_back_a_round(tmp_path):
    store = RunStore(tmp_path, "run")
    store.save(state(1))
    store.save(state(2))
    hashes = sorted(store.folder.glob("*.sha256"))
    hashes[-1].unlink()
    assert store.load().current.round == 1
    hashes[0].unlink()
    with pytest.raises(FlapSamError, match="has no state"):
        store.load()


def test_a_run_has_one_server(tmp_path):
    store = RunStore(tmp_path, "run")
    with store.held():
        store.save(state(1))
        sentence = rf"Run run still goes on: .* in use by process {os.getpid()} on \S+ since"
        with pytest.raises(FlapSamError, match=sentence), RunStore(tmp_path, "run").held():
            pass
        with RunStore(tmp_path, "other").held():
            pass
    with store.held():
        store.remove()
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_over_leaves_nothing_of_the_servers(tmp_path):
    store = RunStore(tmp_path, "run")
    store.save(state(1))
    (tmp_path / "run" / "site-1").mkdir()
    store.remove()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["site-1"]
