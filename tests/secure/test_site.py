# SPDX-License-Identifier: Apache-2.0
"""What a hostile server, or a hostile site with it, may try at each step: refused by name, and nothing has changed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import strings
from flap_sam.secure.keys import Secrets
from flap_sam.secure.messages import STEPS, Message
from flap_sam.secure.server import SecureSum
from flap_sam.secure.strings import Exchange, PublicKeys
from flap_sam.secure.terms import SKETCH_Y, SKETCH_Z, UPDATE

from tests.secure.federation import (
    BASE,
    EXPERIMENT,
    NAMES,
    SERVER,
    Federation,
    Hospital,
    certificate,
    private_key,
    refusal,
)

A, B, C, D, E = NAMES[:5]
NO_QUESTION = hashlib.sha256().digest()
ASKED = Exchange(EXPERIMENT, "run", "job", 0, UPDATE, BASE, NO_QUESTION)
Found = dict[str, list]


def altered(message: Message, change: Callable[[Found], object]) -> Message:
    found = json.loads(message.text)
    change(found)
    return Message(json.dumps(found), message.tensors)


def signed(name: str, text: bytes, salt: int = 32, key: str | None = None) -> str:
    return private_key(key or name).sign(text, PSS(MGF1(SHA256()), salt), SHA256()).hex()


def entry(found: Found, name: str, of: str = "roster") -> dict[str, str]:
    return next(entry for entry in found[of] if entry["site"] == name)


def resigned(found: Found, name: str, exchange: Exchange = ASKED, salt: int = 32, key: str | None = None) -> None:
    """A hostile site signs whatever stands in its entry of the roster."""
    card = entry(found, name)
    public = PublicKeys(*(bytes.fromhex(card[field]) for field in ("share_key", "mask_key", "commitment")))
    card["signature"] = signed(name, strings.keys_string(exchange, name, public), salt, key)


def of_exchange(**fields: object) -> Callable[[Found], None]:
    return lambda found: resigned(found, C, replace(ASKED, **fields))


def with_key(field: str, value: Callable[[Found], str]) -> Callable[[Found], None]:
    def change(found: Found) -> None:
        entry(found, C)[field] = value(found)
        resigned(found, C)

    return change


def minted(found: Found) -> None:
    """The server puts a site of its own in C's place: the project's root signs whatever it likes."""
    public = Secrets.draw().public
    fields = zip(("share_key", "mask_key", "commitment"), public.fields, strict=True)
    entry(found, C).update({name: key.hex() for name, key in fields})
    entry(found, C)["certificate"] = certificate(C, private_key("the server's own")).hex()
    resigned(found, C, key="the server's own")


def drop(*names: str, of: str = "roster") -> Callable[[Found], None]:
    def change(found: Found) -> None:
        found[of] = [entry for entry in found[of] if entry["site"] not in names]

    return change


def put(name: str, of: str) -> Callable[[Found], None]:
    return lambda found: found[of].append(found[of][-1] | {"site": name})


BAD_ROSTERS = {
    "own key changed": (lambda f: entry(f, A).update(share_key=entry(f, B)["mask_key"]), "other keys of this site"),
    "own signature changed": (lambda f: entry(f, A).update(signature=entry(f, B)["signature"]), "other keys of this"),
    "own certificate changed": (lambda f: entry(f, A).update(certificate=certificate(A).hex()), "other keys of this"),
    "a key swapped by the server": (lambda f: entry(f, C).update(share_key="01" * 32), "signature of hospital-c"),
    "a mask key swapped": (lambda f: entry(f, C).update(mask_key="01" * 32), "signature of hospital-c"),
    "a commitment swapped": (lambda f: entry(f, C).update(commitment="01" * 32), "signature of hospital-c"),
    "a minted site": (minted, "not the one under this name"),
    "another's entry under its name": (lambda f: entry(f, C).update(entry(f, D) | {"site": C}), "not the one under"),
    "no certificate": (lambda f: entry(f, C).update(certificate="", signature=""), "not the one under this name"),
    "no signature": (lambda f: entry(f, C).update(signature=""), "signature of hospital-c"),
    "FLARE's longest salt": (lambda f: resigned(f, C, salt=222), "signature of hospital-c"),
    "signed with another's key": (lambda f: resigned(f, C, key=D), "signature of hospital-c"),
    "another base": (of_exchange(base=bytes(32)), "signature of hospital-c"),
    "another question": (of_exchange(question=bytes(32)), "signature of hospital-c"),
    "another experiment": (of_exchange(experiment=bytes(32)), "signature of hospital-c"),
    "another run": (of_exchange(run="other"), "signature of hospital-c"),
    "another job": (of_exchange(job="other"), "signature of hospital-c"),
    "another round": (of_exchange(round=1), "signature of hospital-c"),
    "another exchange": (of_exchange(exchange=SKETCH_Y), "signature of hospital-c"),
    "a key of low order": (with_key("share_key", lambda _: "00" * 32), "gives zero"),
    "a mask key of low order": (with_key("mask_key", lambda _: "01" + "00" * 31), "gives zero"),
    "another's key": (with_key("mask_key", lambda f: entry(f, D)["mask_key"]), "A key occurs twice"),
    "another's commitment": (with_key("commitment", lambda f: entry(f, A)["commitment"]), "A key occurs twice"),
    "one key for both": (with_key("mask_key", lambda f: entry(f, C)["share_key"]), "A key occurs twice"),
}
BAD_LISTS = {
    "shares: without itself": ("shares", drop(A), "lacks this one"),
    "shares: too few": ("shares", drop(C, D), "has 3 sites; expected 4 or more"),
    "shares: not asked": ("shares", put("hospital-z", "roster"), "were not asked"),
    "masked: a stranger's box": ("masked", put("hospital-z", "boxes"), "not in the roster"),
    "masked: own box": ("masked", lambda f: f["boxes"].insert(0, f["boxes"][0] | {"site": A}), "from this site"),
    "masked: too few": ("masked", drop(B, C, of="boxes"), "has 3 sites; expected 4 or more"),
    "masked: two sites": ("masked", drop(B, C, D, of="boxes"), "has 2 sites"),
    "consistency: without itself": ("consistency", drop(A, of="survivors"), "lacks this one"),
    "consistency: too few": ("consistency", drop(B, C, of="survivors"), "has 3 sites; expected 4 or more"),
    "consistency: a stranger": ("consistency", put("hospital-z", "survivors"), "sites without masks"),
    "unmask: too few": ("unmask", drop(B, C, of="signatures"), "has 3 sites; expected 4 or more"),
    "unmask: none": ("unmask", drop(*NAMES, of="signatures"), "has 0 sites"),
    "unmask: a stranger": ("unmask", put("hospital-z", "signatures"), "not in the list itself"),
}
BAD_SIGNATURES = {
    "consistency: of another": ("consistency", "survivors", lambda _: strings.masked_string(ASKED, C, bytes(32))),
    "consistency: over a list": (
        "consistency",
        "survivors",
        lambda view: strings.list_string(ASKED, C, view, NAMES[:5]),
    ),
    "unmask: over fewer": ("unmask", "signatures", lambda view: strings.list_string(ASKED, C, view, NAMES[:4])),
    "unmask: over another view": (
        "unmask",
        "signatures",
        lambda _: strings.list_string(ASKED, C, bytes(32), NAMES[:5]),
    ),
    "unmask: over the view": ("unmask", "signatures", lambda view: strings.masked_string(ASKED, C, view)),
}


def refused_at(
    federation: Federation, server: SecureSum, change: Callable[[Found], object], said: str, reason: Reason
) -> None:
    """The first site refuses the step's message once it is altered, and then the exchange ends as if nothing was."""
    hospital, step, asked = federation.hospitals[A], server.step, server.messages()
    files = {file: file.read_bytes() for file in hospital.folder.rglob("*.json")}
    remembered = hospital.book.memory
    error = refusal(lambda: hospital.answer(step, federation.asked, altered(asked[A], change)))
    assert error is not None
    assert said in str(error)
    assert error.reason is reason
    assert hospital.book.memory == remembered
    assert {file: file.read_bytes() for file in hospital.folder.rglob("*.json")} == files
    while server.step != "over":
        federation.step(server)
    assert (server.total == federation.expected(federation.names)).all()


