# SPDX-License-Identifier: Apache-2.0
"""The gate between a task and an answer, as FLARE fires its events."""

import json
from functools import cache
from math import sqrt

import pytest
import torch
from flap_sam.config.site import Site
from flap_sam.errors import OF_NO_DATA, Reason
from flap_sam.federation import gate_component as component
from flap_sam.federation.gate_component import Gate
from flap_sam.gate import audit, flood, ledger, rules
from flap_sam.gate.agreement import FILE_NAME, Agreement
from flap_sam.gate.update import Base
from flap_sam.records.scores import Evaluation
from flap_sam.sam.adapters import low_rank_pairs
from flap_sam.sam.build import build
from flap_sam.sam.checkpoint import network_for
from flap_sam.sam.weights import RANDOM
from flap_sam.wire import encoding, payload
from flap_sam.wire.form import fixed_names, in_canonical_form, in_form_of_round, summed_pairs
from flap_sam.wire.messages import (
    EXPERIMENT,
    METRICS,
    REASON,
    REFUSED,
    REPORT,
    RUN,
    SPOKEN,
    TASK_EVALUATE,
    TASK_TRAIN,
    VERSION,
    TrainReport,
    to_meta,
)
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ProcessType, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContextManager
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

SITE = "hospital-a"
NOISE = {"clip": 0.5, "noise_multiplier": 1.0, "epsilon": 60.0, "delta": 1e-5, "slices": 100}
PRIVATE = {"privacy": NOISE, "metrics": []}
ROUTE = {"way": "back"}


class Engine:
    """As much of FLARE's engine as the gate asks for: where the kit lies."""

    def __init__(self, kit) -> None:
        self.kit = kit

    def get_workspace(self):
        return self

    def get_site_config_dir(self) -> str:
        return str(self.kit / "local")

    def get_root_dir(self) -> str:
        return str(self.kit)


@cache
def started(job):
    """What a site's tensors start as, and which of them are pairs in canonical form."""
    network, _, _ = network_for(job, None)
    parameters = dict(network.named_parameters())
    return {n: parameters[n].detach().clone() for n in payload.sent(job)}, summed_pairs(network, job)


@cache
def base(job) -> Base:
    return Base(job, Site(checkpoint=RANDOM))


class Wire:
    """A gate, and the tasks and answers that pass it.

    Args:
        job: the job's experiment.
    """

    def __init__(self, kit, job, **agreed) -> None:
        (kit / "local").mkdir()
        settings = {
            "experiments": [dict(job)],
            "metrics": list(METRICS),
            "largest_update": 5.0,
            "largest_payload": 50.0,
            "runs": 1,
            "repeats": 1,
            "evaluations": 2,
        }
        self.kit, self.job, self.gate, self.tasks = kit, job, Gate(), 0
        self.agreed = settings
        self.agree(**agreed)
        (kit / "local" / "flap_site.json").write_text(json.dumps({"checkpoint": "random", "state": str(kit / "state")}))
        self.job_id, self.fl_ctx = "job-1", None
        self.start, self.pairs = started(job)
        self.gate._bases[job] = base(job)

    def agree(self, **changes) -> None:
        """Change the agreement."""
        self.agreed |= changes
        (self.kit / "local" / FILE_NAME).write_text(json.dumps(self.agreed))

    def context(self, task: str):
        manager = FLContextManager(
            engine=Engine(self.kit), identity_name=SITE, job_id=self.job_id, public_stickers={}, private_stickers={}
        )
        fl_ctx = manager.new_context()
        fl_ctx.set_prop(ReservedKey.PROCESS_TYPE, ProcessType.CLIENT_JOB, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.TASK_NAME, task, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.TASK_ID, str(self.tasks), private=True, sticky=False)
        return fl_ctx

    def ask(self, number: int = 0, params=None, task: str = TASK_TRAIN, **meta):
        """A task, as it stands behind the gate."""
        self.tasks += 1
        self.fl_ctx = self.context(task)
        notes = {EXPERIMENT: self.job.to_json(), RUN: "run-1", VERSION: SPOKEN} | meta
        model = FLModel(params_type=ParamsType.FULL, params=params or {}, current_round=number, meta=notes)
        shareable = FLModelUtils.to_shareable(model)
        shareable.set_header("__cookie_jar__", ROUTE)
        self.fl_ctx.set_prop(FLContextKey.TASK_DATA, shareable, private=True, sticky=False)
        self.fire(EventType.AFTER_TASK_DATA_FILTER)
        return shareable

    def answer(self, result):
        """A result, as it stands behind the gate."""
        self.fl_ctx = self.fl_ctx or self.context(TASK_TRAIN)
        self.fl_ctx.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self.fire(EventType.AFTER_TASK_RESULT_FILTER)
        return result

    def fire(self, event: str) -> None:
        """As FLARE does it: what a handler raises is swallowed, and the message goes on."""
        try:
            self.gate.handle_event(event, self.fl_ctx)
        except Exception as error:
            self.raised = error

    def send(self, result):
        """A result with FLARE's own headers, as it stands when it is sent."""
        for name, value in (("__task_id__", str(self.tasks)), ("__task_name__", TASK_TRAIN), ("__cookie_jar__", ROUTE)):
            result.set_header(name, value)
        self.fire(EventType.BEFORE_SEND_TASK_RESULT)
        return result

    def result(self, number: int = 0, by: float = 1e-3, tensors=None, **changes):
        """What an honest site answers."""
        report = to_meta(report_of(self.job)) | changes
        sent = self.moved(by) if tensors is None else tensors
        return FLModelUtils.to_shareable(
            FLModel(params_type=ParamsType.FULL, params=sent, current_round=number, meta=said(report))
        )

    def moved(self, by: float = 1e-3) -> dict[str, torch.Tensor]:
        """The tensors of a site that has trained, in the form in which they travel."""
        return in_canonical_form({n: t + by for n, t in self.start.items()}, self.pairs)

    def evaluation(self, number: int):
        scored = Evaluation(
            validation=[0.5, 0.5],
            validation_cases=2,
            test=[0.5, None],
            test_spread=[0.1, None],
            test_with=[3, 0],
            test_missed=[1, 0],
            test_false_positives=[0, 2],
            test_cases=3,
            hausdorff=[None, None],
            surface_dice=[None, None],
        )
        model = FLModel(params_type=ParamsType.FULL, params={}, current_round=number, meta=said(to_meta(scored)))
        return FLModelUtils.to_shareable(model)

    def audit(self) -> list[dict]:
        return [json.loads(line) for line in (self.kit / "flap_audit.jsonl").read_text().splitlines()]


