# SPDX-License-Identifier: Apache-2.0
"""The controller over a stand-in for FLARE's broadcast: what it counts, refuses, keeps and says."""

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import get_args
from unittest.mock import patch

import pytest
import torch
from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.federation import controller
from flap_sam.federation.controller import FlapSamController, _is_deployed
from flap_sam.records import run_record
from flap_sam.records.results import BEST, FINAL, PAYLOAD_FILES, TEST_DICE
from flap_sam.records.round_log import ROUND_LOG
from flap_sam.sam.weights import NOTICES, Origin
from flap_sam.training.evaluate import evaluation
from flap_sam.wire import payload
from flap_sam.wire.messages import EXPERIMENT, REPORT, SPOKEN, TASK_EVALUATE, TASK_TRAIN, VERSION, TrainReport, to_meta
from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel

from tests.training.cases import scored

SITES = {"site-1": 1, "site-2": 3}
THREE = {"site-1": 1, "site-2": 3, "site-3": 1}
VALIDATION = [0.1, 0.6, 0.4, 0.3]  # of the start, and after each round


Spoil = Callable[[str, str, FLModel], None]


class Context(FLContext):
    """A context that knows its engine and its job."""

    def __init__(self, engine, deployed: bool) -> None:
        super().__init__()
        self.set_prop(FLContextKey.SECURE_MODE, deployed)
        self.get_engine, self.get_job_id = lambda: engine, lambda: "job"


