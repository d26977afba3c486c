# SPDX-License-Identifier: Apache-2.0
"""Whole attacks of a server that does not keep to the protocol, as the page's table lists them."""

import json

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure import strings
from flap_sam.secure.messages import Message
from flap_sam.secure.strings import Exchange

from tests.secure.federation import NAMES, Federation, refusal
from tests.secure.test_site import ASKED, signed

A, B, C, D, E, F = NAMES[:6]
ONE, OTHER = (A, B, C, D), (C, D, E, F)


def message(entries: str, signatures: dict[str, str], names: tuple[str, ...]) -> Message:
    listed = [{"site": name, "signature": signatures[name]} for name in names]
    return Message(json.dumps({"exchange": "update", entries: listed}))


def split_lists(federation: Federation, conspirators: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, object]]:
    """Half the sites are shown one list, half another; conspirators sign both. What each site answers at the end."""
    server = federation.until("consistency")
    masked = json.loads(server.messages()[A].text)["survivors"]
    masked = {entry["site"]: entry["signature"] for entry in masked}
    view = bytes.fromhex(json.loads(next(federation.hospitals[A].folder.glob("*.json")).read_text())["view"])
    answers, lists = {}, {ONE: {}, OTHER: {}}
    for names, sites in ((ONE, (A, B, C)), (OTHER, (D, E, F))):
        for site in sites:
            asked = message("survivors", masked, names)
            found = federation.hospitals[site].answer("consistency", federation.asked, asked)
            lists[names][site] = json.loads(found.text)["signature"]
    for site in conspirators:
        for names in (ONE, OTHER):
            lists[names][site] = signed(site, strings.list_string(ASKED, site, view, names))
    for names, signatures in lists.items():
        signers = tuple(name for name in names if name in signatures)
        asked = message("signatures", signatures, signers)
        answers[names] = {
            site: refusal(
                lambda site=site, asked=asked: federation.hospitals[site].answer("unmask", federation.asked, asked)
            )
            for site in (set(signers) - set(conspirators))
        }
    return answers


def test_two_lists_for_two_halves_do_not_both_get_their_shares(tmp_path):
    answers = split_lists(Federation(6, tmp_path, least_sites=4), (D,))
    assert answers[ONE] == {A: None, B: None, C: None}
    assert {site: error.reason for site, error in answers[OTHER].items()} == {E: Reason.LIST, F: Reason.LIST}


def test_with_2t_less_n_conspirators_both_lists_are_opened(tmp_path):
    """The page says so: 2 of 6 at t = 4. It is what the parameter `colluders` is there for."""
    answers = split_lists(Federation(6, tmp_path / "one", least_sites=4), (C, D))
    assert answers == {ONE: {A: None, B: None}, OTHER: {E: None, F: None}}
    with pytest.raises(FlapSamError, match="has 4 sites; expected 5"):
        split_lists(Federation(6, tmp_path / "two", colluders=2, least_sites=4), (C, D))


def test_a_list_is_opened_with_signatures_over_that_list_alone(tmp_path):
    """Consistency with one list, unmask with the signatures of another."""
    federation = Federation(6, tmp_path, least_sites=4)
    server = federation.until("unmask")
    view = bytes.fromhex(json.loads(next(federation.hospitals[A].folder.glob("*.json")).read_text())["view"])
    others = {name: signed(name, strings.list_string(ASKED, name, view, ONE)) for name in ONE}
    asked = message("signatures", others, ONE)
    assert refusal(lambda: federation.hospitals[A].answer("unmask", federation.asked, asked)).reason is Reason.PEERS
    federation.step(server)
    assert (server.total == federation.expected(federation.names)).all()


def test_sites_that_were_shown_other_partners_are_in_no_list(tmp_path):
    """U2 shown small to two sites, which stand in everybody's list: it fell at first."""
    federation = Federation(6, tmp_path, least_sites=4)
    server = federation.until("masked")
    for site, asked in server.messages().items():
        if site in (A, B):
            found = json.loads(asked.text)
            found["boxes"] = [box for box in found["boxes"] if box["site"] in ONE]
            asked = Message(json.dumps(found))
        answer = federation.hospitals[site].answer("masked", federation.asked, asked)
        error = refusal(lambda site=site, answer=answer: server.take(site, answer))
        assert (error is not None) == (site in (A, B))
        if error:  # a server that does not look
            server._sum += answer.tensors["masked"].numpy().view("uint32")
            server._signed["masked"][site] = bytes.fromhex(json.loads(answer.text)["signature"])
    server.close()
    for site, asked in server.messages().items():
        error = refusal(
            lambda site=site, a=asked: federation.hospitals[site].answer("consistency", federation.asked, a)
        )
        assert error.reason is (Reason.LIST if site in (A, B) else Reason.PEERS)


def test_a_signed_nonce_is_no_signature_of_ours(tmp_path):
    """FLARE signs, with the longest salt, any text that begins with the site's name; ours begin with a zero byte."""
    exchange = Exchange(b"", C, C, 0, C, b"", b"")
    view = b"v" * 32
    made = [strings.masked_string(exchange, C, view), strings.list_string(exchange, C, view, [C])]
    assert all(text[0] == 0 for text in made)
    federation = Federation(5, tmp_path, least_sites=4)
    server = federation.until("consistency")
    found = json.loads(server.messages()[A].text)
    text = strings.masked_string(
        ASKED, C, bytes.fromhex(json.loads(next(federation.hospitals[A].folder.glob("*.json")).read_text())["view"])
    )
    next(entry for entry in found["survivors"] if entry["site"] == C)["signature"] = signed(C, text, salt=222)
    asked = Message(json.dumps(found))
    assert (
        refusal(lambda: federation.hospitals[A].answer("consistency", federation.asked, asked)).reason is Reason.PEERS
    )


def test_the_shares_of_one_seed_alone_leave_a_site(tmp_path):
    """Of a site in the list the share of b, of one that is not that of m; a vector that is kept back stays masked."""
    federation = Federation(6, tmp_path, least_sites=4)
    server = federation.until("masked")
    kept_back = federation.hospitals[F].answer("masked", federation.asked, server.messages()[F])
    federation.step(server, out=(F,))
    state = json.loads(next(federation.hospitals[A].folder.glob("*.json")).read_text())
    federation.step(server)
    given = {}
    federation.step(server, seen=lambda _, site, answer: given.update({site: json.loads(answer.text)["shares"]}))
    held = {entry["site"]: entry for entry in state["shares"]}
    for entry in given[A]:
        name = entry["site"]
        assert entry["share"] == held[name]["m" if name == F else "b"]
    assert (server.total == federation.expected(server.survivors)).all()
    late = refusal(lambda: server.take(F, kept_back))
    assert late.reason is Reason.STEP
