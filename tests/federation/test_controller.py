"""The controller over a stand-in for FLARE's broadcast: what it counts, refuses, keeps and says."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from flap_sam.experiment import Experiment
from flap_sam.federation import payload
from flap_sam.federation.aggregator import LowRankAggregator
from flap_sam.federation.controller import FlapSamController
from flap_sam.federation.messages import REPORT, TASK_TRAIN, EvaluationReport, TrainReport, to_meta
from flap_sam.federation.persistor import PayloadPersistor
from flap_sam.reporting.results import BEST, FINAL, PAYLOAD_FILES, ROUND_LOG, TEST_DICE
from nvflare.app_common.abstract.fl_model import FLModel

SITES = {"site-1": 1, "site-2": 3}
VALIDATION = [0.1, 0.6, 0.4]  # of the start, and after each of two rounds


class Federation:
    """Sites that answer every task at once; `spoil` may change an answer."""

    def __init__(self, experiment: Experiment, folder, spoil: Callable[[str, str, FLModel], None] | None = None):
        self.experiment, self.spoil, self.panics = experiment, spoil, []
        self.controller = FlapSamController(asdict(experiment))
        workspace = SimpleNamespace(get_run_dir=lambda _: str(folder))
        engine = SimpleNamespace(
            get_clients=lambda: [SimpleNamespace(name=site) for site in SITES],
            get_component=lambda _: LowRankAggregator(),
            get_workspace=lambda: workspace,
        )
        self.controller.engine = engine
        self.controller.fl_ctx = SimpleNamespace(get_engine=lambda: engine, get_job_id=lambda: "job")
        self.controller.abort_signal = SimpleNamespace(triggered=False)
        self.controller.panic = self._panic
        self.controller.broadcast_model = self._broadcast
        persistor = PayloadPersistor()
        self.controller.save_model = lambda model: persistor.save_model(
            {"model_weights": model.params, "weights": model.params, "meta": model.meta}, self.controller.fl_ctx
        )
        self.controller.run()

    def _panic(self, reason: str) -> None:
        self.panics.append(reason)
        self.controller.abort_signal.triggered = True

    def _broadcast(self, task: FLModel, task_name: str, min_responses: int, callback) -> None:
        assert min_responses == len(SITES)
        for site in SITES:
            answer = self._answer(site, task_name, task)
            if self.spoil:
                self.spoil(site, task_name, answer)
            if answer.meta is not None:
                callback(answer)

    def _answer(self, site: str, task_name: str, task: FLModel) -> FLModel:
        round_number = task.current_round
        dice = [VALIDATION[round_number], None]
        if task_name == TASK_TRAIN:
            report = TrainReport(
                experiment=self.experiment.to_json(),
                start_digest="" if task.params else "start",
                slices=SITES[site],
                loss=1.0 * SITES[site],
                steps=1,
                seconds=0.5,
                validation=dice,
                demo=False,
                pretrained=True,
                labels="names",
            )
            value = float(10 * round_number + SITES[site])
            params = {n: torch.full(shape, value) for n, shape in payload.template(self.experiment).items()}
        else:
            report = EvaluationReport(validation=dice, validation_cases=1, test=[0.5, None], test_cases=2)
            params = {}
        return FLModel(params=params, current_round=round_number, meta={REPORT: to_meta(report), "client_name": site})


@pytest.fixture
def plain(small) -> Experiment:
    """No adapters: the average of constants can be told by heart."""
    return replace(small, method="pdecft", rounds=2)


def test_a_whole_run(plain, tmp_path):
    federation = Federation(plain, tmp_path)
    assert federation.panics == []
    results = tmp_path / "results"
    rounds = [json.loads(line) for line in (results / ROUND_LOG).read_text().splitlines()]
    assert [r["validation"] for r in rounds] == VALIDATION[:2]
    assert [r["loss"] for r in rounds] == [2.5, 2.5], "weighted by slices: (1 * 1 + 3 * 3) / 4"
    final, _ = payload.read(results / PAYLOAD_FILES[FINAL])
    best, _ = payload.read(results / PAYLOAD_FILES[BEST])
    assert {t.unique().item() for t in final.values()} == {12.5}, "(1 * 11 + 3 * 13) / 4"
    assert {t.unique().item() for t in best.values()} == {2.5}, "round 0's result scored 0.6, round 1's 0.4"
    table = json.loads((results / TEST_DICE).read_text())
    assert table["best_round"] == 1
    assert table["payloads"].keys() == {FINAL, BEST}


def reporting(entry: str, value: object, only_site: str = "site-2"):
    def spoil(site: str, task_name: str, answer: FLModel) -> None:
        if site == only_site and task_name == TASK_TRAIN:
            answer.meta[REPORT] = {**answer.meta[REPORT], entry: value}

    return spoil


def wrong_round(_site: str, _task_name: str, answer: FLModel) -> None:
    answer.current_round = 7


def silent(site: str, _task_name: str, answer: FLModel) -> None:
    if site == "site-2":
        answer.meta = None


def forged(site: str, _task_name: str, answer: FLModel) -> None:
    if site == "site-2":
        answer.params["x\n2026 - ERROR - all is lost"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (reporting("start_digest", "other"), "site-2: it started from other weights"),
        (reporting("labels", "other"), "site-2: its classes have other names or another order"),
        (reporting("demo", True), "site-2: some sites work on their own data and some on the demo"),
        (
            reporting("experiment", Experiment(backbone="vit_b", image_size=224).to_json()),
            "site-2: it runs vit_b at 224",
        ),
        (reporting("experiment", "[" * 1999), "site-2: The experiment is not JSON"),
        (
            reporting("experiment", Experiment().to_json(), "site-1"),
            "site-1: it runs another experiment than the job's",
        ),
        (reporting("slices", 10**400), "site-2: The report is refused: slices"),
        (reporting("slices", 0), "site-2: site-2 reports 0 training slices"),
        (wrong_round, "site-1: it answers round 7, not 0"),
        (silent, "site-2: no answer"),
        (forged, "site-2: The payload is refused: tensor x 2026 - ERROR"),
    ],
)
def test_what_a_site_may_not_send_ends_the_run_by_its_name(plain, tmp_path, spoil, sentence):
    federation = Federation(plain, tmp_path, spoil)
    assert len(federation.panics) == 1
    assert sentence in federation.panics[0]
    assert "\n" not in federation.panics[0]
    assert not (tmp_path / "results" / ROUND_LOG).exists(), "nothing of the round counted"


def test_a_method_that_cannot_be_federated_is_refused_before_anything_is_sent(plain, tmp_path):
    federation = Federation(replace(plain, method="masam"), tmp_path, lambda *_: pytest.fail("something was sent"))
    assert "masam cannot be federated" in federation.panics[0]
