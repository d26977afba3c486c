# SPDX-License-Identifier: Apache-2.0
import pytest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.records.scores import Evaluation
from flap_sam.wire.exchange import Answer, Task
from flap_sam.wire.messages import (
    SPOKEN,
    TrainReport,
    check_version,
    clean_reason,
    from_meta,
    run_name,
    to_meta,
    version_of,
)
from hypothesis import given
from hypothesis import strategies as st

REPORT = TrainReport(
    experiment="{}",
    start_digest="",
    frozen_digest="",
    slices=7,
    loss=0.5,
    steps=3,
    seconds=1.5,
    validation=[0.5, None],
    demo=False,
    weights="bundled",
    labels="ab",
)


def test_round_trip():
    assert from_meta(TrainReport, to_meta(REPORT), classes=2) == REPORT


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("slices", -1),
        ("slices", 7.0),
        ("slices", True),
        ("slices", 10**400),
        ("loss", float("nan")),
        ("loss", 1e200),
        ("seconds", -1.0),
        ("loss", "0.5"),
        ("demo", 1),
        ("weights", "mine"),
        ("weights", True),
        ("weights", ["bundled"]),
        ("experiment", None),
        ("start_digest", "x" * 5000),
        ("validation", [0.5]),
        ("validation", [0.5, 1.5]),
        ("validation", "ab"),
    ],
)
def test_a_bad_entry_is_named(entry, value):
    with pytest.raises(FlapSamError, match=rf"refused: {entry}(\.1)? is .*, expected "):
        from_meta(TrainReport, {**to_meta(REPORT), entry: value}, classes=2)


def test_missing_and_unknown_entries_are_refused():
    whole = to_meta(REPORT)
    for found, sentence in (
        (None, "it is None, expected an object"),
        ({}, "slices is missing"),
        ({**whole, "patient": "x"}, "patient is unknown"),
        (whole | {"loss": 1.0, 3: 4}, "3 is unknown"),
    ):
        with pytest.raises(FlapSamError, match=f"The report is refused: {sentence}"):
            from_meta(TrainReport, found, classes=2)
    with pytest.raises(FlapSamError, match="validation_cases is missing"):
        from_meta(Evaluation, whole, classes=2)


def test_a_report_of_none_is_a_report():
    bare = REPORT.changed(validation=[None, None])
    assert from_meta(TrainReport, to_meta(bare), classes=2) == bare


def test_a_peers_sentence_cannot_forge_a_log():
    reason = clean_reason("fine\n2026 ERROR all lost\x1b[31m" + "y" * 9000)
    assert "\n" not in reason
    assert "\x1b" not in reason
    assert len(reason) <= 2000


def test_a_distance_may_be_large_and_a_dice_may_not():
    whole = to_meta(
        Evaluation(
            validation=[0.5],
            validation_cases=1,
            test=[0.5],
            test_spread=[None],
            test_with=[1],
            test_missed=[0],
            test_false_positives=[0],
            test_cases=1,
            hausdorff=[120.5],
            surface_dice=[1.0],
        )
    )
    assert from_meta(Evaluation, whole, classes=1).hausdorff == [120.5]
    for found in ([1.0], [-1], [True], [1, 1], [10**10], 1):
        for entry in ("test_with", "test_missed", "test_false_positives"):
            with pytest.raises(FlapSamError, match=rf"refused: {entry}(\.0)? is .*, expected "):
                from_meta(Evaluation, {**whole, entry: found}, classes=1)
    for entry in ("surface_dice", "test_spread"):
        with pytest.raises(FlapSamError, match=rf"refused: {entry}\.0 is 1.5, expected less than or equal to 1"):
            from_meta(Evaluation, {**whole, entry: [1.5]}, classes=1)
    with pytest.raises(FlapSamError, match=r"refused: hausdorff\.0 is inf, expected a finite number"):
        from_meta(Evaluation, {**whole, "hausdorff": [float("inf")]}, classes=1)


@pytest.mark.parametrize("name", [None, "", "../up", "a/b", "A", "x" * 65, "-a", 3])
def test_the_name_of_a_run_is_a_folders_and_nothing_else(name):
    assert run_name("20260102-a") == "20260102-a"
    with pytest.raises(FlapSamError, match="the name of the run"):
        run_name(name)


@given(version=st.one_of(st.integers(), st.none(), st.booleans(), st.floats(), st.text(), st.just([2])))
def test_another_version_than_the_one_spoken_is_refused_naming_both(version):
    if type(version) is int and version == SPOKEN:
        check_version("task", version, Reason.VERSION)
        return
    named = f"of version {version} " if type(version) is int else "version is "
    with pytest.raises(FlapSamError, match=rf"^The task is refused: .*{named}.* {SPOKEN}") as refused:
        check_version("task", version, Reason.VERSION)
    assert refused.value.reason == Reason.VERSION


def test_a_message_without_a_version_is_of_the_first():
    assert version_of({}) == 1
    for message in (Task("train", "{}", "run", 0, 1, {}), Answer(0, {}, {})):
        assert version_of(message.entries) == SPOKEN