@pytest.mark.parametrize("bad", BAD_ROSTERS)
def test_keys_that_are_not_the_sites_own_are_refused(tmp_path, bad):
    change, said = BAD_ROSTERS[bad]
    federation = Federation(5, tmp_path, least_sites=4)
    refused_at(federation, federation.until("shares"), change, said, Reason.PEERS)


@pytest.mark.parametrize("bad", BAD_LISTS)
def test_lists_of_other_sites_or_too_few_are_refused(tmp_path, bad):
    step, change, said = BAD_LISTS[bad]
    federation = Federation(5, tmp_path, least_sites=4)
    refused_at(federation, federation.until(step), change, said, Reason.LIST)


@pytest.mark.parametrize("bad", BAD_SIGNATURES)
def test_signatures_over_something_else_are_refused(tmp_path, bad):
    step, of, text = BAD_SIGNATURES[bad]
    federation = Federation(5, tmp_path, least_sites=4)
    server = federation.until(step)
    [state] = federation.hospitals[A].folder.glob("*.json")
    forged = signed(C, text(bytes.fromhex(json.loads(state.read_text())["view"])))
    change = lambda found: entry(found, C, of).update(signature=forged)  # noqa: E731
    refused_at(federation, server, change, "signature of hospital-c", Reason.PEERS)