class Federation:
    """Sites that answer every task at once, in the order of `sites`, which holds their slices.

    `spoil` may change an answer, or take it away by dropping its meta. Payloads of constants are far from what training
    changes: no limit holds them.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder,
        spoil: Callable[[str, str, FLModel], None] | None = None,
        sites: Mapping[str, int] = SITES,
        deployed: bool = False,
        **policy,
    ):
        self.experiment, self.spoil, self.panics, self.asked, self.events = experiment, spoil, [], [], []
        self.sites, self.received = sites, []
        self.controller = FlapSamController(dict(experiment), {"largest_norm": None, **policy})
        workspace = SimpleNamespace(get_run_dir=lambda _: str(folder), get_site_config_dir=lambda: str(folder))
        engine = SimpleNamespace(
            get_clients=lambda: [SimpleNamespace(name=site) for site in sites],
            get_workspace=lambda: workspace,
        )
        self.controller.engine = engine
        self.controller.fl_ctx = Context(engine, deployed)
        self.controller.abort_signal = SimpleNamespace(triggered=False)
        self.controller.panic = self._panic
        self.controller.send_model = self._send
        self.controller.get_num_standing_tasks = lambda: self.standing
        self.controller.cancel_all_tasks = self._cancel
        self.controller.fire_event = lambda event_type, *_, **__: self.events.append(event_type)
        with patch.object(controller, "CHECK_SECONDS", 0.001):
            self.controller.run()

    def _panic(self, reason: str) -> None:
        self.panics.append(reason)
        self.controller.abort_signal.triggered = True

    def _cancel(self) -> None:
        self.standing = 0

    def _send(self, task_name: str, data: FLModel, targets: list[str], callback) -> None:
        self.asked.append((task_name, data.current_round, targets))
        self.received.append({name: tensor.clone() for name, tensor in data.params.items()})
        self.standing = 1
        answers = 0
        for site in sorted(targets, key=list(self.sites).index):
            answer = self._answer(site, task_name, data)
            if self.spoil:
                self.spoil(site, task_name, answer)
            if answer.meta is not None:
                answers += 1
                callback(answer)
        if answers == len(targets):
            self.standing = 0

    def _answer(self, site: str, task_name: str, task: FLModel) -> FLModel:
        round_number = task.current_round
        dice = [VALIDATION[round_number], None]
        if task_name == TASK_TRAIN:
            report = TrainReport(
                experiment=self.experiment.to_json(),
                start_digest="start",
                frozen_digest="frozen",
                slices=self.sites[site],
                loss=1.0 * self.sites[site],
                steps=1,
                seconds=0.5,
                validation=dice,
                demo=False,
                weights="checkpoint",
                labels="names",
            )
            assert task.meta[EXPERIMENT] == self.experiment.to_json()
            value = float(10 * round_number + self.sites[site])
            params = {n: torch.full(shape, value) for n, shape in payload.sent(self.experiment).items()}
        else:
            case = scored("v", (dice[0], None))
            report = evaluation([case], [scored("a", (0.5, None)), scored("b", (0.5, None))], 2)
            params = {}
        said = {REPORT: to_meta(report), VERSION: SPOKEN, "client_name": site}
        return FLModel(params=params, current_round=round_number, meta=said)

    def rounds(self, folder) -> list[dict]:
        return [json.loads(line) for line in (folder / "results" / ROUND_LOG).read_text().splitlines()]


@pytest.fixture
def plain(small) -> Experiment:
    """No adapters: the average of constants can be told by heart."""
    return small.changed(method="pdecft", rounds=2)


def test_a_whole_run(plain, tmp_path):
    federation = Federation(plain, tmp_path)
    assert federation.panics == []
    results = tmp_path / "results"
    rounds = [json.loads(line) for line in (results / ROUND_LOG).read_text().splitlines()]
    assert [r["validation"] for r in rounds] == VALIDATION[:2]
    assert [r["loss"] for r in rounds] == [2.5, 2.5], "weighted by slices: (1 * 1 + 3 * 3) / 4"
    final = payload.read(results / PAYLOAD_FILES[FINAL]).tensors
    best = payload.read(results / PAYLOAD_FILES[BEST]).tensors
    assert {t.unique().item() for t in final.values()} == {12.5}, "(1 * 11 + 3 * 13) / 4"
    assert {t.unique().item() for t in best.values()} == {2.5}, "round 0's result scored 0.6, round 1's 0.4"
    table = json.loads((results / TEST_DICE).read_text())
    assert table["best_round"] == 1
    assert table["payloads"].keys() == {FINAL, BEST}
    assert table["departures"] == {}
    assert [r["refused"] for r in rounds] == [{}, {}]
    assert {site["norm"] for r in rounds for site in r["sites"].values()} == {None}, "no adapters, no B A"
    record = run_record.read(results)
    assert (record.run, record.setting, record.demo, record.weights) == (
        rounds[0]["run"],
        "federated",
        False,
        "checkpoint",
    )
    assert [(s.first_round, s.sites, s.policy) for s in record.attempts] == [
        (0, list(SITES), dict(RunPolicy(largest_norm=None)))
    ]
    assert federation.events.count(ANALYTIC_EVENT_TYPE) > 2 * len(SITES), "scalars for TensorBoard"
    kept = ["over", "round_00002.safetensors", "round_00002.sha256"]
    assert sorted(path.name for path in (tmp_path / "state").glob("*/server/*")) == kept, "for more rounds, some day"


def test_the_test_dice_say_where_it_is_not_the_exported_payloads(small, tmp_path):
    Federation(small.changed(method="flap_sam", adapter="mole"), tmp_path)
    told = json.loads((tmp_path / "results" / TEST_DICE).read_text())["departures"]
    assert told == dict.fromkeys(SITES, "scored with its own mixture weights, which no payload holds")


@pytest.mark.parametrize("weights", get_args(Origin))
def test_the_console_tells_a_start_that_is_not_sams(plain, tmp_path, monkeypatch, weights):
    said = []
    monkeypatch.setattr("flap_sam.federation.controller.say", said.append)
    Federation(plain, tmp_path, reporting("weights", weights, *SITES))
    assert [line for line in said if line in NOTICES.values()] == [NOTICES[o] for o in NOTICES if o == weights]
    assert run_record.read(tmp_path / "results").weights == weights


def reporting(entry: str, value: object, *sites: str):
    def spoil(site: str, task_name: str, answer: FLModel) -> None:
        if site in (sites or ["site-2"]) and task_name == TASK_TRAIN:
            answer.meta[REPORT] = {**answer.meta[REPORT], entry: value}

    return spoil


def wrong_round(site: str, task_name: str, answer: FLModel) -> None:
    if site == "site-2" and task_name == TASK_TRAIN:
        answer.current_round = 7


def of_version(version: object):
    """An answer that says another version, or none."""

    def spoil(site: str, _task_name: str, answer: FLModel) -> None:
        if site == "site-2":
            answer.meta.pop(VERSION)
            answer.meta |= {} if version is None else {VERSION: version}

    return spoil


def silent(site: str, _task_name: str, answer: FLModel) -> None:
    if site == "site-2":
        answer.meta = None


def forged(site: str, _task_name: str, answer: FLModel) -> None:
    if site == "site-2":
        answer.params["x\n2026 - ERROR - all is lost"] = torch.zeros(1)


FAULTS = [
    (reporting("start_digest", "other"), "it started from other weights than most sites"),
    (reporting("labels", "other"), "its classes have other names or another order"),
    (reporting("weights", "mine"), "The report is refused: weights is 'mine', expected 'checkpoint', 'bundled' or"),
    (reporting("demo", True), "some sites work on their own data and some on the demo"),
    (reporting("experiment", Experiment(backbone="vit_b", image_size=224).to_json()), "it runs another experiment"),
    (reporting("experiment", "[" * 1999), "The experiment is not JSON"),
    (reporting("slices", 10**400), "The report is refused: slices"),
    (reporting("slices", 0), "site-2 reports 0 training slices"),
    (wrong_round, "it answers round 7, not"),
    (of_version(1), "The answer is refused: it is of version 1 of its format, this flap-sam reads version 2: an older"),
    (of_version(3), "The answer is refused: it is of version 3 of its format, this flap-sam reads version 2: update"),
    (of_version(None), "The answer is refused: it is of version 1 of its format, this flap-sam reads version 2: an"),
    (of_version("2"), "The answer is refused: version is '2', expected 2"),
    (forged, "The payload is refused: tensor x 2026 - ERROR"),
]


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_where_every_site_is_needed_a_fault_ends_the_run_by_the_sites_name(plain, tmp_path, spoil, sentence):
    federation = Federation(plain, tmp_path, spoil, THREE)
    assert len(federation.panics) == 1
    assert f"site-2: {sentence}" in federation.panics[0]
    assert "\n" not in federation.panics[0]
    assert not (tmp_path / "results" / ROUND_LOG).exists(), "nothing of the round counted"


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_where_one_site_is_enough_the_round_goes_on_without_it(plain, tmp_path, spoil, sentence):
    federation = Federation(plain, tmp_path, spoil, THREE, min_sites=1)
    assert federation.panics == []
    for record in federation.rounds(tmp_path):
        assert list(record["sites"]) == ["site-1", "site-3"]
        assert sentence in record["refused"]["site-2"]
    final = payload.read(tmp_path / "results" / PAYLOAD_FILES[FINAL]).tensors
    assert {t.unique().item() for t in final.values()} == {11.0}, "of the others alone"


def test_the_first_site_cannot_run_another_experiment(plain, tmp_path):
    federation = Federation(plain, tmp_path, reporting("experiment", Experiment().to_json(), "site-1"), THREE)
    assert "site-1: it runs another experiment than the job's" in federation.panics[0]


@pytest.mark.parametrize("policy", [{"round_timeout": 0.3}, {"wait_after_min": 0.3}])
def test_a_silent_site_is_missing_once_the_time_is_over(plain, tmp_path, policy):
    federation = Federation(plain, tmp_path, silent, THREE, min_sites=1, **policy)
    assert federation.panics == []
    assert [record["missing"] for record in federation.rounds(tmp_path)] == [["site-2"]] * 2


def test_a_silent_site_that_is_needed_ends_the_run(plain, tmp_path):
    federation = Federation(plain, tmp_path, silent, THREE, round_timeout=0.3)
    assert "3 sites are needed, 2 count; site-2: no usable answer in time" in federation.panics[0]


def test_a_site_that_is_at_work_when_another_fails_is_not_called_silent(plain, tmp_path):
    def site_1_fails_while_site_2_works(site: str, task: str, answer: FLModel) -> None:
        if site == "site-1":
            reporting("experiment", Experiment().to_json(), "site-1")(site, task, answer)
        else:
            answer.meta = None

    federation = Federation(plain, tmp_path, site_1_fails_while_site_2_works, SITES, round_timeout=60)
    assert "site-2: still at work when the run stopped" in federation.panics[0]


def test_no_round_is_trained_whose_state_could_not_be_kept(plain, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLAP_SAM_STATE", str(tmp_path / "file"))
    federation = Federation(plain, tmp_path)
    assert "cannot be written" in federation.panics[0]
    assert federation.asked == []


def test_fewer_sites_than_the_operator_meant_do_not_start(plain, tmp_path):
    federation = Federation(plain, tmp_path, min_sites=3)
    assert "2 sites are connected; the job's min_sites is 3" in federation.panics[0]
    assert federation.asked == []


def test_drawn_sites_differ_from_round_to_round_and_not_from_run_to_run(plain, tmp_path):
    plain = plain.changed(rounds=2, seed=3)
    drawn = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        federation = Federation(plain, tmp_path / folder, sites_a_round=1)
        drawn.append([sites for task, _, sites in federation.asked if task == TASK_TRAIN])
        assert [list(r["sites"]) for r in federation.rounds(tmp_path / folder)] == drawn[-1]
    assert drawn[0] == drawn[1]
    assert all(len(sites) == 1 for sites in drawn[0])


def test_patience_ends_a_run_that_no_longer_gets_better(plain, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.federation.test_controller.VALIDATION", [0.1, 0.6, 0.5, 0.4, 0.3, 0.2])
    federation = Federation(plain.changed(rounds=5), tmp_path, patience=2)
    assert len(federation.rounds(tmp_path)) == 4, "best after round 1; rounds 2 and 3 were no better"
    assert json.loads((tmp_path / "results" / TEST_DICE).read_text())["best_round"] == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_end(plain, tmp_path):
    plain = plain.changed(method="flap_sam", strategy="residual", server_optimizer="adam", rounds=2)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves, halves / "again"):
        folder.mkdir()
    Federation(plain, whole)

    def dies(_site, _task_name, answer):
        if answer.current_round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Federation(plain, halves, dies)
    federation = Federation(plain, halves / "again", resume="latest")
    assert federation.panics == []
    assert [number for task, number, _ in federation.asked if task == TASK_TRAIN] == [1], "round 0 is behind it"
    for kind in (FINAL, BEST):
        expected = payload.read(whole / "results" / PAYLOAD_FILES[kind]).tensors
        found = payload.read(halves / "again" / "results" / PAYLOAD_FILES[kind]).tensors
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [r["round"] for r in federation.rounds(halves / "again")] == [0, 1]
    record = run_record.read(halves / "again" / "results")
    assert [(s.first_round, s.policy["resume"]) for s in record.attempts] == [(0, None), (1, "latest")]
    assert record.attempts[0].started <= record.attempts[1].started


def test_another_experiment_does_not_resume_a_run(plain, tmp_path):
    def dies(_site, _task_name, answer):
        if answer.current_round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Federation(plain, tmp_path, dies)
    run = next((tmp_path / "state").iterdir()).name
    other = plain.changed(seed=99)
    assert "No run of this experiment" in Federation(other, tmp_path, resume="latest").panics[0]
    assert (
        "of another experiment than this job: seed was 7 and is 99;"
        in Federation(other, tmp_path, resume=run).panics[0]
    )


def test_a_run_that_still_goes_on_is_not_resumed(plain, tmp_path):
    def resumes(_site, _task_name, answer):
        if answer.current_round == 1:
            second = Federation(plain, tmp_path / "second", resume="latest")
            assert "still goes on: its state is in use by process" in second.panics[0]
            assert second.asked == []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Federation(plain, tmp_path / "first", resumes)
    assert Federation(plain, tmp_path / "third", resume="latest").panics == []


ODD = [("start_digest", "other"), ("labels", "other"), ("demo", True), ("experiment", "[" * 1999), ("weights", "mine")]


@pytest.mark.parametrize(("entry", "value"), ODD)
def test_an_odd_site_that_answers_first_is_refused_and_the_others_go_on(plain, tmp_path, entry, value):
    sites = {"odd": 1, "site-1": 1, "site-2": 3}
    federation = Federation(plain, tmp_path, reporting(entry, value, "odd"), sites, min_sites=1)
    assert federation.panics == []
    for record in federation.rounds(tmp_path):
        assert list(record["sites"]) == ["site-1", "site-2"]
        assert list(record["refused"]) == ["odd"]
    final = payload.read(tmp_path / "results" / PAYLOAD_FILES[FINAL]).tensors
    assert {t.unique().item() for t in final.values()} == {12.5}, "(1 * 11 + 3 * 13) / 4"


def test_a_forged_payload_that_comes_first_is_held_unread_and_then_refused(plain, tmp_path):
    federation = Federation(plain, tmp_path, forged, {"site-2": 1, "site-1": 1, "site-3": 1}, min_sites=1)
    assert federation.panics == []
    assert all(list(record["sites"]) == ["site-1", "site-3"] for record in federation.rounds(tmp_path))


@pytest.mark.parametrize("sites", [{"site-1": 1, "site-2": 10**6}, {f"site-{k}": 1 for k in (1, 2, 3, 4)}])
def test_where_no_more_than_half_agree_the_run_stops_and_names_the_groups(plain, tmp_path, sites):
    odd = ["site-2", "site-4"]
    federation = Federation(plain, tmp_path, reporting("start_digest", "other", *odd), sites, min_sites=1)
    groups = [", ".join(s for s in sites if (s in odd) == other) for other in (False, True)]
    assert len(federation.panics) == 1
    assert f"{groups[0]} (vit_tiny at 32 px, weights start, classes names, own data)" in federation.panics[0]
    assert f"{groups[1]} (vit_tiny at 32 px, weights other, " in federation.panics[0]
    assert not (tmp_path / "results" / ROUND_LOG).exists()


def test_silence_is_no_agreement(plain, tmp_path):
    """Of two sites one alone would decide whom the other is measured by."""
    federation = Federation(plain, tmp_path, silent, min_sites=1, round_timeout=0.3)
    assert "more than half of the first round's 2 sites" in federation.panics[0]
    assert "site-2 (no usable answer)" in federation.panics[0]


def test_a_site_with_most_of_the_slices_counts_for_its_largest_share(plain, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("flap_sam.federation.controller.say", said.append)
    sites = {"site-1": 1, "site-2": 3, "site-3": 10**6}
    federation = Federation(plain, tmp_path, None, sites, largest_share=0.5, norm_limit=None)
    assert federation.panics == []
    for record in federation.rounds(tmp_path):
        assert {s: r["counted_slices"] for s, r in record["sites"].items()} == {"site-1": 1, "site-2": 3, "site-3": 4}
        assert record["sites"]["site-3"]["slices"] == 10**6
    assert said.count("site-3 counts for 4 of its 1000000 slices: one site's share is at most 0.5") == 2


def test_a_change_beyond_the_agreed_norm_does_not_count(plain, tmp_path):
    """Two sites are enough: no median is needed."""

    def huge(site: str, _task_name: str, answer: FLModel) -> None:
        if site == "site-2" and answer.current_round == 1:
            answer.params = {name: 1e5 * tensor for name, tensor in answer.params.items()}

    federation = Federation(plain, tmp_path, huge, min_sites=1, largest_norm=1e5)
    assert federation.panics == []
    first, second = federation.rounds(tmp_path)
    assert (list(first["sites"]), list(second["sites"])) == (["site-1", "site-2"], ["site-1"])
    assert "expected at most 100000 (largest_norm)" in second["refused"]["site-2"]
    assert all(0 < entry["change"] < 1e5 for entry in first["sites"].values())


def test_a_round_with_too_few_sites_for_its_rule_ends_the_run(plain, tmp_path):
    def huge(site: str, _task_name: str, answer: FLModel) -> None:
        if site == "site-3" and answer.current_round == 1:
            answer.params = {name: 1e9 * tensor for name, tensor in answer.params.items()}

    federation = Federation(plain.changed(robust="median"), tmp_path, huge, THREE, largest_norm=1e6)
    assert len(federation.rounds(tmp_path)) == 1
    assert "The round has 2 sites that count: robust 'median' needs 3 sites" in federation.panics[0]
    assert "site-3: the norm of its change" in federation.panics[0]
    federation = Federation(plain.changed(robust="median"), tmp_path)
    assert "robust 'median' needs 3 sites, there are 2" in federation.panics[0]
    assert federation.asked == []


def test_a_deployed_federation_needs_every_sites_registration(plain, tmp_path):
    federation = Federation(plain, tmp_path, deployed=True, largest_slices={"site-1": 1})
    assert "largest_slices has none for site-2" in federation.panics[0]
    assert federation.asked == []
    assert Federation(plain, tmp_path, deployed=True, largest_slices=SITES).panics == []


@pytest.mark.parametrize(("told", "deployed"), [(True, True), (False, False), (None, True), ("missing", True)])
def test_only_a_server_without_certificates_is_the_simulators(told, deployed):
    fl_ctx = FLContext()
    if told != "missing":
        fl_ctx.set_prop(FLContextKey.SECURE_MODE, told)
    assert _is_deployed(fl_ctx) == deployed


def test_a_finished_run_goes_on_to_more_rounds_as_if_it_had_been_planned_so(plain, tmp_path, monkeypatch):
    """Whatever the server remembers: strategy, optimizer, best payload, log; one that was interrupted goes on alike."""
    monkeypatch.setattr("tests.federation.test_controller.VALIDATION", [0.1, 0.6, 0.4, 0.7, 0.5])
    plain = plain.changed(method="flap_sam", strategy="residual", server_optimizer="adam", rounds=2)
    longer = plain.changed(rounds=4)
    whole, short, more = (tmp_path / name for name in ("whole", "short", "more"))
    for folder in (whole, short, more):
        folder.mkdir()
    Federation(longer, whole)
    Federation(plain, short)
    federation = Federation(longer, more, resume="latest")
    assert federation.panics == [], "the whole run is over after its 4 rounds, so the latest to go on is the short one"
    assert [number for task, number, _ in federation.asked if task == TASK_TRAIN] == [2, 3]
    for kind in (FINAL, BEST):
        expected, found = (payload.read(folder / "results" / PAYLOAD_FILES[kind]) for folder in (whole, more))
        assert found.experiment == longer
        assert all(torch.equal(found.tensors[name], expected.tensors[name]) for name in expected.tensors)
    timed = {"run": None, "seconds": None, "server_seconds": None}
    before, expected, found = ([r | timed for r in federation.rounds(folder)] for folder in (short, whole, more))
    assert found[:2] == before
    assert found == expected
    table = [json.loads((folder / "results" / TEST_DICE).read_text()) for folder in (whole, more)]
    assert table[0] == table[1]
    assert [s.first_round for s in run_record.read(more / "results").attempts] == [0, 2]


def test_an_interrupted_run_goes_on_to_more_rounds_and_a_finished_one_not_to_as_many(plain, tmp_path):
    def dies(_site, _task_name, answer):
        if answer.current_round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Federation(plain, tmp_path / "stopped", dies)
    run = next((tmp_path / "state").iterdir()).name
    assert Federation(plain.changed(rounds=3), tmp_path / "more", resume=run).panics == []
    again = Federation(plain.changed(rounds=3), tmp_path / "again", resume=run)
    assert f"Run {run} is over after its 3 rounds; set more `rounds` to go on" in again.panics[0]
    assert "rounds was 3 and is 2;" in Federation(plain, tmp_path / "fewer", resume=run).panics[0]
    assert again.asked == []


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_what_a_run_was_agreed_on_holds_when_it_goes_on_to_more_rounds(plain, tmp_path, spoil, sentence):
    Federation(plain, tmp_path / "short", sites=THREE)
    federation = Federation(plain.changed(rounds=3), tmp_path / "more", spoil, THREE, min_sites=1, resume="latest")
    assert federation.panics == []
    assert sentence in federation.rounds(tmp_path / "more")[2]["refused"]["site-2"]


def test_a_site_that_was_away_comes_back(plain, tmp_path):
    def away_in_round_1(site: str, task_name: str, answer: FLModel) -> None:
        if site == "site-2" and answer.current_round == 1 and task_name == TASK_TRAIN:
            answer.meta = None

    experiment = plain.changed(rounds=3)
    federation = Federation(experiment, tmp_path, away_in_round_1, THREE, min_sites=1, round_timeout=0.3)
    assert federation.panics == []
    assert [r["missing"] for r in federation.rounds(tmp_path)] == [[], ["site-2"], []]
    assert [list(r["sites"]) for r in federation.rounds(tmp_path)][2] == list(THREE)


def test_a_site_that_is_new_when_a_run_is_resumed_takes_part_from_there_on(plain, tmp_path):
    Federation(plain, tmp_path / "short")
    federation = Federation(plain.changed(rounds=3), tmp_path / "more", sites=THREE, resume="latest")
    assert [list(r["sites"]) for r in federation.rounds(tmp_path / "more")] == [list(SITES)] * 2 + [list(THREE)]
    attempts = run_record.read(tmp_path / "more" / "results").attempts
    assert [(s.first_round, s.sites) for s in attempts] == [(0, list(SITES)), (2, list(THREE))]


def test_the_first_round_has_a_time_of_its_own(plain, tmp_path):
    """The same silence: too long for every round but the first."""
    slow = {"round_timeout": 0.2, "first_round_timeout": 1.0, "min_sites": 1}
    federation = Federation(plain, tmp_path, silent, THREE, **slow)
    first, second = (record["seconds"] for record in federation.rounds(tmp_path))
    assert first >= 1.0 > second >= 0.2


def test_scores_of_another_version_are_refused(plain, tmp_path):
    def later(site: str, task_name: str, answer: FLModel) -> None:
        if task_name == TASK_EVALUATE:
            of_version(3)(site, task_name, answer)

    [reason] = Federation(plain, tmp_path, later, THREE).panics
    assert "site-2: The answer is refused: it is of version 3 of its format, this flap-sam reads version 2" in reason