def said(report: dict, version: int = SPOKEN) -> dict:
    """What an answer says beside its tensors."""
    return {REPORT: report, VERSION: version}


def report_of(job) -> TrainReport:
    return TrainReport(
        experiment=job.to_json(),
        start_digest="0" * 64,
        frozen_digest="0" * 64,
        slices=5,
        loss=0.5,
        steps=2,
        seconds=1.5,
        validation=[0.25, None],
        demo=False,
        weights="random",
        labels="f" * 64,
    )


def refused(result) -> Reason:
    """The reason of a failure that holds nothing else."""
    assert result.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert set(result) == {"__headers__"}
    assert set(result["__headers__"]) == {ReservedKey.RC, REASON}
    return Reason(result.get_header(REASON))


@pytest.fixture
def wire(tmp_path, small) -> Wire:
    return Wire(tmp_path, small)


def test_what_was_agreed_passes_unchanged(wire):
    task = wire.ask()
    assert task.get_header(REFUSED) is None
    before, result = wire.result(), wire.result()
    wire.answer(result)
    assert result["DXO"]["meta"] == before["DXO"]["meta"]
    assert all(torch.equal(t, before["DXO"]["data"][n]) for n, t in result["DXO"]["data"].items())
    came, left = wire.audit()
    assert (came["direction"], left["direction"], left["tensors"]) == ("in", "out", len(wire.start))
    assert left["bytes"] == sum(t.nbytes for t in wire.start.values())


@pytest.mark.parametrize(
    ("spoil", "reason", "sentence"),
    [
        (lambda r: r["DXO"]["data"].update(extra=torch.zeros(2)), Reason.PAYLOAD, "extra is not part"),
        (lambda r: r["DXO"]["data"].pop(next(iter(r["DXO"]["data"]))), Reason.PAYLOAD, "is missing"),
        (lambda r: _each(r, lambda t: t.double()), Reason.PAYLOAD, "is torch.float64"),
        (lambda r: _each(r, lambda t: t * float("inf")), Reason.PAYLOAD, "infinity"),
        (lambda r: r["DXO"]["meta"].update(image=[1, 2]), Reason.RESULT, "reports are"),
        (lambda r: r["DXO"]["meta"].pop(VERSION), Reason.RESULT, "reports are"),
        (lambda r: r["DXO"]["meta"].update({VERSION: 57}), Reason.RESULT, "of version 57 of its format"),
        (lambda r: r["DXO"]["meta"].update({VERSION: 2.0}), Reason.RESULT, "version is 2.0, expected 2"),
        (lambda r: r["DXO"]["meta"].update({VERSION: True}), Reason.RESULT, "version is True, expected 2"),
        (lambda r: r["DXO"]["meta"][REPORT].update(age=50.0), Reason.RESULT, "age is unknown"),
        (lambda r: r["DXO"]["meta"][REPORT].update(labels="a name"), Reason.RESULT, "labels is no SHA-256"),
        (lambda r: r["DXO"]["meta"][REPORT].update(experiment="{}"), Reason.RESULT, "another experiment"),
        (lambda r: r["DXO"]["meta"][REPORT].update(loss="0.5"), Reason.RESULT, "loss is '0.5', expected a number"),
        (lambda r: r["DXO"]["meta"][REPORT].update(validation=[0.1]), Reason.RESULT, "validation is"),
        (lambda r: r["DXO"].update(kind="ANALYTIC"), Reason.RESULT, "of kind ANALYTIC"),
        (lambda r: r.update(image="pixels"), Reason.RESULT, "entries are DXO, image"),
        (lambda r: r.set_header("image", "pixels"), Reason.RESULT, "further headers are image"),
        (lambda r: r.set_header("current_round", 1), Reason.RESULT, "of round 1; expected 0"),
        (lambda r: r.pop("DXO"), Reason.RESULT, "entries are none"),
        (lambda r: r.pop("__headers__"), Reason.GATE, "not a valid DXO"),
    ],
)
def test_what_was_not_agreed_does_not_leave(wire, spoil, reason, sentence):
    wire.ask()
    result = wire.result()
    spoil(result)
    assert refused(wire.answer(result)) == reason
    assert wire.audit()[-1]["refused"] == reason
    assert sentence in wire.audit()[-1]["why"], "the site's own log says more"