@pytest.mark.parametrize(
    ("name", "found"),
    [(C, {"role": "lead"}), (C, {"is_authority": True}), (SERVER, {})],
    ids=["an administrator", "an authority", "the server"],
)
def test_a_certificate_of_another_party_is_refused_even_where_it_is_pinned(tmp_path, name, found):
    made = certificate(name, private_key(C), **found)
    trust = replace(Hospital(A, NAMES[:5], tmp_path)._trust, server=SERVER)
    pinned = replace(trust, peers=trust.peers | {name: hashlib.sha256(made).hexdigest()})
    assert refusal(lambda: pinned.verifier(name, made)).reason is Reason.PEERS


def keys_task(federation: Federation, **changes: object) -> Message:
    found = json.loads(federation.server().messages()[A].text)
    return Message(json.dumps(found | changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sites": [B, C, D, E]}, Reason.LIST),
        ({"sites": [A, B, C]}, Reason.LIST),
        ({"sites": [A, B, C, D, "hospital-z"]}, Reason.LIST),
        ({"sites": [B, A, C, D]}, Reason.TASK),
        ({"exchange": SKETCH_Y}, Reason.STEP),
        ({"exchange": "sketch"}, Reason.TASK),
        ({"more": 1}, Reason.TASK),
    ],
)
def test_an_exchange_is_opened_for_agreed_sites_and_a_held_update_alone(tmp_path, change, reason):
    federation = Federation(5, tmp_path, least_sites=4)
    federation.train()
    hospital = federation.hospitals[A]
    error = refusal(lambda: hospital.answer("keys", federation.asked, keys_task(federation, **change)))
    assert error.reason is reason
    assert hospital.book.memory.runs == {}
    later = replace(federation.asked, round=1)
    assert refusal(lambda: hospital.answer("keys", later, keys_task(federation))).reason is Reason.STEP
    hospital.site.forget("run")
    assert refusal(lambda: hospital.answer("keys", federation.asked, keys_task(federation))).reason is Reason.STEP


