# SPDX-License-Identifier: Apache-2.0
"""The executor on a stand-in for FLARE's context: state between processes, and what leaves on failure."""

import json
import logging
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from flap_sam.errors import Reason
from flap_sam.federation import console
from flap_sam.federation.executor import FlapSamExecutor
from flap_sam.records.pictures import pictures_below
from flap_sam.training import progress
from flap_sam.wire.messages import EXPERIMENT, REASON, REFUSED, REPORT, RUN, SPOKEN, TASK_EVALUATE, TASK_TRAIN, VERSION
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils


class Host:
    """A site's processes: each `ask` may go to a new executor, as the simulator does with one thread."""

    def __init__(self, folder, store, monkeypatch):
        folder.mkdir()
        monkeypatch.setenv("FLAP_SAM_DATA", str(store))
        monkeypatch.setenv("FLAP_SAM_DEVICE", "cpu")
        monkeypatch.setenv("FLAP_SAM_STATE", str(folder / "state"))
        monkeypatch.delenv("FLAP_SAM_CHECKPOINT", raising=False)
        self.lines, self.fired = [], []
        workspace = SimpleNamespace(get_run_dir=lambda _: str(folder), get_site_config_dir=lambda: str(folder))
        self.context = SimpleNamespace(
            get_engine=lambda: SimpleNamespace(get_workspace=lambda: workspace),
            get_job_id=lambda: "job",
            get_identity_name=lambda: "site-2",
        )

    def executor(self) -> FlapSamExecutor:
        executor = FlapSamExecutor()
        for kind in ("log_info", "log_error", "log_exception"):
            setattr(executor, kind, self._log)
        return executor

    def _log(self, _, line: str, fire_event: bool = True) -> None:
        self.lines.append(line)
        if fire_event:
            self.fired.append(line)

    def ask(self, executor, task_name, experiment, number, tensors, signal=None, **said):
        model = FLModel(
            params_type=ParamsType.FULL,
            params=dict(tensors),
            current_round=number,
            meta={
                EXPERIMENT: experiment.to_json() if hasattr(experiment, "to_json") else experiment,
                RUN: "run",
                VERSION: SPOKEN,
            }
            | said,
        )
        return executor.execute(task_name, FLModelUtils.to_shareable(model), self.context, signal or Signal())


@pytest.fixture
def host(tmp_path, store, monkeypatch):
    return Host(tmp_path / "run", store, monkeypatch)


def three_rounds(host, experiment, new_process: bool) -> tuple[dict, list]:
    tensors, losses, executor = {}, [], host.executor()
    for number in range(3):
        if new_process:
            executor = host.executor()
        reply = FLModelUtils.from_shareable(host.ask(executor, TASK_TRAIN, experiment, number, tensors))
        tensors = reply.params
        losses.append(reply.meta[REPORT]["loss"])
    return tensors, losses


def test_a_new_process_every_round_gives_the_same_bits_as_one_for_all(small, tmp_path, store, monkeypatch):
    once = three_rounds(Host(tmp_path / "one", store, monkeypatch), small, new_process=False)
    each = three_rounds(Host(tmp_path / "many", store, monkeypatch), small, new_process=True)
    assert once[1] == each[1]
    assert all(torch.equal(once[0][name], each[0][name]) for name in once[0])


@pytest.mark.parametrize("new_process", [False, True])
def test_a_task_that_comes_twice_gives_the_same_bits(small, host, new_process):
    """The same round again, in the process that trained it or in another, after a later round was begun or not."""
    small = small.changed(adapter="mole", rounds=3)
    executor, tensors, answers = host.executor(), {}, []
    for number in (0, 0, 1, 1):
        if new_process:
            executor = host.executor()
        answers.append(FLModelUtils.from_shareable(host.ask(executor, TASK_TRAIN, small, number, tensors)))
        if number == 0:
            tensors_of_0 = answers[-1].params
        tensors = {} if len(answers) < 2 else tensors_of_0
    for first, again in (answers[:2], answers[2:]):
        assert first.meta[REPORT]["loss"] == again.meta[REPORT]["loss"]
        assert all(torch.equal(first.params[name], again.params[name]) for name in first.params)


def test_a_round_that_failed_half_way_leaves_no_trace(small, host):
    class StopsLater(Signal):
        asked = 0

        @property
        def triggered(self):
            StopsLater.asked += 1
            return StopsLater.asked > 2

    executor = host.executor()
    assert (
        host.ask(executor, TASK_TRAIN, small, 0, {}, StopsLater()).get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    )
    after = FLModelUtils.from_shareable(host.ask(executor, TASK_TRAIN, small, 0, {}))
    clean = FLModelUtils.from_shareable(host.ask(host.executor(), TASK_TRAIN, small, 0, {}))
    assert all(torch.equal(after.params[name], clean.params[name]) for name in clean.params)


def test_the_sites_own_console_shows_how_far_a_round_is(small, host, store, monkeypatch, caplog):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, console.LOGGER):
        host.ask(host.executor(), TASK_TRAIN, small, 0, {})
    lines = [record.getMessage() for record in caplog.records if record.name == console.LOGGER]
    assert [re.sub(r"loss.*", "", line).split() for line in lines] == [
        f"round 0 site-2 step {done} of 3".split() for done in (1, 2)
    ]
    assert not any("step" in line for line in host.fired), "no line becomes one of FLARE's events, which travel"
    assert not any(word in line for line in lines for word in (str(store), "case_"))


def test_rounds_differ(small, host):
    """The order of the windows is drawn anew every round."""
    _, losses = three_rounds(host, small, new_process=False)
    assert len(set(losses)) == 3


