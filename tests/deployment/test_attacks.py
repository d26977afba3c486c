# SPDX-License-Identifier: Apache-2.0
"""Attacks on running kits: each is refused, the refusal is logged, nothing leaves, the other sites go on."""

import json
import pickle
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from flap_sam.errors import Reason
from flap_sam.records.round_log import ROUND_LOG
from nvflare.fuel.flare_api.api_spec import AuthorizationError
from nvflare.fuel.flare_api.flare_api import Session

from tests.deployment.federation import (
    ADMIN,
    FINISHED,
    HOSPITALS,
    MEMBER,
    MOST_SLICES,
    SERVER,
    Federation,
    copy_of,
    provision,
)

pytestmark = pytest.mark.slow

HOSTILE = Path(__file__).parent / "hostile/hostile.py"
TRICKS = {
    "1": ("header", Reason.RESULT, "further headers are image"),
    "2": ("nan", Reason.PAYLOAD, "holds NaN or infinity"),
    "3": ("backbone", Reason.PAYLOAD, "image_encoder.pos_embed is not part of the experiment"),
    "4": ("huge", Reason.NORM, "norm of the update is"),
    "5": ("metric", Reason.RESULT, "age is unknown"),
    "6": ("text", Reason.RESULT, "labels is no SHA-256"),
    "7": ("entry", Reason.RESULT, "result's entries are DXO, image"),
    "8": ("behind", Reason.CHANGED, "changed behind the gate"),
    "9": ("pixels", Reason.FORM, "not in canonical form"),
}
ROUNDS = 10
ATTACKS = {
    "backbone": (Reason.PAYLOAD, "image_encoder.pos_embed is not part of the experiment"),
    "shape": (Reason.PAYLOAD, "has shape [3, 3]; expected"),
    "nan": (Reason.PAYLOAD, "holds NaN or infinity"),
    "huge": (Reason.PAYLOAD_NORM, "norm of the payload's change is"),
    "experiment": (Reason.NOT_AGREED, "expected one that the site has agreed to"),
    "replayed": (Reason.REPLAYED, "asks again to train round 0"),
    "run": (Reason.RUN, "asks for run another-run"),
    "far": (Reason.TASK, "round is 1000000; expected 0 to 10"),
    "entry": (Reason.TASK, "task's entries are"),
    "empty": (Reason.PAYLOAD, "comes without a payload"),
}


def changed(job: Path, folder: Path, file: str, change: Callable[[dict], object]) -> Path:
    """A copy of a staged job with one of its files changed."""
    copy = copy_of(job, folder)
    content = json.loads((copy / file).read_text())
    change(content)
    (copy / file).write_text(json.dumps(content))
    return copy


def outcome(federation: Federation, job: Path) -> dict:
    """Submit a job and wait for its end; FLARE's account of it."""
    submitted = federation.submit(job)
    federation.finish(submitted)
    session = federation.session()
    try:
        return session.get_job_meta(submitted)
    finally:
        session.close()


def releases(federation: Federation) -> int:
    """How often anything has left a hospital so far."""
    return sum(len(federation.releases(hospital)) for hospital in HOSPITALS)


@pytest.mark.parametrize("person", [MEMBER, ADMIN])
def test_only_the_lead_submits(federation, staged, tmp_path, person):
    with pytest.raises(AuthorizationError, match="not authorized for 'submit_job'"):
        federation.submit(copy_of(staged, tmp_path / "job"), person)


@pytest.mark.parametrize("file", ["custom/anything.py", "config/anything.py", "config/comm_config.json"])
def test_a_job_with_code_is_not_deployed(federation, staged, tmp_path, file):
    job = copy_of(staged, tmp_path / "job")
    (job / "app" / file).parent.mkdir(exist_ok=True)
    (job / "app" / file).write_text("{}")
    found = outcome(federation, job)
    assert found["status"] == "FINISHED:FAILED_TO_RUN"
    assert "which is no configuration" in str(found["job_deploy_detail"])
    for kit in (SERVER, *HOSPITALS):
        assert not list((federation.kits / kit).glob(f"*/app_*/{file}"))