def _each(result, change) -> None:
    result["DXO"]["data"].update({name: change(tensor) for name, tensor in result["DXO"]["data"].items()})


def test_a_result_without_an_admitted_task_does_not_leave(wire):
    assert refused(wire.answer(wire.result())) == Reason.RESULT
    wire.ask()
    wire.answer(wire.result())
    assert refused(wire.answer(wire.result())) == Reason.RESULT, "one answer for one task"


def test_a_run_may_start_from_a_payload_within_the_agreed_norms(tmp_path, small):
    """What comes in is measured from where the network started, what goes out from what came in."""
    wire = Wire(tmp_path, small, largest_payload=5.0, largest_update=0.5)
    paired = {name for pair in wire.pairs for name in pair}
    near, far = (
        {n: torch.zeros_like(t) if n in paired else t + by for n, t in wire.start.items()} for by in (1e-2, 1.0)
    )
    assert wire.ask(0, far).get_header(REFUSED) == Reason.PAYLOAD_NORM
    assert wire.ask(0, near).get_header(REFUSED) is None
    norm = wire.audit()[-1]["payload_norm"]
    assert norm == pytest.approx(1e-2 * sum(t.numel() for n, t in near.items() if n not in paired) ** 0.5, rel=1e-3)
    assert norm > 0.5
    left = wire.answer(wire.result(tensors=in_canonical_form({n: t + 1e-5 for n, t in near.items()}, wire.pairs)))
    assert "DXO" in left
    wire.job_id = "job-2"
    wire.ask(0, near)
    assert refused(wire.answer(wire.result())) == Reason.NORM, "back at the network's start, too far from what came in"


def test_a_run_goes_on_to_more_rounds_that_were_agreed_to_and_no_others(wire):
    short, long = wire.job, wire.job.changed(rounds=4)
    for number in range(2):
        wire.ask(number, wire.start if number else None)
        assert "DXO" in wire.answer(wire.result(number))
    wire.job_id, wire.job = "job-2", long
    assert wire.ask(2, wire.start).get_header(REFUSED) == Reason.NOT_AGREED
    wire.agree(experiments=[dict(long)])
    assert wire.ask(2, wire.start).get_header(REFUSED) == Reason.RUN
    assert "where the agreement lists both experiments" in wire.audit()[-1]["why"]
    wire.agree(experiments=[dict(short), dict(long)])
    wire.gate._bases[long] = base(long)
    for number in (2, 3):
        assert wire.ask(number, wire.start).get_header(REFUSED) is None
        assert "DXO" in wire.answer(wire.result(number))
    assert wire.ask(4, wire.start).get_header(REFUSED) == Reason.TASK
    assert wire.ask(0, None, **{RUN: "run-2"}).get_header(REFUSED) == Reason.RUN, "this job conducts run-1"
    wire.job_id = "job-3"
    assert wire.ask(0, None, **{RUN: "run-2"}).get_header(REFUSED) == Reason.RUNS


def test_an_update_too_large_is_blocked(tmp_path, small):
    wire = Wire(tmp_path, small, largest_update=0.01)
    wire.ask()
    assert refused(wire.answer(wire.result(by=1.0))) == Reason.NORM


def test_or_clipped_where_the_site_says_so(tmp_path, small):
    wire = Wire(tmp_path, small, largest_update=0.01, over="clip")
    wire.ask()
    result = wire.answer(wire.result(by=1.0))
    moved = max((t - wire.start[n]).abs().max().item() for n, t in _outside(result, wire))
    assert 0 < moved < 0.01
    assert wire.audit()[-1]["clipped"] == 0.01


def _outside(result, wire):
    """What is no adapter in canonical form."""
    paired = {name for pair in wire.pairs for name in pair}
    return [(name, tensor) for name, tensor in result["DXO"]["data"].items() if name not in paired]


def test_adapters_carry_nothing_but_their_product(wire):
    a, b = wire.pairs[0]
    pixels = wire.start | {b: torch.zeros_like(wire.start[b]), a: torch.rand_like(wire.start[a])}
    wire.ask()
    assert refused(wire.answer(wire.result(tensors=pixels))) == Reason.FORM
    wire.ask()
    wire.answer(wire.result())
    wire.ask(1, wire.moved())
    mixed = wire.moved() | {a: 2 * wire.moved()[a], b: wire.moved()[b] / 2}
    assert refused(wire.answer(wire.result(1, tensors=mixed))) == Reason.FORM