def test_the_start_digest_is_of_the_network_before_anything_came(small, host):
    executor = host.executor()
    first = FLModelUtils.from_shareable(host.ask(executor, TASK_TRAIN, small, 0, {}))
    second = FLModelUtils.from_shareable(host.ask(host.executor(), TASK_TRAIN, small, 1, first.params))
    assert len(first.meta[REPORT]["start_digest"]) == 64
    assert second.meta[REPORT]["start_digest"] == first.meta[REPORT]["start_digest"]


@pytest.mark.parametrize("number", [3, None])
def test_a_round_that_the_experiment_does_not_have_is_refused(small, host, number):
    assert refused(lambda: host.ask(host.executor(), TASK_TRAIN, small, number, {})) == Reason.TASK


def test_a_run_whose_name_is_no_name_is_refused(small, host):
    model = FLModel(
        params={}, current_round=0, meta={EXPERIMENT: small.to_json(), RUN: "../elsewhere", VERSION: SPOKEN}
    )
    reply = host.executor().execute(TASK_TRAIN, FLModelUtils.to_shareable(model), host.context, Signal())
    assert reply.get_header(REASON) == Reason.TASK


@pytest.mark.parametrize("task", [TASK_TRAIN, TASK_EVALUATE])
@pytest.mark.parametrize("version", [1, SPOKEN + 1])
def test_a_task_of_another_version_is_refused_and_the_sites_own_log_names_both(small, host, task, version):
    assert refused(lambda: host.ask(host.executor(), task, small, 0, {}, **{VERSION: version})) == Reason.VERSION
    assert f"it is of version {version} of its format, this flap-sam reads version {SPOKEN}" in host.lines[-1]
    assert host.fired == []


def test_an_answer_says_its_version(small, host):
    reply = FLModelUtils.from_shareable(host.ask(host.executor(), TASK_EVALUATE, small, 2, {}))
    assert reply.meta[VERSION] == SPOKEN


def test_evaluation_sends_no_tensors(small, host):
    reply = FLModelUtils.from_shareable(host.ask(host.executor(), TASK_EVALUATE, small, 2, {}))
    assert reply.params == {}
    assert reply.meta[REPORT]["test_cases"] == 1


@pytest.mark.parametrize("pictures", [False, True])
def test_test_cases_are_drawn_into_the_run_folder_if_the_site_says_so(small, host, tmp_path, pictures):
    (tmp_path / "run" / "flap_site.json").write_text(json.dumps({"pictures": pictures}))
    host.ask(host.executor(), TASK_EVALUATE, small, 2, {})
    assert [path.name for path in pictures_below(tmp_path, 2)] == (["round_00002_1.png"] if pictures else [])


def refused(task: Callable[[], Shareable]) -> str:
    reply = task()
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    return reply.get_header(REASON)


def test_a_payload_is_checked_before_it_is_used(small, host):
    executor = host.executor()
    good = FLModelUtils.from_shareable(host.ask(executor, TASK_TRAIN, small, 0, {})).params
    name = next(iter(good))
    spoilt = torch.full_like(good[name], float("nan"))
    for bad in ({**good, name: spoilt}, {name: spoilt}, {**good, "extra": good[name]}):
        assert refused(lambda bad=bad: host.ask(executor, TASK_TRAIN, small, 1, bad)) == Reason.PAYLOAD


def test_what_is_no_experiment_is_refused(host):
    for text in (None, "{", '{"ranks": 3}', '{"rank": 1000000}'):
        assert refused(lambda text=text: host.ask(host.executor(), TASK_TRAIN, text, 0, {})) == Reason.EXPERIMENT


def test_no_path_leaves_whatever_fails(small, host, store, monkeypatch):
    next((store / "B" / "arrays").glob("*.npy")).unlink()
    reason = refused(lambda: host.ask(host.executor(), TASK_TRAIN, small, 0, {}))
    assert reason == Reason.STORE
    assert str(store) in "".join(host.lines), "the site's own log has the whole sentence"
    assert str(store) not in "".join(host.fired), "FLARE shows fired errors to every administrator"
    monkeypatch.setenv("FLAP_SAM_DATA", str(store / "nowhere"))
    assert refused(lambda: host.ask(host.executor(), TASK_TRAIN, small, 0, {})) == Reason.STORE
    assert str(store) not in "".join(host.fired)

    def broken(*_):
        raise OSError(f"disk gone: {store}")

    monkeypatch.setattr("flap_sam.federation.executor.Participant", broken)
    monkeypatch.setattr("flap_sam.federation.executor.assign", lambda *_: SimpleNamespace(demo=False))
    reason = refused(lambda: host.ask(host.executor(), TASK_TRAIN, small, 0, {}))
    assert reason == Reason.STOPPED


def test_a_task_that_the_gate_has_refused_is_not_done(host):
    task = Shareable()
    task.set_header(REFUSED, str(Reason.BUDGET))
    assert refused(lambda: host.executor().execute(TASK_TRAIN, task, host.context, Signal())) == Reason.BUDGET


def test_an_aborted_round_stops_before_its_next_step(small, host):
    signal = Signal()
    signal.trigger("abort")
    reason = refused(lambda: host.ask(host.executor(), TASK_TRAIN, small, 0, {}, signal))
    assert reason == Reason.ABORTED


def test_an_unknown_task_is_not_done(small, host):
    assert host.ask(host.executor(), "submit_data", small, 0, {}).get_return_code() == ReturnCode.TASK_UNKNOWN
