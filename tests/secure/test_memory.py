# SPDX-License-Identifier: Apache-2.0
"""What a site remembers: survives its file, and forgets no list and no round."""

from dataclasses import replace

import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import parse
from flap_sam.secure.memory import OLDEST, Memory
from flap_sam.secure.messages import STEPS
from flap_sam.secure.terms import SKETCH_Y, SKETCH_Z, UPDATE, Asked

from tests.secure.federation import NAMES, terms

ASKED = Asked(terms(4), "run", "job", 2)
BASE = b"b" * 32


def opened(memory: Memory = Memory(), asked: Asked = ASKED, exchange: str = UPDATE) -> Memory:  # noqa: B008
    memory.check_opens(asked, exchange, NAMES[:4])
    return memory.opens(asked, exchange, "00", 100.0)


def reason(call, *args: object) -> Reason:
    with pytest.raises(FlapSamError) as refusal:
        call(*args)
    return refusal.value.reason


def test_it_survives_its_file():
    memory = opened().reaches(ASKED, "shares", 101.0).reaches(ASKED, "masked", 102.0, is_released=True)
    memory = memory.signs(ASKED, BASE, NAMES[:4], 103.0)
    assert parse(Memory, memory.to_json()) == memory
    assert memory.runs["run"].released == 2
    assert parse(Memory, "{}") == Memory()


@pytest.mark.parametrize(
    "later", [ASKED, replace(ASKED, job="resumed"), replace(ASKED, round=1), replace(ASKED, round=0)]
)
def test_no_round_is_opened_twice_or_after_a_later_one(later):
    assert reason(opened().check_opens, later, UPDATE, NAMES[:4]) is Reason.STEP
    opened(opened(), replace(later, round=3))


def test_what_was_released_and_signed_is_known_in_later_rounds():
    memory = opened().reaches(ASKED, "masked", 101.0, is_released=True).signs(ASKED, BASE, NAMES[:4], 102.0)
    later = opened(memory, replace(ASKED, round=3))
    assert later.runs["run"].released == 2
    assert later.runs["run"].signed is None
    assert later.lists == memory.lists


def test_sketch_z_follows_a_signed_sketch_y_of_its_round_and_job_over_the_same_sites():
    first = opened(exchange=SKETCH_Y)
    assert reason(first.check_opens, ASKED, SKETCH_Z, NAMES[:4]) is Reason.STEP
    signed = first.signs(ASKED, BASE, NAMES[:4], 101.0)
    assert reason(signed.check_opens, ASKED, SKETCH_Z, NAMES[:3]) is Reason.LIST
    assert reason(signed.check_opens, replace(ASKED, job="other"), SKETCH_Z, NAMES[:4]) is Reason.STEP
    assert reason(signed.check_opens, replace(ASKED, round=3), SKETCH_Z, NAMES[:4]) is Reason.STEP
    second = opened(signed, exchange=SKETCH_Z)
    assert reason(second.check_opens, ASKED, SKETCH_Y, NAMES[:4]) is Reason.STEP
    assert reason(second.signs, ASKED, BASE, NAMES[:3], 102.0) is Reason.LIST


@pytest.mark.parametrize("at", STEPS)
def test_the_next_step_alone_is_admitted(at):
    memory = opened().reaches(ASKED, at, 101.0)
    for step in STEPS:
        if STEPS.index(step) == STEPS.index(at) + 1:
            assert memory.at(ASKED, UPDATE, step).step == at
        else:
            assert reason(memory.at, ASKED, UPDATE, step) is Reason.STEP


def test_an_exchange_is_over_three_hours_after_it_was_opened():
    run = opened().reaches(ASKED, "shares", 200.0).runs["run"]
    assert [run.is_over(now) for now in (199.9, 200.0, 100.0 + OLDEST, 100.1 + OLDEST)] == [True, False, False, True]


def test_one_list_and_one_set_of_caps_for_a_base_and_round():
    memory = opened().signs(ASKED, BASE, NAMES[:4], 101.0)
    assert memory.signs(ASKED, BASE, NAMES[:4], 102.0).lists == memory.lists
    assert reason(memory.signs, ASKED, BASE, NAMES[:3], 102.0) is Reason.LIST
    caps = replace(ASKED, terms=replace(ASKED.terms, caps=dict(ASKED.terms.caps) | {NAMES[0]: 3}))
    assert reason(memory.signs, caps, BASE, NAMES[:4], 102.0) is Reason.LIST
    assert len(memory.signs(ASKED, bytes(32), NAMES[:3], 102.0).lists) == 2
