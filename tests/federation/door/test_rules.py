# SPDX-License-Identifier: Apache-2.0
"""The door's judgement of an envelope: what is on the list, on its own line, from its own party; nothing else."""

import inspect
from dataclasses import replace
from itertools import product

import pytest
from flap_sam.federation.door import allowed, rules
from flap_sam.federation.door.allowed import Party
from flap_sam.federation.door.rules import Envelope, Line, Refused
from hypothesis import given
from hypothesis import strategies as st
from nvflare.fuel.f3.cellnet import core_cell, defs, net_agent
from nvflare.fuel.f3.streaming import download_service, stream_const
from nvflare.private.fed.client import admin_commands
from nvflare.private.fed.client.client_req_processors import ClientRequestProcessors

JOB, OTHER_JOB = "0cfe6be3-8c8f-42f4-8766-ffc9dfbfd0ac", "d61d3206-d2e3-49eb-83f7-3617fde3d583"
PARENT = "hospital-a"
CHILD = f"{PARENT}.{JOB}"
ORIGINS = ["server", f"server.{JOB}", f"server.{OTHER_JOB}", PARENT, CHILD, f"{PARENT}.{OTHER_JOB}", "hospital-b"]
ORIGINS += [f"hospital-b.{JOB}", "admin", f"{PARENT}.local", f"{CHILD}.0", "", "server.local", "*"]
PASS_TO_PARENT = {  # origin, channel, topic
    ("server", "admin", "admin"),
    (CHILD, "admin", "admin"),
    (f"{PARENT}.{OTHER_JOB}", "admin", "admin"),
    ("server", "cellnet.channel", "bye"),
    (CHILD, "cellnet.channel", "bye"),
    (f"{PARENT}.{OTHER_JOB}", "cellnet.channel", "bye"),
}
PASS_TO_JOB = {
    (PARENT, "client_command", "abort"),
    ("server", "cellnet.channel", "bye"),
    (PARENT, "cellnet.channel", "bye"),
    (f"server.{JOB}", "sm__STREAM", "sm__ACK"),
    (f"server.{JOB}", "sm__STREAM", "sm__ERROR"),
}
PASS_AS_FRAMES = {
    ("return_only", "server_command:get_task"),
    ("return_only", "server_command:submit_update"),
    ("return_only", "aux_communication:__sync_runner__"),
    ("return_only", "download_service__:download_service__download"),
    ("download_service__", "download_service__download"),
    ("aux_communication", "__end_run__"),
}
ORDERED = {
    "scheduler.check_resource",
    "scheduler.cancel_resource",
    "train.deploy",
    "train.start_job",
    "train.abort",
    "train.check_status",
    "sys.report_version",
    "train.get_scopes",
}


def constants(holder: object) -> list[str]:
    return [value for name, value in vars(holder).items() if isinstance(value, str) and not name.startswith("__")]


CHANNELS = [
    *constants(defs.CellChannel),
    net_agent._CHANNEL,
    core_cell._SM_CHANNEL,
    stream_const.STREAM_CHANNEL,
    download_service.OBJ_DOWNLOADER_CHANNEL,
    "any",
    "*",
    "",
]
TOPICS = [
    *constants(defs.CellChannelTopic),
    *(value for name, value in vars(net_agent).items() if name.startswith("_TOPIC")),
    *(value for name, value in vars(stream_const).items() if name.endswith("_TOPIC")),
    *(command.get_command_name() for command in admin_commands.AdminCommands.commands),
    *(topic for processor in ClientRequestProcessors.request_processors for topic in processor.get_topics()),
    core_cell._TOPIC_BULK,
    core_cell._SM_TOPIC,
    "admin",
    "fed.event",
    "__end_run__",
    "__do_task__",
    "get_task",
    "*",
    "",
]


def request(me: str, origin: str, channel: str = "admin", topic: str = "admin", **changes) -> Envelope:
    """A request on the very line on which its origin would come, if it were whom it says it is."""
    line = {PARENT: Line.PARENT}.get(origin, Line.CHILD if origin.startswith(f"{PARENT}.") else Line.SERVER)
    neighbour = origin if line is not Line.SERVER else "server"
    given_ = {"line": line, "neighbour": neighbour, "kind": "req", "destination": me} | changes
    return Envelope(me=me, origin=origin, channel=channel, topic=topic, **given_)


def passes(envelope: Envelope, relays: tuple[str, ...] = ()) -> bool:
    try:
        rules.judge(envelope, relays)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(("me", "expected"), [(PARENT, PASS_TO_PARENT), (CHILD, PASS_TO_JOB)])
