# SPDX-License-Identifier: Apache-2.0
"""What is noted of one scan, and what the notes of a site add up to."""

import json

import numpy as np
import pytest
from flap_sam.data.findings import ERROR, WARNING, Finding, Range, Report, ScanFacts, SiteFacts
from hypothesis import given
from hypothesis import strategies as st

from tests.data.volumes import EYE


def scan(id="x", split="train", label=(0, 1, 2), **changes) -> ScanFacts:
    """A scan of three slices, each with one label everywhere."""
    rng = np.random.default_rng(0)
    labels = np.broadcast_to(np.array(label, np.uint8)[:, None, None], (3, 9, 7))
    facts = {"image": rng.integers(0, 900, (3, 9, 7)).astype(np.int16), "label": labels, "spacing": (5.0, 0.8, 0.7)}
    return ScanFacts(**{"id": id, "split": split, **facts, "affine": EYE, "lowest": -3.0, "highest": 9.0, **changes})


def site_of(*scans) -> SiteFacts:
    site = SiteFacts("A", ("kidney", "tumour"))
    for one in scans:
        site.add(one)
    return site


ODD = {
    "an unknown label": ({"label": (0, 1, 3)}, ERROR, "holds the label 3, expected 0 to 2"),
    "no label": ({"label": (0, 0, 0)}, WARNING, "mask is empty"),
    "one intensity": ({"lowest": 4.5, "highest": 4.5}, ERROR, "one intensity 4.5 everywhere"),
    "a note of its reader": ({"notes": ("x.nii is odd.",)}, WARNING, "x.nii is odd."),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_in_one_scan_is_noted_with_its_name(what):
    changes, severity, words = ODD[what]
    site = site_of(scan("sound"), scan("odd", **changes))
    (found,) = site.findings
    assert (found.severity, found.site, found.case) == (severity, "A", "odd")
    assert words in found.sentence
    assert len(site.cases) == 2, "it is counted all the same"


def test_a_site_in_figures():
    site = site_of(scan("a"), scan("b", label=(0, 1, 1)), scan("c", "test", spacing=(2.5, 0.8, 0.7)))
    site.expected.update(["train", "train", "train", "test"])
    summary = site.summary()
    assert summary.expected == {"train": 3, "validation": 0, "test": 1}
    assert summary.whole == {"train": 2, "validation": 0, "test": 1}
    assert summary.holding == {"kidney": 3, "tumour": 2}
    assert summary.ranges["slice_mm"] == Range(5.0, 2.5, 5.0)
    assert summary.ranges["slices"] == Range(3, 3, 3)


def test_a_site_without_a_whole_case_has_no_ranges():
    summary = SiteFacts("A", ("kidney",)).summary()
    assert (summary.holding, summary.ranges) == ({"kidney": 0}, {})


@given(slope=st.floats(0.1, 9), intercept=st.floats(-2000, 2000))
def test_intensities_are_looked_at_in_the_scans_own_unit(slope, intercept):
    facts = scan(slope=slope, intercept=intercept)
    (case,) = site_of(facts).cases
    expected = np.percentile(facts.image * slope + intercept, (0.5, 99.5))
    assert (case.look.low, case.look.high) == pytest.approx(tuple(expected))
    assert case.look.organ == pytest.approx(np.median(facts.image[facts.label > 0]) * slope + intercept)


def test_range():
    assert Range.of(iter([4, 1, 2])) == Range(2.0, 1.0, 4.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_a_range_is_numpys(values):
    found = Range.of(values)
    assert (found.median, found.minimum, found.maximum) == pytest.approx((np.median(values), min(values), max(values)))


@pytest.mark.parametrize("severities", [[], [WARNING], [ERROR], [WARNING, ERROR]])
def test_errors_fail_and_warnings_do_not(severities):
    findings = tuple(Finding(severity, "A", None, "It is odd.") for severity in severities)
    report = Report("DIR", ("kidney",), (site_of(scan()).summary(),), findings, (object(),))
    assert report.failed == (ERROR in severities)
    told = json.loads(report.to_json())
    assert (told["failed"], len(told["findings"])) == (report.failed, len(severities))
    assert "pictures" not in told