@pytest.mark.parametrize("strategy", ["factor-average", "freeze-a"])
def test_where_factors_are_averaged_apart_each_counts_by_itself(tmp_path, small, strategy):
    wire = Wire(tmp_path, small.changed(strategy=strategy), largest_update=1.0)
    assert not wire.pairs
    name = next(n for n in wire.start if n.endswith(".B"))
    pixels = wire.start | {name: torch.ones_like(wire.start[name])}
    wire.ask()
    assert refused(wire.answer(wire.result(tensors=pixels))) == Reason.NORM


def test_numbers_leave_with_the_agreed_bits(tmp_path, small):
    wire = Wire(tmp_path, small, release_bits=4)
    wire.ask()
    result = wire.answer(wire.result(by=1e-2))
    for name, tensor in _outside(result, wire):
        moved = tensor.double() - wire.start[name].double()
        steps = (moved / (2.0**-6 / 8)).round()
        assert steps.unique().numel() <= 2**4 + 1
        assert torch.allclose(moved, steps * 2.0**-6 / 8, atol=1e-6)
    assert wire.audit()[-1]["bits"] == 4


def test_metrics_that_were_not_agreed_stay(tmp_path, small):
    wire = Wire(tmp_path, small, metrics=["seconds", "test"])
    wire.ask()
    told = wire.answer(wire.result())["DXO"]["meta"][REPORT]
    assert (told["loss"], told["steps"], told["seconds"], told["validation"]) == (None, None, 1.5, [None, None])
    wire.ask(2, wire.start, TASK_EVALUATE)
    told = wire.answer(wire.evaluation(2))["DXO"]["meta"][REPORT]
    assert (told["validation"], told["test"], told["test_spread"]) == ([None, None], [0.5, None], [None, None])
    assert told["test_with"] == told["test_missed"] == told["test_false_positives"] == [None, None]


def test_noise_is_added_until_the_budget_is_spent(tmp_path, small):
    wire = Wire(tmp_path, small, **PRIVATE | {"privacy": NOISE | {"epsilon": 20.0}})
    wire.ask()
    result = wire.answer(wire.result())
    clean = wire.result()["DXO"]["data"]
    noise = torch.cat([(t - clean[n]).flatten() for n, t in result["DXO"]["data"].items()])
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    first = wire.audit()[-1]["epsilon"]
    reasons = []
    for number in range(3):
        wire.agree(runs=10)
        wire.job_id += "'"
        wire.ask(**{RUN: f"another-{number}"})
        reasons.append(wire.answer(wire.result()).get_header(REASON))
        assert wire.audit()[-1].get("epsilon", 20.0) > first
    assert reasons[-1] == Reason.BUDGET


def test_under_privacy_no_number_tells_of_the_data(tmp_path, small, monkeypatch):
    """Two sites of other data, scores and times give reports that are the same."""
    told = []
    for name, changes in (("one", {}), ("two", {"slices": 7, "loss": 2.0, "steps": 9, "validation": [0.9, 0.9]})):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("FLAP_SAM_STATE", str(tmp_path / name / "state"))
        wire = Wire(tmp_path / name, small, **PRIVATE)
        wire.ask()
        trained = wire.answer(wire.result(**changes))
        wire.ask(1, wire.start, TASK_EVALUATE)
        scored = wire.evaluation(1)
        scored["DXO"]["meta"][REPORT]["test_cases"] += len(told)
        told.append((trained["DXO"]["meta"], wire.answer(scored)["DXO"]["meta"]))
    assert told[0] == told[1]
    train, evaluate = (meta[REPORT] for meta in told[0])
    assert train["slices"] == NOISE["slices"]
    assert not [v for name, v in train.items() if name in METRICS and v not in (None, [None, None])]
    assert not [v for v in evaluate.values() if v not in (None, [None, None])]


@pytest.mark.parametrize("code", list(Reason))
def test_under_privacy_a_failure_says_no_more_than_that(tmp_path, small, code):
    wire = Wire(tmp_path, small, **PRIVATE)
    wire.ask()
    reply = make_reply(ReturnCode.EMPTY_RESULT)
    reply.set_header(REASON, str(code))
    assert refused(wire.answer(reply)) == Reason.STOPPED


