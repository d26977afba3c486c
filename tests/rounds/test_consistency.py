# SPDX-License-Identifier: Apache-2.0
"""Whom the sites are measured by: the majority by number, whoever answers first and however many slices it has."""

from itertools import permutations

import pytest
from flap_sam.config.experiment import Experiment
from flap_sam.errors import FlapSamError
from flap_sam.rounds.consistency import Consistency
from flap_sam.wire.messages import TrainReport
from hypothesis import given
from hypothesis import strategies as st

JOB = Experiment(backbone="auto", image_size=None)
USUAL = TrainReport(
    experiment=JOB.resolved("vit_b", 224).to_json(),
    start_digest="s" * 64,
    frozen_digest="f" * 64,
    slices=3,
    loss=None,
    steps=None,
    seconds=None,
    validation=[None, None],
    demo=False,
    weights="checkpoint",
    labels="l" * 64,
)
ODD = {
    "start": USUAL.changed(start_digest="other", slices=1),
    "frozen": USUAL.changed(frozen_digest="other"),
    "slices": USUAL.changed(start_digest="other", slices=10**9),
    "labels": USUAL.changed(labels="other"),
    "demo": USUAL.changed(demo=True),
    "size": USUAL.changed(experiment=JOB.resolved("vit_b", 512).to_json()),
    "backbone": USUAL.changed(experiment=JOB.resolved("vit_h", 224).to_json()),
}
SENTENCES = {
    "start": "started from other weights than most sites",
    "frozen": "started from other weights than most sites",
    "slices": "started from other weights than most sites",
    "labels": "classes have other names or another order than at most sites",
    "demo": "some on the demo",
    "size": "it runs vit_b at 512 px, most sites vit_b at 224 px",
    "backbone": "it runs vit_h at 224 px, most sites vit_b at 224 px",
}


def heard(reports, asked: int | None = None) -> Consistency:
    likeness = Consistency(JOB)
    for site, report in reports:
        if likeness.reference is None:
            likeness.hear(site, report, asked or len(reports))
    return likeness


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_site_decides_nothing_whenever_it_answers(odd):
    for order in permutations([("odd", ODD[odd]), ("a", USUAL), ("b", USUAL)]):
        likeness = heard(order)
        assert (likeness.reference, likeness.experiment) == (USUAL, JOB.resolved("vit_b", 224))
        likeness.check(USUAL)
        with pytest.raises(FlapSamError, match=SENTENCES[odd]):
            likeness.check(ODD[odd])


@given(st.lists(st.sampled_from(["usual", *ODD]), min_size=1, max_size=9), st.integers(0, 3))
def test_the_measure_is_what_more_than_half_of_the_asked_say(said, silent):
    asked = len(said) + silent
    likeness = heard([(f"site-{k}", {"usual": USUAL, **ODD}[name]) for k, name in enumerate(said)], asked)
    groups = ["start" if name == "slices" else name for name in said]
    majority = [name for name in set(groups) if 2 * groups.count(name) > asked]
    assert (likeness.reference is not None) == bool(majority)
    if majority:
        expected = {"usual": USUAL, **ODD}[majority[0]]
        assert likeness.reference.start_digest == expected.start_digest
        assert likeness.reference.experiment == expected.experiment


def test_without_a_majority_the_sentence_names_the_groups():
    likeness = heard([("b", USUAL), ("a", ODD["start"]), ("d", USUAL), ("c", ODD["demo"])], asked=5)
    sentence = likeness.disagreement(["a", "b", "c", "d", "e"])
    assert "more than half of the first round's 5 sites" in sentence
    assert "b, d (vit_b at 224 px, weights ssssssssssss, classes llllllllllll, own data)" in sentence
    assert "a (vit_b at 224 px, weights other, " in sentence
    assert "c (vit_b at 224 px, weights ssssssssssss, classes llllllllllll, the demo)" in sentence
    assert "e (no usable answer)" in sentence


def test_a_site_has_one_voice():
    likeness = heard([("odd", ODD["start"])], asked=3)
    with pytest.raises(FlapSamError, match="a second time"):
        likeness.hear("odd", ODD["start"], 3)
    assert likeness.reference is None


@pytest.mark.parametrize(
    "experiment",
    [
        JOB.changed(rank=4).resolved("vit_b", 224).to_json(),
        JOB.changed(ranks={"a": 1}).resolved("vit_b", 224).to_json(),
        JOB.to_json(),
        "[" * 1999,
        "{}",
        "null",
        '{"rank": 1e999}',
    ],
)
def test_who_runs_another_experiment_has_no_voice(experiment):
    likeness = Consistency(JOB)
    with pytest.raises(FlapSamError, match=r"another experiment|The experiment"):
        likeness.hear("a", USUAL.changed(experiment=experiment), 1)
    assert likeness.reference is None


@pytest.mark.parametrize("origins", [["checkpoint", "bundled", "bundled"], ["bundled", "bundled", "checkpoint"]])
def test_where_the_weights_come_from_is_what_most_say(origins):
    reports = [(f"site-{k}", USUAL.changed(weights=origin)) for k, origin in enumerate(origins)]
    assert heard(reports, asked=5).reference.weights == "bundled"
