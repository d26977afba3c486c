# SPDX-License-Identifier: Apache-2.0
"""The sum is right over those who stayed, whoever drops out when, or there is none; a wrong answer is refused."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import keys
from flap_sam.secure.messages import MASKED_TENSOR, STEPS, UNMASK, Message
from flap_sam.secure.signatures import KitIdentity
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.secure.federation import NAMES, SIZE, Federation, certificate, private_key, refusal

OPEN = {"has_certificates": False}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_dropouts_at_any_steps_leave_the_right_sum_or_none(data):
    n = data.draw(st.integers(3, 7))
    colluders = data.draw(st.integers(0, n - 2))
    least = data.draw(st.integers(colluders + 2, n))
    gone_at = data.draw(st.lists(st.sampled_from([None, None, None, *STEPS]), min_size=n, max_size=n))
    drops = {step: tuple(name for name, at in zip(NAMES, gone_at, strict=False) if at == step) for step in STEPS}
    left = {
        step: [name for name, at in zip(NAMES, gone_at, strict=False) if at is None or STEPS.index(at) > number]
        for number, step in enumerate(STEPS)
    }
    threshold = (len(left["keys"]) + colluders) // 2 + 1
    fewest = {step: max(least, threshold if step != "keys" else 0) for step in STEPS}
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(n, Path(folder), colluders, least, **OPEN)
        federation.train()
        if any(len(left[step]) < fewest[step] for step in STEPS):
            with pytest.raises(FlapSamError, match="closes without a sum"):
                federation.run(drops)
            return
        server = federation.run(drops)
    assert server.survivors == tuple(left["masked"])
    assert len(server.survivors) >= colluders + 2
    assert (server.total == federation.expected(server.survivors)).all()


@pytest.mark.parametrize(("gone", "at"), [((), "keys"), (NAMES[3:5], "masked"), (NAMES[1:3], "unmask")])
def test_sums_with_certificates_are_right(tmp_path, gone, at):
    federation = Federation(6, tmp_path, least_sites=4)
    federation.train()
    server = federation.run({at: gone})
    assert (server.total == federation.expected(server.survivors)).all()
    assert server.messages() == {} or server.step == "over"
    assert all(
        hospital.book.releases == (name not in gone or at != "masked")
        for name, hospital in federation.hospitals.items()
    )


def altered(message: Message, change: Callable[[dict], object]) -> Message:
    found = json.loads(message.text)
    return Message(json.dumps(change(found) or found), message.tensors)


def zero(field: str, count: int) -> Callable[[dict], object]:
    return lambda found: found.update({field: "00" * count})


def other_vector(dtype: torch.dtype, size: int) -> Callable[[Message], Message]:
    return lambda message: Message(message.text, {MASKED_TENSOR: torch.zeros(size, dtype=dtype)})


BAD = {
    "keys: no certificate": ("keys", lambda m: altered(m, zero("certificate", 0)), Reason.PEERS),
    "keys: no signature": ("keys", lambda m: altered(m, zero("signature", 0)), Reason.PEERS),
    "keys: a signature of nobody": ("keys", lambda m: altered(m, zero("signature", 256)), Reason.PEERS),
    "keys: another base than signed": ("keys", lambda m: altered(m, zero("base", 32)), Reason.PEERS),
    "keys: another key than signed": ("keys", lambda m: altered(m, zero("mask_key", 32)), Reason.PEERS),
    "keys: another exchange": ("keys", lambda m: altered(m, lambda f: f.update(exchange="sketch-y")), Reason.STEP),
    "keys: tensors": ("keys", lambda m: Message(m.text, {"x": torch.zeros(1)}), Reason.RESULT),
    "shares: one short": ("shares", lambda m: altered(m, lambda f: f["boxes"].pop()), Reason.RESULT),
    "shares: no text": ("shares", lambda _: Message(None), Reason.RESULT),
    "masked: another type": ("masked", other_vector(torch.int64, SIZE), Reason.RESULT),
    "masked: another length": ("masked", other_vector(torch.int32, SIZE + 1), Reason.RESULT),
    "masked: no vector": ("masked", lambda m: Message(m.text), Reason.RESULT),
    "masked: no signature": ("masked", lambda m: altered(m, zero("signature", 256)), Reason.PEERS),
    "consistency: no signature": ("consistency", lambda m: altered(m, zero("signature", 256)), Reason.PEERS),
    "unmask: one short": ("unmask", lambda m: altered(m, lambda f: f["shares"].pop()), Reason.RESULT),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_wrong_answer_is_refused_and_the_others_go_on(tmp_path, bad):
    step, make, reason = BAD[bad]
    federation = Federation(5, tmp_path, least_sites=4)
    server = federation.until(step)
    asked = server.messages()
    for number, site in enumerate(server.sites):
        answer = federation.hospitals[site].answer(step, federation.asked, asked[site])
        if number == 0:
            wrong = make(answer)
            assert refusal(lambda wrong=wrong: server.take(NAMES[0], wrong)).reason is reason
            assert server.answered == ()
        else:
            server.take(site, answer)
    server.close()
    while server.step != "over":
        federation.step(server)
    assert server.survivors == (NAMES[1:5] if step in STEPS[:3] else NAMES[:5])
    assert (server.total == federation.expected(server.survivors)).all()


def test_answers_twice_late_or_of_others_are_refused(tmp_path):
    federation = Federation(3, tmp_path, **OPEN)
    federation.train()
    server = federation.server()
    asked = server.messages()[NAMES[0]]
    answer = federation.hospitals[NAMES[0]].answer("keys", federation.asked, asked)
    server.take(NAMES[0], answer)
    for site in (NAMES[0], "hospital-z"):
        assert refusal(lambda site=site: server.take(site, answer)).reason is Reason.STEP
    assert refusal(lambda: server.take(NAMES[1], answer)).reason is Reason.PEERS  # the keys of another
    assert "1 sites have answered the step keys, expected 3" in str(refusal(server.close))
    assert refusal(lambda: server.take(NAMES[1], answer)).reason is Reason.STEP


def test_a_site_with_another_base_is_out_and_a_tie_is_no_sum(tmp_path):
    federation = Federation(5, tmp_path, least_sites=4)
    federation.train()
    federation.hospitals[NAMES[2]].hold(federation.asked, federation.vectors[NAMES[2]], base=bytes(32))
    server = federation.run()
    assert server.survivors == (NAMES[0], NAMES[1], NAMES[3], NAMES[4])
    assert (server.total == federation.expected(server.survivors)).all()
    tie = Federation(4, tmp_path / "tie", least_sites=3)
    tie.train()
    for name in NAMES[:2]:
        tie.hospitals[name].hold(tie.asked, tie.vectors[name], base=bytes(32))
    assert "no payload that most sites" in str(refusal(lambda: tie.step(tie.server())))


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little")], ids=["zero", "one"])
def test_a_site_with_a_key_of_low_order_is_out(tmp_path, point):
    federation = Federation(5, tmp_path, **OPEN, least_sites=4)
    federation.train()
    server = federation.server()
    asked = server.messages()
    answer = federation.hospitals[NAMES[0]].answer("keys", federation.asked, asked[NAMES[0]])
    bad = altered(answer, lambda found: found.update(share_key=point.hex()))
    assert refusal(lambda: server.take(NAMES[0], bad)).reason is Reason.PEERS


@pytest.mark.parametrize("dropped", [(), (NAMES[4],)], ids=["of b", "of m"])
def test_a_wrong_share_is_noticed_and_there_is_no_sum(tmp_path, dropped):
    federation = Federation(5, tmp_path, **OPEN, least_sites=4)
    federation.train()
    server = federation.server()
    for step in STEPS[:-1]:
        federation.step(server, dropped if step != "keys" and step != "shares" else ())
    for site, message in server.messages().items():
        answer = federation.hospitals[site].answer(UNMASK, federation.asked, message)
        if site == NAMES[0]:
            answer = altered(answer, lambda found: found["shares"][-1].update(share="00" * 16))
        server.take(site, answer)
    assert "is not what it has published; a share is wrong" in str(refusal(server.close))
    assert server.total is None


@pytest.mark.parametrize("bad", [1, 2])
def test_boxes_that_do_not_open_are_noted_and_t_others_are_enough(tmp_path, bad):
    """Five sites, t = 4: with two bad boxes of a site its secret has three shares."""
    federation = Federation(5, tmp_path, **OPEN, least_sites=4)
    server = federation.until("shares")

    def spoil(found: dict) -> None:
        for box in found["boxes"][:bad]:
            box["box"] = "00" * 60

    for site, message in server.messages().items():
        answer = federation.hospitals[site].answer("shares", federation.asked, message)
        server.take(site, altered(answer, spoil) if site == NAMES[0] else answer)
    server.close()
    while server.step != UNMASK:
        federation.step(server)
    error = refusal(lambda: federation.step(server))
    if bad == 1:
        assert error is None
        assert (server.total == federation.expected(server.survivors)).all()
    else:
        assert "closes without a sum: there are 3 shares of a secret of hospital-a, expected 4" in str(error)


def test_two_sites_with_one_public_key_are_not_both_taken(tmp_path):
    """The root has certified one key under two names: one machine stands for two sites."""
    federation = Federation(4, tmp_path, least_sites=3)
    federation.train()
    server, twin = federation.server(), federation.hospitals[NAMES[1]]
    twin.site._identity = KitIdentity(certificate(NAMES[1], private_key(NAMES[0])), private_key(NAMES[0]))
    asked = server.messages()
    for name in NAMES[:2]:
        answer = federation.hospitals[name].answer("keys", federation.asked, asked[name])
        error = refusal(lambda name=name, answer=answer: server.take(name, answer))
        assert error is None if name == NAMES[0] else "the public key of another site" in str(error)
    assert server.answered == NAMES[:1]


def test_a_site_may_not_give_a_key_that_another_gave(tmp_path, monkeypatch):
    secrets = keys.Secrets.draw()
    monkeypatch.setattr(keys.Secrets, "draw", lambda: secrets)
    federation = Federation(4, tmp_path, **OPEN, least_sites=3)
    federation.train()
    assert "A key occurs twice" in str(refusal(lambda: federation.step(federation.server())))