@pytest.mark.parametrize("task", [TASK_TRAIN, TASK_EVALUATE])
def test_no_budget_covers_data_that_have_left_without_noise(wire, task):
    wire.ask(0 if task == TASK_TRAIN else 1, None if task == TASK_TRAIN else wire.start, task)
    wire.answer(wire.result() if task == TASK_TRAIN else wire.evaluation(1))
    wire.agree(**PRIVATE)
    wire.ask(1, wire.start)
    assert refused(wire.answer(wire.result(1))) == Reason.BUDGET


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"number": 1}, Reason.PAYLOAD),
        ({"number": 0, "task": TASK_EVALUATE}, Reason.PAYLOAD),
        ({"number": 2}, Reason.TASK),
        ({"number": 3}, Reason.TASK),
        ({"number": True}, Reason.TASK),
        ({"number": 0, "task": "download"}, Reason.TASK),
        ({"number": 0, EXPERIMENT: "{}"}, Reason.NOT_AGREED),
        ({"number": 0, EXPERIMENT: None}, Reason.EXPERIMENT),
        ({"number": 0, VERSION: 1}, Reason.VERSION),
        ({"number": 0, VERSION: SPOKEN + 1}, Reason.VERSION),
        ({"number": 0, VERSION: "2"}, Reason.VERSION),
        ({"number": 0, VERSION: True}, Reason.VERSION),
        ({"number": 0, RUN: "../../etc"}, Reason.TASK),
        ({"number": 0, RUN: "gate"}, Reason.TASK),
        ({"number": 0, RUN: "embeddings"}, Reason.TASK),
        ({"number": 0, "also": "text"}, Reason.TASK),
    ],
)
def test_a_task_that_was_not_agreed_to_reaches_nobody(wire, asked, reason):
    task = wire.ask(**asked)
    assert task.get_header(REFUSED) == reason
    assert set(task) == {"__headers__"}
    assert task.get_header("__cookie_jar__") == ROUTE, "the refusal must find its way back"
    assert refused(wire.answer(wire.result())) == Reason.RESULT


def test_a_server_cannot_put_backbone_weights_into_a_site(wire):
    task = wire.ask(1, wire.start | {"image_encoder.pos_embed": torch.zeros(1, 2, 2, 128)})
    assert task.get_header(REFUSED) == Reason.PAYLOAD


@pytest.mark.parametrize("task", [TASK_TRAIN, TASK_EVALUATE])
def test_a_payload_beyond_the_agreed_norm_does_not_come_in(tmp_path, small, task):
    wire = Wire(tmp_path, small, largest_payload=2.0)
    assert wire.ask(1, wire.moved(1e-3), task).get_header(REFUSED) is None
    assert wire.ask(1, wire.moved(1.0), task).get_header(REFUSED) == Reason.PAYLOAD_NORM


def test_a_round_is_answered_once(wire):
    wire.ask()
    wire.answer(wire.result())
    assert wire.ask().get_header(REFUSED) == Reason.REPLAYED
    assert wire.ask(1, wire.start).get_header(REFUSED) is None


def test_twenty_names_of_runs_get_one_answer(wire):
    for number in range(20):
        for task, start in ((TASK_TRAIN, None), (TASK_EVALUATE, wire.start)):
            for job in ("job-1", f"job-{number}"):
                wire.job_id = job
                wire.ask(0, start, task, **{RUN: f"run-{number}"})
                wire.answer(wire.result() if task == TASK_TRAIN else wire.evaluation(0))
    left = [line for line in wire.audit() if "sha256" in line]
    assert len(left) == 1 + wire.agreed["evaluations"]


def _failure(reason: Reason):
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, str(reason))
    return reply


FAILURES = {
    "training that diverged": lambda _wire: _failure(Reason.DIVERGED),
    "whatever stopped it": lambda _wire: _failure(Reason.STOPPED),
    "an update that is too large": lambda wire: wire.result(by=1e3),
    "an update that is not finite": lambda wire: wire.result(
        tensors={n: t * float("nan") for n, t in wire.start.items()}
    ),
    "adapters in another form": lambda wire: wire.result(tensors=wire.start),
    "a report beyond its range": lambda wire: wire.result(loss=float("inf")),
}


@pytest.mark.parametrize("agreed", [{}, PRIVATE], ids=["plain", "privacy"])
@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_a_server_cannot_ask_until_it_knows_by_failures(tmp_path, small, fail, agreed):
    """Whether an answer fails may be a bit of the data that the server chose: as many bits as answers, not more."""
    wire = Wire(tmp_path, small, **agreed)
    if agreed and fail in (FAILURES["an update that is too large"], FAILURES["adapters in another form"]):
        pytest.skip("leaves with noise")
    admitted, reasons = 0, set()
    for number in range(6):
        wire.job_id = f"job-{number}"
        if wire.ask().get_header(REFUSED) is None:
            admitted += 1
            reasons.add(wire.answer(fail(wire)).get_header(REASON))
    assert admitted == 1 + wire.agreed["repeats"]
    assert not agreed or reasons == {Reason.STOPPED}, "under privacy no failure says why"


def test_nor_by_evaluations_that_fail(wire):
    reasons = []
    for _ in range(wire.agreed["evaluations"] + 1):
        reasons.append(wire.ask(1, wire.start, TASK_EVALUATE).get_header(REFUSED))
        wire.answer(_failure(Reason.STOPPED))
    assert reasons == [None] * wire.agreed["evaluations"] + [Reason.EVALUATIONS]