def test_a_job_that_registers_not_every_hospital_does_not_start(federation, staged, tmp_path):
    released = releases(federation)
    registered = dict.fromkeys(set(HOSPITALS) - {"hospital-b"}, MOST_SLICES)
    found = outcome(federation, copy_of(staged, tmp_path / "job", largest_slices=registered))
    assert found["status"] != FINISHED
    assert "largest_slices has none for hospital-b" in federation.log(SERVER)
    assert releases(federation) == released, "nobody was asked"


@pytest.mark.parametrize("scope", [None, "public"])
def test_a_job_of_another_privacy_scope_or_of_none_is_not_deployed(federation, staged, tmp_path, scope):
    found = outcome(federation, changed(staged, tmp_path / "job", "meta.json", lambda meta: meta.update(scope=scope)))
    assert found["status"] == "FINISHED:FAILED_TO_RUN"
    for hospital in HOSPITALS:
        assert any(hospital in told and "is not allowed" in told for told in found["job_deploy_detail"])
        assert "train.deploy" in federation.log(hospital), "the site's audit.log says who tried"


def test_a_job_builds_no_class_but_ours(federation, staged, tmp_path):
    released = releases(federation)
    foreign = {"path": "nvflare.app_common.filters.exclude_vars.ExcludeVars", "args": {"exclude_vars": ["x"]}}
    chain = [{"tasks": ["train"], "filters": [foreign]}]
    client = "app/config/config_fed_client.json"
    found = outcome(
        federation, changed(staged, tmp_path / "job", client, lambda config: config.update(task_result_filters=chain))
    )
    assert found["status"] != FINISHED
    assert releases(federation) == released
    assert all("ExcludeVars" in federation.log(h) and "not in allow_list" in federation.log(h) for h in HOSPITALS)


def test_nobody_speaks_to_the_server_without_its_certificate(federation, tmp_path):
    strangers = provision(tmp_path, federation.port, {})
    answers = {}
    for name, kit in (("own", federation.kits), ("foreign", strangers), ("none", None)):
        context = ssl.create_default_context(cafile=federation.kits / "hospital-a/startup/rootCA.pem")
        if kit:
            context.load_cert_chain(kit / "hospital-a/startup/client.crt", kit / "hospital-a/startup/client.key")
        answers[name] = _greeting(context, federation.port)
    assert answers["own"].startswith(b"HTTP/1.1")
    assert answers["foreign"] == answers["none"] == b""


