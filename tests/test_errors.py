# SPDX-License-Identifier: Apache-2.0
"""Reasons: what leaves a site in place of a sentence, and what each of them means."""

import re

import pytest
from flap_sam.errors import OF_NO_DATA, SENTENCES, FlapSamError, Reason


def test_every_reason_has_one_sentence_of_its_own_and_no_sentence_lacks_its_reason():
    assert set(SENTENCES) == set(Reason)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    for reason in Reason:
        assert reason.sentence == SENTENCES[reason]
        assert re.fullmatch(r"[ -~]+[^.]", reason.sentence), "a clause for the round log, without an end of its own"


def test_a_code_is_a_word_that_can_hold_nothing_of_a_patient():
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in Reason)
    assert len({reason.value for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_code_that_was_sent_is_understood(reason):
    assert Reason.of(reason.value) is reason
    assert Reason.of(str(reason)) is reason


@pytest.mark.parametrize(
    "sent", [None, "", "Doe^Jane", "STOPPED", " stopped", 3, ["stopped"], {}, b"stopped", object()]
)
def test_a_code_that_is_none_of_ours_says_no_more_than_that_it_stopped(sent):
    assert Reason.of(sent) is Reason.STOPPED


def test_what_its_data_hold_decides_nothing_of_what_may_always_be_told():
    """A reason that depends on numbers of the site's data would tell of them."""
    of_data = {Reason.DIVERGED, Reason.RANGE, Reason.NORM, Reason.FORM, Reason.RESULT, Reason.STOPPED}
    assert not OF_NO_DATA & of_data


def test_an_error_says_its_sentence_here_and_its_reason_outside():
    error = FlapSamError("/data/Doe_Jane.nii is damaged.", Reason.STORE)
    assert (str(error), error.reason) == ("/data/Doe_Jane.nii is damaged.", Reason.STORE)
    assert FlapSamError("x").reason is Reason.STOPPED
    assert "Doe" not in error.reason.sentence
