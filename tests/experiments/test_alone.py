# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flap_sam.commands.main import app
from flap_sam.config.experiment import METHODS, unread
from flap_sam.config.job import Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.experiments.alone import train
from flap_sam.records import round_log, run_record
from flap_sam.records.pictures import pictures_below, read
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.report.closing import closing_summary
from flap_sam.rounds import loop
from flap_sam.sam.weights import RANDOM
from flap_sam.training import participant
from flap_sam.training.progress import Say, silent
from flap_sam.training.trainer import Trainer
from flap_sam.wire import payload
from typer.testing import CliRunner

from tests.rounds.test_rounds import EVERY, Rounds

JOB = Path(__file__).parents[2] / "jobs/flap_sam_nifti"
QUICK = {"image_size": 32, "rank": 4, "rounds": 2, "batch_size": 3, "backbone": "vit_tiny"}


@pytest.fixture
def job(store, monkeypatch) -> Job:
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
    return Job.read(JOB)


def of(job: Job, changes: dict, out: Path, site: str | None = None, say: Say = silent) -> Path:
    """A job trained on the data of one site, or of all."""
    own = Site.read(None)
    return train(job.experiment(changes), out, site=own.at(own.data, site), policy=job.policy, say=say)


def run(job, tmp_path, setting, site=None, **changes) -> tuple[Path, list[dict], dict]:
    out = of(job, QUICK | changes, tmp_path / f"{setting}_{site}", site)
    rounds = [json.loads(line) for line in (out / ROUND_LOG).read_text().splitlines()]
    return out, rounds, json.loads((out / TEST_DICE).read_text())


def test_a_site_alone_leaves_what_a_federated_run_leaves(job, tmp_path):
    out, rounds, table = run(job, tmp_path, "local", "B")
    assert [list(r["sites"]) for r in rounds] == [["B"], ["B"]]
    assert {site["bytes_up"] for r in rounds for site in r["sites"].values()} == {0}, "nothing travels"
    assert table["payloads"].keys() == {FINAL, BEST}
    assert table["payloads"][FINAL].keys() == {"A", "B", "C"}, "scored on every site's cases"
    assert "B" in closing_summary(out)
    record = run_record.read(out)
    assert (record.setting, record.demo, record.weights, record.attempts[0].sites) == ("local", False, "bundled", ["B"])
    assert not (out / "pictures").exists(), "no picture of a patient where the site has not asked for it"


ALONE = [settings for settings in EVERY if not {"ranks", "robust"} & set(settings)]
METHODS_ALONE = [{"method": method} for method in METHODS if method != "masam"]


@pytest.mark.parametrize("settings", [*ALONE, *METHODS_ALONE], ids=str)
def test_a_site_alone_is_a_federation_of_one_to_the_bit(job, store, tmp_path, monkeypatch, settings):
    """Beside a server and a site that are driven by hand."""
    monkeypatch.setenv("FLAP_SAM_CHECKPOINT", str(RANDOM))
    settings |= unread(job.settings | QUICK | settings)  # back to their defaults
    out, rounds, _ = run(job, tmp_path, "local", "B", **settings)
    federation = Rounds(job.experiment(QUICK | settings), store, tmp_path / "state", ["site-2"])
    expected = {}
    for number in range(QUICK["rounds"]):
        expected = dict(federation.round(number, expected).payload)
    found = payload.read(out / PAYLOAD_FILES[FINAL]).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(r["loss"] is not None for r in rounds)


def test_the_cases_of_every_site_are_drawn_where_they_may_be(job, tmp_path, monkeypatch):
    monkeypatch.setattr(Site, "shows_pictures", lambda *_: True)
    out, _, _ = run(job, tmp_path, "local", "B")
    found = [read(path)[0] for path in pictures_below(out, QUICK["rounds"])]
    assert {caption.site for caption in found} == {"A", "B", "C"}
    assert {tuple(caption.classes) for caption in found} == {("organ", "lesion")}


def test_all_data_in_one_place_are_all_slices(job, tmp_path):
    _, rounds, table = run(job, tmp_path, "centralized")
    assert [r["sites"]["A, B, C"]["slices"] for r in rounds] == [4 + 7 + 3] * 2
    assert [r["sites"]["A, B, C"]["steps"] for r in rounds] == [5] * 2
    assert table["payloads"][FINAL].keys() == {"A", "B", "C"}


