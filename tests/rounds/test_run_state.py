# SPDX-License-Identifier: Apache-2.0
import os

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.records.candidate import Candidate
from flap_sam.records.run_record import RunRecord, attempt
from flap_sam.rounds.run_state import KEPT, RunState, RunStore, check_goes_on, find
from flap_sam.wire.messages import TrainReport
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

FIRST = TrainReport(
    experiment="{}",
    start_digest="d",
    frozen_digest="d",
    slices=3,
    loss=0.5,
    steps=2,
    seconds=0.1,
    validation=[0.5, None],
    demo=False,
    weights="checkpoint",
    labels="l",
)
RECORD = RunRecord(
    run="run", setting="federated", demo=False, weights="checkpoint", attempts=[attempt(0, ["site-1"], {})]
)


E, OTHER = Experiment(rounds=9), Experiment(rounds=9, seed=1)


def state(number: int, experiment: Experiment = E, best: Candidate | None = None) -> RunState:
    current = Candidate({"a.A": torch.full((2, 3), float(number))}, number)
    memory = {"strategy/x": torch.tensor([1.0, number], dtype=torch.float64)}
    return RunState(experiment, FIRST, current, best, memory, "line\n" * number, RECORD)


def test_a_state_comes_back_as_it_was(tmp_path):
    store = RunStore(tmp_path, "run")
    best = Candidate({"a.A": torch.ones(2, 3)}, 1, {"site-1": [0.25, None]})
    store.save(state(2, best=best))
    again = store.load()
    assert (again.experiment, again.first, again.log, again.record) == (E, FIRST, "line\nline\n", RECORD)
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
    for run, experiment in (("20260101-a", E), ("20260102-a", E), ("20260103-a", OTHER)):
        RunStore(tmp_path, run).save(state(1, experiment))
    assert find(tmp_path, "latest", E, print).run == "20260102-a"
    assert find(tmp_path, "20260101-a", E, print).run == "20260101-a"
    with pytest.raises(FlapSamError, match="No run of this experiment"):
        find(tmp_path, "latest", E.changed(seed=2), print)
    with pytest.raises(FlapSamError, match="has no state"):
        find(tmp_path, "nowhere", E, print).load()


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
    mine.save(state(1))
    other.save(state(1, OTHER))
    damage(next(other.folder.glob("*.safetensors")))
    said = []
    assert find(tmp_path, "latest", E, said.append).run == mine.run
    assert len(said) == (other.standing() is None)
    assert all("20260102-other is passed over" in line for line in said)


def test_a_run_whose_newest_state_is_damaged_is_still_the_latest(tmp_path):
    RunStore(tmp_path, "20260101-a").save(state(3))
    newer = RunStore(tmp_path, "20260102-a")
    newer.save(state(1))
    newer.save(state(2))
    cut_short(sorted(newer.folder.glob("*.safetensors"))[-1])
    assert find(tmp_path, "latest", E, print).run == newer.run
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
    with RunStore(tmp_path, "free").held():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "a lock leaves nothing"


def below(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_of_runs_that_are_over_the_last_ones_newest_state_is_kept(tmp_path):
    stopped, first, second = (RunStore(tmp_path, run) for run in ("20260101-a", "20260102-a", "20260103-a"))
    for store in (stopped, first, second):
        for number in (1, 2, 3):
            store.save(state(number))
    (tmp_path / first.run / "site-1").mkdir()
    kept = ["over", "round_00003.safetensors", "round_00003.sha256"]
    first.close()
    assert (below(first.folder), first.is_over()) == (kept, True)
    assert len(below(second.folder)) == 2 * KEPT
    second.close()
    assert below(tmp_path / first.run) == [], "the site's part is the site's"
    assert below(second.folder) == kept
    assert len(below(stopped.folder)) == 2 * KEPT, "one that was interrupted may go on"
    assert second.load().current.round == 3
    second.save(state(4))
    assert not second.is_over()


def test_a_run_that_goes_on_again_is_not_forgotten(tmp_path):
    first, second = RunStore(tmp_path, "20260102-a"), RunStore(tmp_path, "20260103-a")
    for store in (first, second):
        store.save(state(1))
    first.close()
    with first.held():
        second.close()
        assert first.load().current.round == 1


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("reached", [3, 9])
@pytest.mark.parametrize("rounds", [8, 9, 10])
def test_a_run_goes_on_to_as_many_rounds_or_more(tmp_path, over, reached, rounds):
    """A run that is over has nothing left to do at its rounds' end; who was stopped there may still be scored."""
    store, job = RunStore(tmp_path, "20260102-a"), E.changed(rounds=rounds)
    store.save(state(reached))
    if over:
        store.close()
    fits = rounds > 9 or (rounds == 9 and not (over and reached == 9))
    if fits:
        check_goes_on(store, store.load(), job)
        assert find(tmp_path, "latest", job, print).run == store.run
        return
    sentence = "is over after its 9 rounds; set more `rounds`" if rounds == 9 else "rounds was 9 and is 8; resume"
    with pytest.raises(FlapSamError, match=sentence):
        check_goes_on(store, store.load(), job)
    with pytest.raises(FlapSamError, match=r"No run of this experiment has a state .* and rounds left"):
        find(tmp_path, "latest", job, print)


CHANGES = {"seed": 8, "learning_rate": 1e-3, "rank": 8, "ranks": {"site-1": 4}, "max_epochs": 300, "dataset": "other"}


def test_any_other_difference_is_named(tmp_path):
    """With more rounds or without: the settings that differ, and no other, and what they were."""
    store = RunStore(tmp_path, "run")
    store.save(state(3))
    kept = store.load()

    @given(changed=st.sets(st.sampled_from(sorted(CHANGES)), min_size=1), rounds=st.integers(1, 20))
    def differences_are_named(changed, rounds):
        job = E.changed(rounds=rounds, **{name: CHANGES[name] for name in changed})
        with pytest.raises(FlapSamError) as told:
            check_goes_on(store, kept, job)
        named = {name for name in dict(E) if f" {name} was {getattr(E, name)!r} and is " in str(told.value)}
        assert named == changed | ({"rounds"} if rounds != 9 else set())

    differences_are_named()