def _greeting(context: ssl.SSLContext, port: int) -> bytes:
    with socket.create_connection(("localhost", port), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return secure.recv(100)
        except ssl.SSLError:
            return b""


def hostile_job(federation: Federation, job: Path, folder: Path) -> Path:
    """A job that a hostile server runs, with a hostile executor at one hospital; both kits have opened themselves."""
    copy = copy_of(job, folder)
    shutil.copytree(copy / "app", copy / "app_c")
    executor = {"path": "hostile.HostileExecutor", "args": {"tricks": {n: trick for n, (trick, *_) in TRICKS.items()}}}
    _write(copy / "app_c/config/config_fed_client.json", lambda c: c["executors"][0].update(executor=executor))
    _write(
        copy / "app/config/config_fed_server.json",
        lambda c: c["workflows"][0].update(path="hostile.HostileController") or c["run_policy"].update(min_sites=1),
    )
    where = {"app": [SERVER_SITE, "hospital-a", "hospital-b"], "app_c": ["hospital-c"]}
    _write(copy / "meta.json", lambda meta: meta.update(deploy_map=where))
    for kit, name in ((SERVER, "hostile.HostileController"), ("hospital-c", "hostile.HostileExecutor")):
        local = federation.kits / kit / "local"
        (local / "custom").mkdir(exist_ok=True)
        shutil.copy(HOSTILE, local / "custom")
        _write(local / "resources.json", lambda c, name=name: c["class_allow_list"].append(name))
    return copy


SERVER_SITE = "server"


def _write(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class Exploit:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_a_hostile_server_and_a_hostile_site_get_nothing_out(federation, long_job, tmp_path):
    trap = tmp_path / "sam_vit_b.pth"
    trap.write_bytes(pickle.dumps({"image_encoder.pos_embed": Exploit(tmp_path / "ran")}))
    federation.change("hospital-b", "flap_site.json", checkpoint=str(trap))
    submitted = federation.submit(hostile_job(federation, long_job, tmp_path / "job"))
    assert federation.finish(submitted) == FINISHED
    results = federation.download(submitted)

    rounds = [json.loads(line) for line in (results / ROUND_LOG).read_text().splitlines()]
    assert len(rounds) == ROUNDS
    for record in rounds:
        _, reason, sentence = TRICKS.get(str(record["round"]), (None, None, None))
        assert "hospital-a" in record["sites"], "the others go on"
        assert ("hospital-c" in record["sites"]) == (reason is None)
        if reason:
            assert record["refused"]["hospital-c"] == reason.sentence
            assert any(sentence in line.get("why", "") for line in federation.audit("hospital-c"))

    answers = json.loads((results / "answers.json").read_text())
    for attack, (reason, sentence) in ATTACKS.items():
        for hospital in ("hospital-a", "hospital-c"):
            assert answers[attack][hospital] == reason.sentence, (attack, answers[attack])
            assert any(sentence in line.get("why", "") for line in federation.audit(hospital)), attack
        assert "LEAKED" not in answers[attack].values()

    assert all(record["refused"]["hospital-b"] == Reason.CHECKPOINT.sentence for record in rounds)
    assert not (tmp_path / "ran").exists(), "the pickle ran"
    federation.change("hospital-b", "flap_site.json", checkpoint="random")


def test_a_revoked_hospital_does_not_come_back_until_it_is_let_in_again(federation):
    as_admin(federation, lambda session: session.disable_client("hospital-c"))
    federation.stop("hospital-c")
    federation.start_without_waiting("hospital-c")
    federation.wait_for("hospital-c", "Client 'hospital-c' is disabled")
    assert federation.connected() == {"hospital-a", "hospital-b"}
    as_admin(federation, lambda session: session.enable_client("hospital-c"))
    federation.stop("hospital-c")
    federation.start("hospital-c")


def as_admin(federation: Federation, ask: Callable[[Session], object]) -> None:
    session = federation.session(ADMIN)
    try:
        ask(session)
    finally:
        session.close()


def test_logs_and_results_name_no_file_and_no_patient(federation):
    told = [federation.folder / "downloads", federation.kits / SERVER, federation.folder / "homes" / SERVER]
    told = [path for folder in told for path in folder.rglob("*") if path.is_file()]
    secrets = [str(federation.store), "case_0", "patients", *(f"prod_00/{hospital}" for hospital in HOSPITALS)]
    for path in [*told, federation.folder / f"{SERVER}.out"]:
        text = path.read_bytes().decode(errors="replace")
        assert not [secret for secret in secrets if secret in text], path


def test_no_kit_holds_a_secret_of_another(federation):
    keys = {key.parts[-3]: key.read_text() for key in federation.kits.glob("*/startup/*.key")}
    assert len(set(keys.values())) == len(keys) == 10
    for kit in keys:
        held = "".join(p.read_text(errors="replace") for p in (federation.kits / kit).rglob("*") if p.is_file())
        assert not [owner for owner, key in keys.items() if owner != kit and key in held]


def test_the_audit_logs_are_whole(federation):
    for hospital in HOSPITALS:
        assert federation.audit_log(hospital).verify() is None