def test_no_tensors_come_with_a_step_that_has_none(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.train()
    hospital, tensors = federation.hospitals[A], {"x": torch.zeros(2, 2)}
    for step, reason in [("keys", Reason.PAYLOAD), ("shares", Reason.TASK), ("steal", Reason.TASK)]:
        message = Message(keys_task(federation).text, tensors)
        assert refusal(lambda step=step, m=message: hospital.answer(step, federation.asked, m)).reason is reason


@pytest.mark.parametrize("again", [{}, {"job": "another"}, {"round": 0, "run": "run"}])
def test_an_exchange_is_opened_once_whatever_job_asks(tmp_path, again):
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.until("masked")
    hospital, asked = federation.hospitals[A], replace(federation.asked, **again)
    hospital.hold(asked, federation.vectors[A])
    error = refusal(lambda: hospital.answer("keys", asked, keys_task(federation)))
    assert "was opened before" in str(error)
    assert error.reason is Reason.STEP


def test_a_round_that_is_over_is_not_opened_again(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    for number in (3, 5):
        federation.asked = replace(federation.asked, round=number)
        federation.train(base=bytes([number]) * 32)
        assert (federation.run().total == federation.expected(federation.names)).all()
    for number, job in [(4, "job"), (5, "job"), (5, "resumed"), (3, "job")]:
        asked = replace(federation.asked, round=number, job=job)
        federation.hospitals[A].hold(asked, federation.vectors[A])
        error = refusal(lambda asked=asked: federation.hospitals[A].answer("keys", asked, keys_task(federation)))
        assert error.reason is Reason.STEP


@pytest.mark.parametrize("asked", STEPS)
@pytest.mark.parametrize("at", STEPS)
def test_a_step_is_not_answered_out_of_order(tmp_path, at, asked):
    """At a site that waits for one step come the messages of all others, as another exchange had them."""
    federation, twin = (Federation(3, tmp_path / name, has_certificates=False) for name in ("one", "twin"))
    server, message = federation.until(at), twin.until(asked).messages()[A]
    if asked != at:
        error = refusal(lambda: federation.hospitals[A].answer(asked, federation.asked, message))
        assert error.reason is Reason.STEP
    federation.step(server)


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize("other", [{"job": "other"}, {"run": "other"}, {"round": 1}])
def test_a_step_of_another_job_run_or_round_is_refused(tmp_path, step, other):
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until(step)
    message = server.messages()[A]
    asked = replace(federation.asked, **other)
    assert refusal(lambda: federation.hospitals[A].answer(step, asked, message)).reason is Reason.STEP
    other_sum = altered(message, lambda found: found.update(exchange=SKETCH_Y))
    assert refusal(lambda: federation.hospitals[A].answer(step, federation.asked, other_sum)).reason is Reason.STEP
    federation.step(server)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_answered_once(tmp_path, step):
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until(step)
    message = server.messages()[A]
    federation.hospitals[A].answer(step, federation.asked, message)
    for _ in range(2):
        assert refusal(lambda: federation.hospitals[A].answer(step, federation.asked, message)).reason is Reason.STEP


def test_a_box_that_does_not_open_is_answered_with_null(tmp_path):
    federation = Federation(5, tmp_path, least_sites=4)
    server = federation.until("masked")
    boxes = server.messages()[A]
    swapped = altered(boxes, lambda f: entry(f, C, "boxes").update(box=entry(f, D, "boxes")["box"]))
    server.take(A, federation.hospitals[A].answer("masked", federation.asked, swapped))
    for site, message in server.messages().items():
        if site != A:
            server.take(site, federation.hospitals[site].answer("masked", federation.asked, message))
    server.close()
    federation.step(server)
    answers = {}
    federation.step(server, seen=lambda _, site, answer: answers.update({site: json.loads(answer.text)}))
    assert entry(answers[A], C, "shares")["share"] is None
    assert all(share["share"] for share in answers[B]["shares"])
    assert (server.total == federation.expected(federation.names)).all()


def test_one_list_is_signed_for_a_base_and_round_whatever_run_asks(tmp_path):
    """Two runs of one experiment start from one base with one seed: their sums may not differ by a site."""
    federation = Federation(5, tmp_path, least_sites=4, has_certificates=False)
    federation.train()
    federation.run()
    federation.asked = replace(federation.asked, run="second", job="second")
    federation.train()
    server = federation.server()
    federation.step(server)
    federation.step(server)
    federation.step(server, out=(E,))
    error = refusal(lambda: federation.step(server))
    assert "Another list of sites" in str(error)
    assert error.reason is Reason.LIST
    federation.asked = replace(federation.asked, run="third", job="third")
    federation.train()
    assert (federation.run().total == federation.expected(federation.names)).all()
    federation.asked = replace(federation.asked, run="fourth", job="fourth")
    federation.train(base=bytes(32))
    assert federation.run({"masked": (E,)}).survivors == NAMES[:4]


def test_the_same_list_with_other_caps_is_refused(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.train()
    federation.run()
    caps = dict(federation.asked.terms.caps) | {C: 5}
    federation.asked = replace(federation.asked, run="second", terms=replace(federation.asked.terms, caps=caps))
    federation.train()
    server = federation.server()
    for _ in range(3):
        federation.step(server)
    assert "other caps" in str(refusal(lambda: federation.step(server)))


def sketched(federation: Federation, width: int = 2) -> dict[str, torch.Tensor]:
    shapes = {SKETCH_Y: {}, SKETCH_Z: {"layer.Q": (4, width)}}
    federation.train(questions=shapes)
    return {"layer.Q": torch.linalg.qr(torch.randn(4, width, dtype=torch.float64))[0].float()}


def test_a_sketch_is_two_exchanges_over_one_list_with_fresh_keys(tmp_path):
    federation = Federation(5, tmp_path, least_sites=4)
    question, shown = sketched(federation), {}

    def record(step: str, site: str, answer: Message) -> None:
        if step == "keys":
            found = json.loads(answer.text)
            shown.setdefault(site, []).extend(found[name] for name in ("share_key", "mask_key", "commitment"))

    early = federation.server(SKETCH_Z, NAMES[:4], question)
    assert "expected sketch-y of the same round" in str(refusal(lambda: federation.step(early)))
    first = federation.server(SKETCH_Y)
    while first.step != "over":
        federation.step(first, out=(E,) if first.step in STEPS[2:] else (), seen=record)
    assert first.survivors == NAMES[:4]
    other = federation.server(SKETCH_Z, NAMES[:5], question)
    assert "other sites than sketch-y" in str(refusal(lambda: federation.step(other)))
    second = federation.server(SKETCH_Z, first.survivors, question)
    while second.step != "over":
        federation.step(second, seen=record)
    assert (second.total == federation.expected(NAMES[:4])).all()
    assert len({key for found in shown.values() for key in found}) == sum(map(len, shown.values())) == 3 * 9


def test_a_site_that_drops_between_the_sketches_leaves_no_sum(tmp_path):
    federation = Federation(5, tmp_path, least_sites=4, has_certificates=False)
    question = sketched(federation)
    first = federation.server(SKETCH_Y)
    while first.step != "over":
        federation.step(first)
    second = federation.server(SKETCH_Z, first.survivors, question)
    federation.step(second)
    federation.step(second)
    federation.step(second, out=(E,))
    assert refusal(lambda: federation.step(second)).reason is Reason.LIST


@pytest.mark.parametrize(
    "change",
    [
        lambda q: {"layer.Q": torch.zeros_like(q)},
        lambda q: {"layer.Q": 1.001 * q},
        lambda q: {"layer.Q": q.double()},
        lambda q: {"layer.Q": q[:, :1]},
        lambda q: {"layer.Q": torch.full_like(q, torch.nan)},
        lambda q: {"other.Q": q},
        lambda q: {"layer.Q": q, "other.Q": q},
        lambda _: {},
    ],
)
def test_a_question_that_is_not_orthonormal_or_not_the_adapters_is_refused(tmp_path, change):
    federation = Federation(3, tmp_path, has_certificates=False)
    question = sketched(federation)
    first = federation.server(SKETCH_Y)
    while first.step != "over":
        federation.step(first)
    second = federation.server(SKETCH_Z, first.survivors, change(question["layer.Q"]))
    assert refusal(lambda: federation.step(second)).reason is Reason.PAYLOAD


def test_sites_that_were_asked_another_question_do_not_verify_each_other(tmp_path):
    federation = Federation(3, tmp_path)
    question = sketched(federation)
    first = federation.server(SKETCH_Y)
    while first.step != "over":
        federation.step(first)
    second = federation.server(SKETCH_Z, first.survivors, question)
    turned = federation.server(SKETCH_Z, first.survivors, {"layer.Q": -question["layer.Q"]})
    for server, sites in ((second, (A, B)), (turned, (C,))):
        for site in sites:
            server.take(site, federation.hospitals[site].answer("keys", federation.asked, server.messages()[site]))
    second._keys[C], second._verifiers[C] = turned._keys[C], turned._verifiers[C]  # a server that does not look
    second.close()
    error = refusal(lambda: federation.step(second))
    assert "signature of hospital-c" in str(error)
    assert error.reason is Reason.PEERS


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_state_that_is_lost_drops_the_site(tmp_path, step):
    federation = Federation(5, tmp_path, least_sites=4, has_certificates=False)
    server = federation.until(step)
    hospital = federation.hospitals[A]
    if step in ("shares", "masked"):
        hospital.restart()
    else:
        [state] = hospital.folder.glob("*.json")
        assert state.stat().st_mode & 0o777 == 0o600
        state.unlink()
    error = refusal(lambda: hospital.answer(step, federation.asked, server.messages()[A]))
    assert "is lost" in str(error)
    assert error.reason is Reason.STEP
    federation.step(server, out=(A,))


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_state_of_another_opening_than_the_ledgers_drops_the_site(tmp_path, step):
    """As where a ledger was brought back from a backup, and the exchange opened again."""
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until(step)
    hospital = federation.hospitals[A]
    run = hospital.book.memory.runs["run"].model_copy(update={"number": "another"})
    hospital.book.memory = hospital.book.memory.model_copy(update={"runs": {"run": run}})
    assert "is lost" in str(refusal(lambda: hospital.answer(step, federation.asked, server.messages()[A])))


@pytest.mark.parametrize("step", ["consistency", "unmask"])
def test_a_restart_after_the_masked_vector_changes_nothing(tmp_path, step):
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until(step)
    for hospital in federation.hospitals.values():
        hospital.restart()
    while server.step != "over":
        federation.step(server)
    assert (server.total == federation.expected(federation.names)).all()


def test_a_state_that_was_rolled_back_drops_the_site_and_is_removed(tmp_path):
    """Else it could sign a second list, or give out the shares for it."""
    federation = Federation(5, tmp_path, least_sites=4, has_certificates=False)
    server = federation.until("consistency")
    hospital, message = federation.hospitals[A], server.messages()[A]
    [state] = hospital.folder.glob("*.json")
    before = state.read_bytes()
    federation.step(server)
    state.write_bytes(before)
    assert refusal(lambda: hospital.answer("consistency", federation.asked, message)).reason is Reason.STEP
    error = refusal(lambda: hospital.answer("unmask", federation.asked, server.messages()[A]))
    assert "is lost, or is not the one" in str(error)
    assert not state.exists()


def test_a_state_of_another_exchange_or_damaged_is_not_used(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until("consistency")
    found = {name: next(hospital.folder.glob("*.json")) for name, hospital in federation.hospitals.items()}
    found[A].write_bytes(found[B].read_bytes())
    found[B].write_text("{")
    for name in (A, B):
        message = server.messages()[name]
        error = refusal(lambda n=name, m=message: federation.hospitals[n].answer("consistency", federation.asked, m))
        assert error.reason is Reason.STEP
        assert not found[name].exists()


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize("moved", [3 * 3600 + 1, -1])
def test_an_exchange_is_over_after_three_hours_or_where_the_clock_goes_back(tmp_path, step, moved):
    federation = Federation(3, tmp_path, has_certificates=False)
    server = federation.until(step)
    hospital = federation.hospitals[A]
    hospital.clock.now += moved
    error = refusal(lambda: hospital.answer(step, federation.asked, server.messages()[A]))
    assert "three hours late, or this clock has gone back" in str(error)
    hospital.clock.now -= moved
    assert "is lost" in str(refusal(lambda: hospital.answer(step, federation.asked, server.messages()[A])))
    assert [*hospital.folder.glob("*")] == []


def test_nothing_is_left_at_the_end_and_old_states_are_removed(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.until("consistency")
    hospital = federation.hospitals[A]
    hospital.site.tidy()
    assert len([*hospital.folder.glob("*")]) == 1
    (hospital.folder / "broken.json").write_text("{")
    (hospital.folder / "killed.json.partial").write_text("")
    hospital.clock.now += 3 * 3600 + 1
    hospital.restart()
    hospital.site.tidy()
    assert [*hospital.folder.glob("*")] == []
    hospital.clock.now -= 3 * 3600 + 1
    other = federation.hospitals[B]
    assert len([*other.folder.glob("*")]) == 1
    other.hold(replace(federation.asked, round=1), federation.vectors[B])
    assert [*other.folder.glob("*")] == []
    whole = Federation(3, tmp_path / "whole", has_certificates=False)
    whole.train()
    whole.run()
    assert not [file for file in (tmp_path / "whole").rglob("*") if file.is_file()]


def test_a_stolen_disk_opens_nothing_of_its_own(tmp_path, monkeypatch):
    drawn = []
    draw = Secrets.draw
    monkeypatch.setattr(Secrets, "draw", lambda: drawn.append(draw()) or drawn[-1])
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.until("consistency")
    for own, hospital in zip(drawn, federation.hospitals.values(), strict=True):
        [state] = hospital.folder.glob("*.json")
        assert not any(secret.hex() in state.read_text() for secret in (own.e, own.m, own.b))
        assert hospital.site._open == hospital.site._held == {}


def test_a_released_round_is_counted_with_the_masked_vector(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)
    federation.until("masked")
    assert {hospital.book.releases for hospital in federation.hospitals.values()} == {0}
    again = Federation(3, tmp_path / "again", has_certificates=False)
    again.until("consistency")
    for hospital in again.hospitals.values():
        assert hospital.book.releases == 1
        assert hospital.book.memory.runs["run"].released == 0


def test_a_vector_that_cannot_be_made_releases_nothing(tmp_path):
    federation = Federation(3, tmp_path, has_certificates=False)

    def beyond(*_: object) -> np.ndarray:
        raise FlapSamError("x has a number beyond 1 in size, or none.", Reason.NORM)

    server = federation.until("masked")
    site = federation.hospitals[A].site
    site._held["run"] = replace(site._held["run"], vector=beyond)
    message = server.messages()[A]
    assert refusal(lambda: federation.hospitals[A].answer("masked", federation.asked, message)).reason is Reason.NORM
    assert federation.hospitals[A].book.releases == 0
