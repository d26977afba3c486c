# SPDX-License-Identifier: Apache-2.0
"""A site's GPUs as its kit gives them to jobs: none to two at a time, and a job's process sees its own alone."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from flap_sam.config.job_files import ONE_GPU, submission
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import POLICIES
from flap_sam.federation.kits.resources import FILE_NAME, with_gpus
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.resource_managers.auto_clean_resource_manager import AutoCleanResourceManager
from nvflare.fuel.utils.class_loader import load_class
from nvflare.private.admin_defs import Message
from nvflare.private.fed.client.client_engine_internal_spec import ClientEngineInternalSpec
from nvflare.private.fed.client.scheduler_cmds import CheckResourceProcessor, StartJobProcessor
from nvflare.private.scheduler_constants import ShareableHeader
from nvflare.utils.job_launcher_utils import get_resource_manager_spec, validate_portable_resource_spec

from tests.federation.gpu_machine import machine_with

SHIPPED = json.loads((POLICIES / "site" / FILE_NAME).read_text())
VISIBLE = "CUDA_VISIBLE_DEVICES"
ASKED = {"num_of_gpus": 1}
Step = tuple[str, int]


def component(gpus: int, name: str) -> object:
    """A component of a kit that `flap-sam kit --gpus` has given so many GPUs."""
    (found,) = (found for found in with_gpus(SHIPPED, gpus)["components"] if found["id"] == name)
    return load_class(found["path"])(**found["args"])


def manager_of(gpus: int, there: int | None = None) -> AutoCleanResourceManager:
    with machine_with(gpus if there is None else there):
        return component(gpus, "resource_manager")


def test_two_jobs_never_share_a_gpu():
    site, context = manager_of(1), FLContext()
    enough, token = site.check_resources(ASKED, context)
    assert enough
    assert site.check_resources(ASKED, context) == (False, "")
    taken = site.allocate_resources(ASKED, token, context)
    assert list(taken) == [0]
    assert site.check_resources(ASKED, context) == (False, "")
    site.free_resources(taken, token, context)
    assert site.check_resources(ASKED, context)[0]


def test_a_gpu_that_was_promised_and_not_taken_is_free_again():
    site, context = manager_of(1), FLContext()
    _, token = site.check_resources(ASKED, context)
    site.cancel_resources(ASKED, token, context)
    assert site.check_resources(ASKED, context)[0]


@given(
    gpus=st.integers(0, 5),
    steps=st.lists(st.tuples(st.sampled_from(["ask", "start", "cancel", "end"]), st.integers(0, 7)), max_size=25),
    silent=st.booleans(),
)
def test_whatever_jobs_ask_and_do_no_gpu_is_anothers(gpus: int, steps: list[Step], silent: bool):
    """Against a count of what is free: by promises that are not taken yet, and by jobs that run."""
    site, context = manager_of(gpus), FLContext()
    promised: dict[str, int] = {}
    running: list[dict[int, int]] = []
    for step, number in steps:
        if step == "ask":
            asked = {} if silent and number == 0 else {"num_of_gpus": number}
            gives = min(max(number, 1), gpus)
            free = gpus - sum(promised.values()) - sum(map(len, running))
            enough, token = site.check_resources(asked, context)
            assert enough == (gives <= free)
            if enough:
                promised[token] = gives
        elif step in ("start", "cancel") and promised:
            token = sorted(promised)[number % len(promised)]
            gives = promised.pop(token)
            if step == "cancel":
                site.cancel_resources({}, token, context)
            else:
                running.append(site.allocate_resources({}, token, context))
                assert len(running[-1]) == gives
        elif step == "end" and running:
            site.free_resources(running.pop(number % len(running)), "", context)
        taken = [gpu for job in running for gpu in job]
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(range(gpus))


@pytest.mark.parametrize("asked", [{"num_of_gpus": "1"}, {"num_of_gpus": None}, {"num_of_gpus": [1]}])
def test_what_is_no_number_of_gpus_is_promised_nothing(asked):
    site, context = manager_of(2), FLContext()
    with pytest.raises(TypeError):
        site.check_resources(asked, context)
    assert site.check_resources({"num_of_gpus": 2}, context)[0]


@pytest.mark.parametrize(("gpus", "there"), [(1, 0), (3, 2)])
def test_gpus_that_are_not_there_stop_the_kit(gpus, there):
    with pytest.raises(FlapSamError, match=f"has {gpus} GPUs for jobs, and `nvidia-smi` lists {there} here"):
        manager_of(gpus, there)


@pytest.mark.parametrize("asked", [ONE_GPU, {"@default": 2, "north": 4}])
def test_flare_reads_of_a_submitted_job_what_it_asks_of_each_site(asked):
    spec = submission(asked)
    validate_portable_resource_spec(spec["resource_spec"])
    for site in ("north", "south"):
        wanted = asked.get(site, asked["@default"])
        assert get_resource_manager_spec(spec, site) == {"num_of_gpus": wanted}


def parent_process(gpus: int, folder: Path) -> Mock:
    """A hospital's parent process, as far as FLARE's commands for jobs ask it; a job's process notes what it sees."""
    launcher, context = ClientProcessJobLauncher(), FLContext()
    context.set_prop(FLContextKey.WORKSPACE_OBJECT, SimpleNamespace(get_app_custom_dir=lambda _: ""))

    def start_app(job: str, **_: object) -> None:
        note = f"import os; open({str(folder / job)!r}, 'w').write(os.environ.get({VISIBLE!r}, 'unset'))"
        launcher.get_command = lambda *_: f'{sys.executable} -c "{note}"'
        launcher.launch_job({"job_id": job}, context).wait()

    engine = Mock(spec=ClientEngineInternalSpec, start_app=start_app)
    engine.new_context.side_effect = lambda: nullcontext(FLContext())
    engine.get_component.side_effect = {
        name: component(gpus, name) for name in ("resource_manager", "resource_consumer")
    }.get
    return engine


def checked(engine: Mock, asked: dict[str, int]) -> Shareable:
    return CheckResourceProcessor().process(Message("scheduler.check_resource", asked), engine).body


def started(engine: Mock, job: Path, asked: dict[str, int]) -> str:
    """What a job's process sees, whose GPUs the server has asked for and which it has started."""
    promised = checked(engine, asked)
    assert promised.get_header(ShareableHeader.IS_RESOURCE_ENOUGH)
    order = Message("train.start_job", asked)
    order.set_header("job_id", job.name)
    token = ShareableHeader.RESOURCE_RESERVE_TOKEN
    order.set_header(token, promised.get_header(token))
    assert StartJobProcessor().process(order, engine).body == "OK"
    return job.read_text()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLARE's consumer sets variables of this process; here they end with the test."""
    for name in (VISIBLE, "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("variables")
def test_a_jobs_process_sees_its_own_gpus_alone(tmp_path):
    """Through FLARE's own commands and launcher, as the server orders it."""
    with machine_with(3):
        engine = parent_process(3, tmp_path)
        assert started(engine, tmp_path / "first", {"num_of_gpus": 2}) == "0,1"
        assert started(engine, tmp_path / "second", {}) == "2"
        assert not checked(engine, ASKED).get_header(ShareableHeader.IS_RESOURCE_ENOUGH)
        component(3, "resource_manager")  # as FLARE makes it in the job's process, too, which has its variables


@pytest.mark.usefixtures("variables")
def test_a_site_without_gpus_runs_jobs_that_ask_for_some(tmp_path):
    engine = parent_process(0, tmp_path)
    for job in ("first", "second"):
        assert started(engine, tmp_path / job, {"num_of_gpus": 4}) == "unset"