@pytest.mark.parametrize("reason", sorted(OF_NO_DATA & {Reason.NO_DATA, Reason.CHECKPOINT, Reason.DEVICE}))
def test_a_failure_before_the_data_were_touched_costs_nothing(wire, reason):
    for _ in range(5):
        assert wire.ask().get_header(REFUSED) is None
        assert refused(wire.answer(_failure(reason))) == reason
    wire.ask()
    assert "DXO" in wire.answer(wire.result())


def test_an_experiment_taken_back_while_it_trains_leaves_no_more(wire):
    wire.ask()
    wire.agree(experiments=[])
    assert refused(wire.answer(wire.result())) == Reason.NOT_AGREED


def test_an_answer_that_could_not_be_emptied_does_not_leave(wire, monkeypatch):
    wire.ask()
    monkeypatch.setattr(component, "_taken", _memory)
    result = wire.answer(wire.result())
    assert "DXO" in result, "FLARE would send it"
    monkeypatch.undo()
    assert "DXO" not in wire.send(result)


def test_a_server_that_asks_without_end_does_not_fill_the_disk(wire):
    for _ in range(3 * flood.MOST):
        wire.ask(task="x" * 10_000)
        wire.answer(_failure(Reason.TASK))
    lines = wire.audit()
    assert len(lines) == flood.MOST
    assert max(len(json.dumps(line)) for line in lines) < 1000
    wire.ask()
    wire.answer(wire.result(by=1e3))
    assert [line.get("refused") for line in wire.audit()[-2:]] == [None, Reason.NORM], "what is bounded is written"


@pytest.mark.parametrize(("a", "b"), [(1e30, 0.0), (0.0, 1e30)])
def test_factors_of_a_payload_are_bounded_whatever_their_product(wire, a, b):
    names = wire.pairs[0]
    payload = wire.start | {n: torch.full_like(wire.start[n], by) for n, by in zip(names, (a, b), strict=True)}
    assert wire.ask(1, payload).get_header(REFUSED) == Reason.PAYLOAD_NORM


def test_factors_that_cancel_do_not_come_in(wire):
    """Their norm is 0 as far as it can be computed, and so is that of whatever is measured from them."""
    a, b = wire.pairs[0]
    huge = {name: torch.zeros_like(wire.start[name]) for name in (a, b)}
    huge[a][0], huge[a][1], huge[b][:, 0], huge[b][:, 1] = 1e15, -1e15, 1e15, 1e15
    assert wire.ask(1, wire.start | huge).get_header(REFUSED) == Reason.PAYLOAD_NORM


@pytest.mark.parametrize("split", ["balanced", "paper"])
@pytest.mark.parametrize(("largest", "dtype"), [(0.5, "float32"), (0.5, "bfloat16"), (40.0, "float32")])
def test_every_payload_within_the_norm_has_factors_small_enough(tmp_path, small, split, largest, dtype):
    """The worst case: all singular values alike."""
    wire = Wire(tmp_path, small.changed(payload_dtype=dtype), largest_payload=largest)
    payload, size = dict(wire.start), 0.99 * largest / sqrt(len(wire.pairs) * small.rank)
    for a, b in wire.pairs:
        B, _ = torch.linalg.qr(torch.randn_like(wire.start[b]))
        A, _ = torch.linalg.qr(torch.randn_like(wire.start[a]).mT)
        payload[b], payload[a] = (B * sqrt(size), A.mT * sqrt(size)) if split == "balanced" else (B, size * A.mT)
    sent = {name: tensor.to(getattr(torch, dtype)) for name, tensor in payload.items()}
    assert wire.ask(1, sent).get_header(REFUSED) is None


def test_of_two_tasks_at_once_one_is_answered(wire):
    """FLARE hands tasks on in threads, too: what both were admitted for is answered once."""
    wire.ask()
    first = wire.fl_ctx
    wire.ask()
    assert "DXO" in wire.answer(wire.result())
    wire.fl_ctx = first
    assert refused(wire.answer(wire.result())) == Reason.REPLAYED


def test_a_failure_leaves_as_its_code(wire):
    reply = make_reply("/data/patients")
    reply.set_header(REASON, "a patient's name\n" * 100)
    reply["image"] = "pixels"
    assert refused(wire.answer(reply)) == Reason.STOPPED
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(REASON, str(Reason.STORE))
    assert refused(wire.answer(reply)) == Reason.STORE