def test_of_every_channel_and_topic_of_flare_only_the_list_passes(me, expected):
    found = {triple for triple in product(ORIGINS, CHANNELS, TOPICS) if passes(request(me, *triple))}
    assert {triple for triple in found if triple[1] != "admin"} == {t for t in expected if t[1] != "admin"}
    admins = {origin for origin, channel, _ in found if channel == "admin"}
    assert admins == {origin for origin, channel, _ in expected if channel == "admin"}


@pytest.mark.parametrize("me", [PARENT, CHILD])
def test_frames_of_streams_are_judged_by_the_stream_they_belong_to(me):
    inner = [*product(CHANNELS, TOPICS), *PASS_AS_FRAMES, (None, None), (1, "x"), (["admin"], None)]
    for origin in ORIGINS:
        found = {
            (channel, topic)
            for channel, topic in inner
            if passes(request(me, origin, "sm__STREAM", "sm__DATA", inner_channel=channel, inner_topic=topic))
        }
        assert found == (PASS_AS_FRAMES if (me, origin) == (CHILD, f"server.{JOB}") else set())


def test_nothing_that_passes_as_a_frame_passes_without_one():
    for channel, topic in PASS_AS_FRAMES:
        assert not any(passes(request(me, origin, channel, topic)) for me in (PARENT, CHILD) for origin in ORIGINS)


@pytest.mark.parametrize(("me", "rows"), [(PARENT, PASS_TO_PARENT), (CHILD, PASS_TO_JOB)])
def test_an_origin_counts_only_on_its_own_line(me, rows):
    for origin, channel, topic in rows:
        good = request(me, origin, channel, topic)
        for line, neighbour in product(Line, ORIGINS):
            forged = replace(good, line=line, neighbour=neighbour)
            on_its_line = (line, neighbour) == (good.line, good.neighbour)
            by_the_parent = me == CHILD and origin.startswith("server") and (line, neighbour) == (Line.PARENT, PARENT)
            assert passes(forged) == (on_its_line or by_the_parent), (origin, line, neighbour)


@given(st.tuples(*[st.sampled_from([*ORIGINS, None, 7, b"server", ["server"], "x" * 300])] * 5))
def test_names_that_are_none_do_not_pass(names):
    kind, origin, destination, channel, topic = names
    envelope = request(PARENT, "server", channel, topic, kind=kind, destination=destination)
    assert not passes(replace(envelope, origin=origin))


@pytest.mark.parametrize("kind", ["reply", "return"])
def test_answers_pass_when_they_were_asked_for(kind):
    for me, origin in product((PARENT, CHILD), ORIGINS):
        answer = request(me, origin, "task", "heart_beat", kind=kind)
        heard = origin in ("server", *((CHILD, f"{PARENT}.{OTHER_JOB}") if me == PARENT else (PARENT, f"server.{JOB}")))
        assert passes(replace(answer, asked=True)) == heard
        assert not passes(replace(answer, asked=False))
    assert not passes(request(PARENT, "server", kind="other", asked=True))


def test_an_address_to_connect_to_does_not_pass():
    assert passes(request(PARENT, "server"))
    assert not passes(request(PARENT, "server", address="tcp://elsewhere:1"))
    assert not passes(request(PARENT, "server", kind="reply", asked=True, address="tcp://elsewhere:1"))


def test_a_parent_passes_on_between_the_server_and_its_own_jobs():
    destinations = [*ORIGINS, "server"]
    for origin, destination, kind in product(ORIGINS, destinations, ["req", "reply", "return", "other"]):
        if destination == PARENT:
            continue
        frame = {"inner_channel": "aux_communication", "inner_topic": "__end_run__"}
        passed = passes(request(PARENT, origin, "sm__STREAM", "sm__DATA", kind=kind, destination=destination, **frame))
        down = destination == CHILD and (origin == f"server.{JOB}" or (origin == "server" and kind != "req"))
        down |= destination == f"{PARENT}.{OTHER_JOB}" and (
            origin == f"server.{OTHER_JOB}" or (origin == "server" and kind != "req")
        )
        up = (origin, destination) in {
            (CHILD, "server"),
            (CHILD, f"server.{JOB}"),
            (f"{PARENT}.{OTHER_JOB}", "server"),
            (f"{PARENT}.{OTHER_JOB}", f"server.{OTHER_JOB}"),
        }
        assert passed == ((down and kind != "other") or up), (origin, destination, kind)
    assert not passes(request(PARENT, f"server.{JOB}", "aux_communication", "__end_run__", destination=CHILD))
    assert not passes(request(PARENT, "server", "client_command", "abort", destination=CHILD))
    assert not passes(request(CHILD, "server", destination=PARENT))