def test_progress_and_rounds_are_said(job, tmp_path, monkeypatch):
    monkeypatch.setattr("flap_sam.training.progress.LINE_SECONDS", 0.0)
    said = []
    of(job, QUICK | {"batch_size": 1}, tmp_path / "out", "C", said.append)
    told = [line for line in said if "step" in line or "of 2: loss" in line]
    a_round = ["step 1 of 3", "step 2 of 3", "of 2: loss"]
    assert all(words in line for words, line in zip(a_round * 2, told, strict=True))


def test_a_payload_is_scored_with_the_gates_of_its_round(job, tmp_path, monkeypatch):
    trained, scored = [], []
    monkeypatch.setattr(loop, "improves", lambda _, best, *__: best is None)  # the first is the best
    train_round, score = Trainer.train, participant.score

    def gates(network) -> dict:
        return {name: p.detach().clone() for name, p in network.named_parameters() if "gate" in name}

    def train_and_note(trainer, *words, **more):
        result = train_round(trainer, *words, **more)
        trained.append(gates(trainer.network))
        return result

    def score_and_note(network, store, split, *words):
        if split == "test":
            scored.append(gates(network))
        return score(network, store, split, *words)

    monkeypatch.setattr(Trainer, "train", train_and_note)
    monkeypatch.setattr(participant, "score", score_and_note)
    out, _, _ = run(job, tmp_path, "local", "site-1", adapter="mole")
    first, last = trained
    assert any(not torch.equal(first[name], last[name]) for name in first)
    for found, expected in zip(scored, [last] * 3 + [first] * 3, strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any("gate" in name for name in payload.read(out / PAYLOAD_FILES[FINAL]).tensors)


def test_what_cannot_be_is_one_sentence(job, tmp_path):
    for site, sentence in (("D", "there are A, B, C"), ("site-4", "there are A, B, C"), ("A/B", "name is 'A/B'")):
        with pytest.raises(FlapSamError, match=sentence):
            of(job, QUICK, tmp_path / "x", site)
    for words, sentence in (
        (["--setting", "local"], "Name the --site"),
        (["--setting", "centralized", "--site", "A"], "takes all sites"),
        (["--setting", "alone"], "no setting 'alone'; expected local or centralized"),
    ):
        refused = CliRunner().invoke(app, ["train", str(JOB), "--out", str(tmp_path / "x"), *words])
        assert isinstance(refused.exception, FlapSamError)
        assert sentence in str(refused.exception)
    conducted = replace(job, policy=RunPolicy(best_by=3))
    with pytest.raises(FlapSamError, match="best_by is class 3; the experiment has classes 1 to 2"):
        of(conducted, QUICK, tmp_path / "x", "A")
    out, _, _ = run(job, tmp_path, "local", "A")
    with pytest.raises(FlapSamError, match="holds a run already"):
        of(job, QUICK, out, "A")


def interrupted(job, tmp_path, monkeypatch, after: int, **changes) -> Path:
    """The folder of a run that ended as its log took up a round."""
    append = round_log.append

    def stop(out, record):
        append(out, record)
        if record.round == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(round_log, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            run(job, tmp_path, "local", "A", **changes)
    return tmp_path / "local_A"


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_that_was_interrupted_goes_on(job, tmp_path, monkeypatch, after):
    _, whole, table = run(job, tmp_path / "whole", "local", "A")
    interrupted(job, tmp_path, monkeypatch, after)
    out, rounds, again = run(job, tmp_path, "local", "A")
    assert [r["loss"] for r in rounds] == [r["loss"] for r in whole]
    assert again == table
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in (tmp_path / "whole/local_A").iterdir())


def test_what_an_interrupted_run_goes_on_from_outlives_another_run_of_the_site(job, tmp_path, monkeypatch):
    _, whole, table = run(job, tmp_path / "whole", "local", "A", rounds=3)
    interrupted(job, tmp_path, monkeypatch, after=1, rounds=3)
    run(job, tmp_path / "other", "local", "A", seed=5)
    _, rounds, again = run(job, tmp_path, "local", "A", rounds=3)
    assert [r["loss"] for r in rounds] == [r["loss"] for r in whole]
    assert again == table


def test_an_interrupted_run_of_another_kind_is_left_alone(job, tmp_path, monkeypatch):
    out = interrupted(job, tmp_path, monkeypatch, after=1)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for site, changes, sentence in (
        ("B", {}, "holds another run already"),
        (None, {}, "holds another run already"),
        ("A", {"seed": 2}, "is of another experiment than this job: seed was 1234 and is 2"),
    ):
        with pytest.raises(FlapSamError, match=sentence):
            of(job, QUICK | changes, out, site)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