CHANGES = {
    "a tensor": lambda r: r["DXO"]["data"][next(iter(r["DXO"]["data"]))].add_(1),
    "a report": lambda r: r["DXO"]["meta"][REPORT].update(loss=0.25),
    "an entry": lambda r: r.update(image="pixels"),
    "a header": lambda r: r.set_header("image", "pixels"),
    "FLARE's header of the task's name": lambda r: r.set_header("__task_name__", "pixels"),
    "FLARE's header of the way back": lambda r: r.set_header("__cookie_jar__", {"image": "pixels"}),
    "FLARE's header of the audit": lambda r: r.set_header("__audit_event_id__", "pixels"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_changes_what_has_passed(wire, change):
    wire.ask()
    result = wire.answer(wire.result())
    assert "DXO" in wire.send(result), "FLARE's own headers are no change"
    fire, wire.fire = wire.fire, lambda event: (change(result), fire(event))
    wire.send(result)
    assert set(result) == {"__headers__"}
    assert result.get_header(REASON) == Reason.CHANGED
    assert result.get_header("__task_id__") == "1"
    assert "pixels" not in repr(result)


def _fails(*_arguments, **_settings):
    raise OSError(28, "No space left on device")


def _memory(*_arguments, **_settings):
    raise MemoryError


DEPENDENCIES = {
    "the audit log": (audit.AuditLog, "write"),
    "reading the ledger": (ledger.LedgerFile, "read"),
    "writing the ledger": (ledger.LedgerFile, "write"),
    "the ledger's lock": (ledger.fcntl, "flock"),
    "the ledger's rule": (ledger.Ledger, "check"),
    "counting an answer": (ledger.Ledger, "answered"),
    "the agreement": (Agreement, "read"),
    "the site's settings": (Site, "read"),
    "the base network": (component, "Base"),
    "judging a task": (rules, "question"),
    "admitting a task": (rules, "admitted"),
    "judging an answer": (rules, "answer"),
    "bounding an update": (component, "release"),
    "the digest": (component, "digest"),
    "the fingerprint": (component, "_fingerprint"),
    "making the message": (component.FLModelUtils, "to_shareable"),
    "the site's own log": (Gate, "log_error"),
    "the name of the site": (component, "_places"),
}


FOR_TASKS_ALONE = ("the base network", "judging a task", "admitting a task")
FOR_ANSWERS_ALONE = (
    "writing the ledger",
    "counting an answer",
    "judging an answer",
    "bounding an update",
    "the digest",
    "the fingerprint",
    "making the message",
)


@pytest.mark.parametrize("failure", [_fails, _memory], ids=["OSError", "MemoryError"])
@pytest.mark.parametrize("when", [EventType.AFTER_TASK_RESULT_FILTER, EventType.BEFORE_SEND_TASK_RESULT])
@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=DEPENDENCIES)
def test_whatever_fails_nothing_leaves(wire, monkeypatch, dependency, when, failure):
    wire.ask()
    result = wire.result()
    result.set_header("image", "pixels")  # so that the site's log is asked too
    if dependency[1] not in ("log_error",):
        del result["__headers__"]["image"]
    if when == EventType.AFTER_TASK_RESULT_FILTER:
        monkeypatch.setattr(*dependency, failure)
        wire.answer(result)
    else:
        wire.answer(result)
        monkeypatch.setattr(*dependency, failure)
        if "DXO" in result:
            result["DXO"]["meta"]["image"] = "pixels"
    wire.send(result)
    if dependency in [DEPENDENCIES[name] for name in FOR_TASKS_ALONE] and when == EventType.AFTER_TASK_RESULT_FILTER:
        assert "DXO" in result
        return
    assert "DXO" not in result
    assert "pixels" not in repr(result)
    assert not [t for t in result.values() if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("name", [name for name in DEPENDENCIES if name not in FOR_ANSWERS_ALONE])
def test_whatever_fails_no_task_comes_in(wire, monkeypatch, name):
    dependency = DEPENDENCIES[name]
    monkeypatch.setattr(*dependency, _fails)
    wire.gate._bases.clear()
    task = wire.ask(1, wire.start, **({"image": "pixels"} if dependency[1] == "log_error" else {}))
    assert "DXO" not in task
    assert task.get_header(REFUSED)


def test_a_ledger_that_was_lost_lets_nothing_leave(wire):
    wire.ask()
    wire.answer(wire.result())
    (wire.kit / "state/gate" / SITE / ledger.FILE_NAME).unlink()
    assert wire.ask(1, wire.start).get_header(REFUSED) == Reason.LEDGER


def test_an_answer_counts_before_it_is_made(wire, monkeypatch):
    """A process that is killed in between has answered: the ledger knows it, and the round is not answered again."""
    wire.ask()
    result = wire.result()
    monkeypatch.setattr(FLModelUtils, "to_shareable", _memory)
    assert refused(wire.answer(result)) == Reason.GATE
    monkeypatch.undo()
    assert wire.ask().get_header(REFUSED) == Reason.REPLAYED
    assert "sha256" in wire.audit()[-3]


def test_with_an_empty_agreement_nothing_passes(wire):
    """As it is provisioned: every task is refused, and every result, also of a task from before."""
    before = wire.result()
    wire.ask()
    wire.agree(experiments=[])
    assert refused(wire.answer(before)) == Reason.NOT_AGREED
    for task in (TASK_TRAIN, TASK_EVALUATE):
        for number in range(2):
            assert wire.ask(number, task=task).get_header(REFUSED) == Reason.NOT_AGREED
    assert all("nothing passes" in line["why"] for line in wire.audit() if "refused" in line)


@pytest.mark.parametrize("text", [None, "{"])
def test_without_an_agreement_nothing_passes(wire, text):
    path = wire.kit / "local" / FILE_NAME
    path.unlink() if text is None else path.write_text(text)
    assert wire.ask().get_header(REFUSED) == Reason.AGREEMENT
    assert refused(wire.answer(wire.result())) == Reason.AGREEMENT


def test_every_payload_type_is_judged_by_its_numbers(tmp_path, small):
    job = small.changed(payload_dtype="bfloat16")
    wire = Wire(tmp_path, job)
    wire.ask()
    sent = {n: t.bfloat16() for n, t in wire.moved().items()}
    result = wire.answer(wire.result(tensors=sent))
    assert all(t.dtype == torch.bfloat16 for t in result["DXO"]["data"].values())


def test_what_leaves_is_a_copy_without_what_lies_beside_it(wire):
    name = next(n for n, t in wire.start.items() if t.dim() == 1)
    whole = torch.cat([wire.moved()[name], torch.rand(100)])
    sent = wire.moved() | {name: whole[: len(wire.start[name])]}
    wire.ask()
    left = wire.answer(wire.result(tensors=sent))["DXO"]["data"][name]
    assert left.untyped_storage().nbytes() == left.nbytes


def test_the_base_is_made_of_the_sites_own_weights_once(wire):
    wire.gate._bases.clear()
    wire.ask()
    made = wire.gate._bases[wire.job]
    wire.answer(wire.result())
    wire.ask(1, wire.start)
    assert wire.gate._bases == {wire.job: made}
    assert made.before({}).keys() == wire.start.keys()


def test_the_simulators_server_has_no_gate(wire):
    wire.fl_ctx = wire.context(TASK_TRAIN)
    wire.fl_ctx.set_prop(ReservedKey.PROCESS_TYPE, ProcessType.SERVER_JOB, private=True, sticky=False)
    result = make_reply(ReturnCode.OK)
    assert wire.answer(result).get_return_code() == ReturnCode.OK


@pytest.mark.parametrize(("strategy", "sides"), [("alternate", "BA"), ("fedsvd", "BB")])
def test_in_turn_an_update_counts_by_the_factor_that_travels(tmp_path, small, strategy, sides):
    """It moves as far as the product does, since the other is orthonormal; and the other does not leave."""
    wire = Wire(tmp_path, small.changed(strategy=strategy), largest_update=1.0, repeats=10)
    pairs = low_rank_pairs(build(wire.job))
    received = in_form_of_round(wire.moved(1e-2), wire.job, pairs, 1)
    assert wire.ask().get_header(REFUSED) is None
    whole = wire.answer(wire.result(tensors=wire.moved()))
    assert refused(whole) == Reason.PAYLOAD, "both factors"
    for number, payload_down in ((0, None), (1, received)):
        leaving = payload.leaving(wire.job, number)
        before = payload_down or wire.start
        name = next(n for n in leaving if n.endswith(f".{sides[number]}"))
        for by, passes in ((0.9, True), (1.1, False)):
            wire.job_id += "'"  # another job may ask again
            assert wire.ask(number, payload_down).get_header(REFUSED) is None
            step = torch.ones_like(before[name])
            moved = {n: before[n] + (by * step / step.norm() if n == name else 0) for n in leaving}
            answer = wire.answer(wire.result(number, tensors=moved))
            if passes:
                assert wire.audit()[-1]["norm"] == pytest.approx(by, rel=1e-4)
                assert answer["DXO"]["data"].keys() == leaving.keys()
            else:
                assert refused(answer) == Reason.NORM


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("strategy", ["alternate", "fedsvd"])
def test_a_payload_in_turn_counts_by_its_products_and_its_fixed_factor_is_orthonormal(tmp_path, small, strategy, dtype):
    wire = Wire(tmp_path, small.changed(strategy=strategy, payload_dtype=dtype), repeats=10, largest_payload=10.0)
    pairs = low_rank_pairs(build(wire.job))
    tensors = wire.moved(1e-2)
    for number in (0, 1):
        honest = in_form_of_round(tensors, wire.job, pairs, number)
        a, b = pairs[0]
        far = {**honest, a: 100 * honest[a]} if fixed_names(wire.job, pairs, number)[0] == b else None
        far = far or {**honest, b: 100 * honest[b]}
        bent = honest | {n: 1.2 * honest[n] for n in fixed_names(wire.job, pairs, number)[-1:]}
        other = in_form_of_round(tensors, wire.job, pairs, number + 1)
        cases = [(honest, None), (bent, Reason.PAYLOAD), (far, Reason.PAYLOAD_NORM)]
        cases += [(other, Reason.PAYLOAD)] if strategy == "alternate" else []
        for sent, reason in cases:
            assert wire.ask(number, encoding.down(sent, dtype)).get_header(REFUSED) == reason
        moved = sum(((honest[b] @ honest[a]).double().norm() ** 2).item() for a, b in pairs)
        assert wire.ask(number, encoding.down(honest, dtype)).get_header(REFUSED) is None
        others = [n for n in honest if n not in {name for pair in pairs for name in pair}]
        moved += sum((honest[n].double() - wire.start[n]).norm().item() ** 2 for n in others)
        assert wire.audit()[-1]["payload_norm"] == pytest.approx(sqrt(moved), rel=2e-2)