def test_a_relay_counts_only_when_the_site_names_it():
    behind = f"relay-a.{PARENT}"
    order = request(behind, "server", line=Line.PARENT, neighbour="relay-a")
    assert passes(order, ("relay-a",))
    assert not passes(order)
    assert not passes(order, ("relay-b",))
    assert not passes(replace(order, neighbour="relay-b"), ("relay-a", "relay-b"))
    abort = request(f"{behind}.{JOB}", behind, "client_command", "abort", line=Line.PARENT, neighbour=behind)
    assert passes(abort, ("relay-a",))
    assert not passes(abort)


@pytest.mark.parametrize("me", ["server", f"server.{JOB}", f"{PARENT}.local", f"{CHILD}.0", "", f"a.b.{JOB}"])
def test_a_process_of_another_kind_gets_nothing(me):
    assert not any(
        passes(request(me, origin, kind=kind, asked=True)) for origin in ORIGINS for kind in ("req", "reply")
    )


FULL = {"job_id": JOB, "require_authz": "true"}


def ordered(topic: object, party: Party = Party.SERVER, origin: str = "server", **headers) -> bool:
    try:
        rules.judge_order(party, origin, topic, headers)
    except Refused:
        return False
    return True


def may_be_ordered(topic: str, **headers) -> bool:
    """With whatever command it may want."""
    commands = [command for order in allowed.ORDERS for command in order.rights] or [""]
    return any(ordered(topic, **FULL, admin_command=command, **headers) for command in commands)


def test_of_all_that_flare_can_be_ordered_only_the_list_passes():
    topics = [t for processor in ClientRequestProcessors.request_processors for t in processor.get_topics()]
    assert len(topics) > 20
    assert {topic for topic in topics if may_be_ordered(topic)} == ORDERED
    assert {"sys.shell", "train.delete_run", "train.shutdown", "train.restart"} <= set(topics) - ORDERED
    assert not any(
        ordered(topic, Party.JOB, CHILD, **FULL, admin_command="submit_job")
        for topic in topics
        if topic != "train.notify_job_status"
    )


@pytest.mark.parametrize("topic", ["train.deploy", "train.check_status", "sys.report_version", "train.get_scopes"])
def test_what_the_sites_policy_judges_cannot_ask_to_be_left_out_of_it(topic):
    right = next(iter(next(order for order in allowed.ORDERS if order.topic == topic).rights))
    assert ordered(topic, **FULL, admin_command=right)
    for wrong in (
        {"admin_command": None},
        {"admin_command": "view"},
        {"require_authz": "false"},
        {"require_authz": True},
    ):
        assert not ordered(topic, **FULL | {"admin_command": right} | wrong)
    assert not ordered(topic, job_id=JOB)


@given(
    st.one_of(
        st.text(), st.sampled_from(["local", "..", ".", "", f"../{JOB}", f"{JOB}/..", f"{JOB}\n", JOB.upper(), None, 7])
    )
)
def test_a_job_is_named_by_its_id_alone(name):
    for topic in ("scheduler.check_resource", "train.start_job", "train.abort"):
        assert ordered(topic, job_id=name) == (name == JOB)
        assert ordered(topic, job_id=JOB)
    assert not ordered(["train.abort"], job_id=JOB)


def test_a_job_process_speaks_of_its_own_job():
    note = ("train.notify_job_status", Party.JOB, CHILD)
    assert ordered(*note, job_id=JOB)
    assert not ordered(*note, job_id=OTHER_JOB)
    assert not ordered("train.notify_job_status", job_id=JOB)


@pytest.mark.parametrize("app", ["../x", "", "a/b", "a\nb", 7, ".hidden", "x" * 101])
def test_an_app_has_a_name(app):
    right = FULL | {"admin_command": "submit_job"}
    assert ordered("train.deploy", **right, app_name="app_c")
    assert not ordered("train.deploy", **right, app_name=app)


def test_the_lists_words_are_flares():
    flare = {*CHANNELS, *constants(stream_const)}
    known = {name: value for name, value in vars(allowed).items() if name.isupper() and isinstance(value, str)}
    assert set(known.values()) <= flare
    kinds = {rules.REQUEST, rules.REPLY, rules.RETURN}
    assert kinds == set(constants(defs.MessageType))
    assert "import nvflare" not in inspect.getsource(rules) + inspect.getsource(allowed)
