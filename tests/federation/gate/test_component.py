"""The gate between a task and an answer, as FLARE fires its events."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from flap_sam.federation import payload
from flap_sam.federation.gate.agreement import FILE_NAME
from flap_sam.federation.gate.component import LONGEST_REASON, Gate
from flap_sam.federation.messages import (
    EXPERIMENT,
    METRICS,
    REASON,
    REFUSED,
    REPORT,
    RUN,
    TASK_EVALUATE,
    TASK_TRAIN,
    TrainReport,
    to_meta,
)
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.scores import Evaluation
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ProcessType, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContextManager
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

SITE = "hospital-a"
NOISE = {"clip": 0.5, "noise_multiplier": 1.0, "epsilon": 9.0, "delta": 1e-5}


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


class Wire:
    """A gate, and the tasks and answers that pass it.

    Args:
        job: the job's experiment.
    """

    def __init__(self, kit, job, **agreed) -> None:
        (kit / "local").mkdir()
        settings = {"experiments": [asdict(job)], "metrics": list(METRICS), "largest_update": 5.0} | agreed
        (kit / "local" / FILE_NAME).write_text(json.dumps(settings))
        (kit / "local" / "flap_site.json").write_text(json.dumps({"checkpoint": "random"}))
        self.kit, self.job, self.gate, self.tasks = kit, job, Gate(), 0
        self.job_id = "job-1"
        network, _, _ = network_for(job, None)
        parameters = dict(network.named_parameters())
        self.start = {n: parameters[n].detach().clone() for n in payload.sent(job)}

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
        fl_ctx = self.context(task)
        notes = {EXPERIMENT: self.job.to_json(), RUN: "run-1"} | meta
        model = FLModel(params_type=ParamsType.FULL, params=params or {}, current_round=number, meta=notes)
        shareable = FLModelUtils.to_shareable(model)
        shareable.set_header("__cookie_jar__", {"way": "back"})
        fl_ctx.set_prop(FLContextKey.TASK_DATA, shareable, private=True, sticky=False)
        self.gate.handle_event(EventType.AFTER_TASK_DATA_FILTER, fl_ctx)
        return shareable

    def answer(self, result, task: str = TASK_TRAIN):
        """A result, as it stands behind the gate."""
        fl_ctx = self.context(task)
        fl_ctx.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self.gate.handle_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
        return result

    def send(self) -> None:
        self.gate.handle_event(EventType.BEFORE_SEND_TASK_RESULT, self.context(TASK_TRAIN))

    def result(self, number: int = 0, by: float = 1e-3, tensors=None, **changes):
        """What an honest site answers."""
        report = to_meta(report_of(self.job)) | changes
        sent = {n: t + by for n, t in self.start.items()} if tensors is None else tensors
        return FLModelUtils.to_shareable(
            FLModel(params_type=ParamsType.FULL, params=sent, current_round=number, meta={REPORT: report})
        )

    def audit(self) -> list[dict]:
        return [json.loads(line) for line in (self.kit / "flap_audit.jsonl").read_text().splitlines()]


def report_of(job) -> TrainReport:
    return TrainReport(
        experiment=job.to_json(),
        start_digest="0" * 64,
        slices=5,
        loss=0.5,
        steps=2,
        seconds=1.5,
        validation=[0.25, None],
        demo=False,
        weights="random",
        labels="f" * 64,
    )


def refused(result) -> str:
    """The sentence of a failure that holds nothing else."""
    assert result.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert set(result) == {"__headers__"}
    return result.get_header(REASON)


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
    ("spoil", "sentence"),
    [
        (lambda r: r["DXO"]["data"].update(extra=torch.zeros(2)), "extra is not part"),
        (lambda r: r["DXO"]["data"].pop(next(iter(r["DXO"]["data"]))), "is missing"),
        (lambda r: r["DXO"]["data"].update({n: t.double() for n, t in r["DXO"]["data"].items()}), "is torch.float64"),
        (lambda r: r["DXO"]["data"].update({n: t * float("inf") for n, t in r["DXO"]["data"].items()}), "infinity"),
        (lambda r: r["DXO"]["meta"].update(image=[1, 2]), "reports are"),
        (lambda r: r["DXO"]["meta"][REPORT].update(age=50.0), "its entries"),
        (lambda r: r["DXO"]["meta"][REPORT].update(labels="a name"), "labels is no SHA-256"),
        (lambda r: r["DXO"]["meta"][REPORT].update(experiment="{}"), "another experiment"),
        (lambda r: r["DXO"]["meta"][REPORT].update(loss="0.5"), "loss is 0.5"),
        (lambda r: r["DXO"]["meta"][REPORT].update(validation=[0.1]), "validation is"),
        (lambda r: r["DXO"].update(kind="ANALYTIC"), "of kind ANALYTIC"),
        (lambda r: r.update(image="pixels"), "entries are DXO, image"),
        (lambda r: r.set_header("image", "pixels"), "further headers are image"),
        (lambda r: r.set_header("current_round", 1), "of round 1; expected 0"),
        (lambda r: r.pop("DXO"), "entries are none"),
    ],
)
def test_what_was_not_agreed_does_not_leave(wire, spoil, sentence):
    wire.ask()
    result = wire.result()
    spoil(result)
    assert sentence in refused(wire.answer(result))
    assert sentence in wire.audit()[-1]["refused"]


def test_a_result_without_an_admitted_task_does_not_leave(wire):
    assert "no task was admitted" in refused(wire.answer(wire.result()))
    wire.ask()
    wire.answer(wire.result())
    assert "no task was admitted" in refused(wire.answer(wire.result())), "one answer for one task"


def test_an_update_too_large_is_blocked(tmp_path, small):
    wire = Wire(tmp_path, small, largest_update=0.01)
    wire.ask()
    assert "norm of the update is" in refused(wire.answer(wire.result(by=1.0)))


def test_or_clipped_where_the_site_says_so(tmp_path, small):
    wire = Wire(tmp_path, small, largest_update=0.01, over="clip")
    wire.ask()
    result = wire.answer(wire.result(by=1.0))
    moved = max((t - wire.start[n]).abs().max().item() for n, t in result["DXO"]["data"].items())
    assert 0 < moved < 0.01
    assert wire.audit()[-1]["clipped"] == 0.01


def test_metrics_that_were_not_agreed_stay(tmp_path, small):
    wire = Wire(tmp_path, small, metrics=["seconds", "test"])
    wire.ask()
    told = wire.answer(wire.result())["DXO"]["meta"][REPORT]
    assert (told["loss"], told["steps"], told["seconds"], told["validation"]) == (None, None, 1.5, [None, None])
    wire.ask(2, wire.start, TASK_EVALUATE)
    scored = Evaluation(
        validation=[0.5, 0.5],
        validation_cases=2,
        test=[0.5, None],
        test_spread=[0.1, None],
        test_cases=3,
        hausdorff=[None, None],
        surface_dice=[None, None],
    )
    model = FLModel(params_type=ParamsType.FULL, params={}, current_round=2, meta={REPORT: to_meta(scored)})
    told = wire.answer(FLModelUtils.to_shareable(model), TASK_EVALUATE)["DXO"]["meta"][REPORT]
    assert (told["validation"], told["test"], told["test_spread"]) == ([None, None], [0.5, None], [None, None])


def test_noise_is_added_until_the_budget_is_spent(tmp_path, small):
    wire = Wire(tmp_path, small, privacy=NOISE | {"epsilon": 20.0})
    wire.ask()
    result = wire.answer(wire.result())
    clean = wire.result()["DXO"]["data"]
    noise = torch.cat([(t - clean[n]).flatten() for n, t in result["DXO"]["data"].items()])
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    first = wire.audit()[-1]["epsilon"]
    wire.ask(1, wire.start)
    wire.answer(wire.result(1))
    assert first < wire.audit()[-1]["epsilon"] < 20
    sentences = []
    for number in (2, 2, 2):
        wire.job_id += "'"
        wire.ask(number, wire.start)
        result = wire.answer(wire.result(number))
        sentences.append(result.get_header(REASON) or "left")
    assert "privacy budget is spent" in sentences[-1]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"number": 1}, "comes without a payload"),
        ({"number": 0, "task": TASK_EVALUATE}, "comes without a payload"),
        ({"number": 3}, "expected 0 to 2"),
        ({"number": True}, "round is True"),
        ({"number": 0, "task": "download"}, "task is 'download'"),
        ({"number": 0, EXPERIMENT: "{}"}, "one that the site has agreed to"),
        ({"number": 0, EXPERIMENT: None}, "not JSON"),
        ({"number": 0, RUN: "../../etc"}, "name of the run"),
        ({"number": 0, "also": "text"}, "entries are also"),
    ],
)
def test_a_task_that_was_not_agreed_to_reaches_nobody(wire, asked, sentence):
    task = wire.ask(**asked)
    assert sentence in task.get_header(REFUSED)
    assert set(task) == {"__headers__"}
    assert task.get_header("__cookie_jar__") == {"way": "back"}, "the refusal must find its way back"
    assert "no task was admitted" in refused(wire.answer(wire.result()))


def test_a_server_cannot_put_backbone_weights_into_a_site(wire):
    task = wire.ask(1, wire.start | {"image_encoder.pos_embed": torch.zeros(1, 2, 2, 128)})
    assert "image_encoder.pos_embed is not part of the experiment" in task.get_header(REFUSED)


def test_a_round_is_answered_once(wire):
    wire.ask()
    wire.answer(wire.result())
    assert "again to train round 0" in wire.ask().get_header(REFUSED)
    assert wire.ask(1, wire.start).get_header(REFUSED) is None


def test_a_failure_leaves_as_one_short_sentence(wire):
    reply = make_reply("/data/patients")
    reply.set_header(REASON, "a reason\n" * 100)
    reply["image"] = "pixels"
    sentence = refused(wire.answer(reply))
    assert len(sentence) <= LONGEST_REASON
    assert sentence.startswith("a reason a reason")


def test_nobody_changes_what_has_passed(wire):
    wire.ask()
    result = wire.answer(wire.result())
    result.set_header("__task_id__", "7")
    wire.send()
    assert "DXO" in result, "FLARE's own headers are no change"
    wire.ask(1, wire.start)
    result = wire.answer(wire.result(1))
    result["DXO"]["data"][next(iter(wire.start))] += 1
    result.set_header("__task_id__", "7")
    wire.send()
    assert "changed behind the gate" in refused(result)
    assert result.get_header("__task_id__") == "7"


@pytest.mark.parametrize("text", [None, "{"])
def test_without_an_agreement_nothing_passes(wire, text):
    path = wire.kit / "local" / FILE_NAME
    path.unlink() if text is None else path.write_text(text)
    assert "nothing leaves it" in wire.ask().get_header(REFUSED)
    assert "nothing leaves it" in refused(wire.answer(wire.result()))
    assert all(str(wire.kit) not in json.dumps(line) for line in wire.audit())


def test_every_payload_type_is_judged_by_its_numbers(tmp_path, small):
    job = replace(small, payload_dtype="bfloat16")
    wire = Wire(tmp_path, job)
    wire.ask()
    sent = {n: (t + 1e-3).bfloat16() for n, t in wire.start.items()}
    result = wire.answer(wire.result(tensors=sent))
    assert all(t.dtype == torch.bfloat16 for t in result["DXO"]["data"].values())


def test_the_simulators_server_has_no_gate(wire):
    fl_ctx = wire.context(TASK_TRAIN)
    fl_ctx.set_prop(ReservedKey.PROCESS_TYPE, ProcessType.SERVER_JOB, private=True, sticky=False)
    result = make_reply(ReturnCode.OK)
    fl_ctx.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
    wire.gate.handle_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
    assert result.get_return_code() == ReturnCode.OK
