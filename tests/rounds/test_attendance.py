# SPDX-License-Identifier: Apache-2.0
"""Sites that connect while a job goes on: they take part from the next round, and are measured as the others."""

from collections.abc import Mapping

import pytest
from flap_sam.config.run_policy import RunPolicy
from flap_sam.records import run_record
from flap_sam.rounds.attendance import Attendance
from nvflare.app_common.abstract.fl_model import FLModel

from tests.federation.test_controller import FAULTS, SITES, THREE, Federation, Spoil, plain, reporting

__all__ = ["plain"]


class Connecting(Mapping):
    """Sites with their slices; some connect once the federation has been asked so many tasks."""

    def __init__(self, slices: dict[str, int], later: dict[str, int]) -> None:
        self.slices, self.later, self.tasks = slices, later, 0

    def __getitem__(self, site: str) -> int:
        return self.slices[site]

    def __iter__(self):
        return iter([site for site in self.slices if self.later.get(site, 0) <= self.tasks])

    def __len__(self) -> int:
        return len(list(iter(self)))


def joining(slices: dict[str, int], later: dict[str, int], spoil: Spoil | None = None) -> tuple[Connecting, Spoil]:
    sites = Connecting(slices, later)

    def on_answer(site: str, task_name: str, answer: FLModel) -> None:
        sites.tasks += site == "site-1"
        if spoil:
            spoil(site, task_name, answer)

    return sites, on_answer


def test_a_site_that_connects_later_takes_part_from_the_next_round_on(plain, tmp_path):
    sites, spoil = joining(THREE, {"site-3": 1})
    federation = Federation(plain.changed(rounds=3), tmp_path, spoil, sites)
    assert federation.panics == []
    assert [list(r["sites"]) for r in federation.rounds(tmp_path)] == [list(SITES), list(THREE), list(THREE)]
    assert [asked for _, _, asked in federation.asked] == [list(SITES), *[list(THREE)] * (len(federation.asked) - 1)]
    assert run_record.read(tmp_path / "results").attempts[0].sites == list(SITES)


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS)
def test_and_is_measured_as_the_others_before_it_counts(plain, tmp_path, spoil, sentence):
    sites, spoil = joining({"site-1": 1, "site-3": 1, "site-2": 3}, {"site-2": 1}, spoil)
    federation = Federation(plain, tmp_path, spoil, sites, min_sites=1)
    assert federation.panics == []
    first, second = federation.rounds(tmp_path)
    assert (list(first["sites"]), first["refused"]) == (["site-1", "site-3"], {})
    assert (list(second["sites"]), list(second["refused"])) == (["site-1", "site-3"], ["site-2"])
    assert sentence in second["refused"]["site-2"]


@pytest.mark.parametrize("registered", [True, False])
def test_an_unregistered_site_does_not_join_a_deployed_federation(plain, tmp_path, registered):
    sites, spoil = joining(THREE, {"site-3": 1})
    known = THREE if registered else SITES
    federation = Federation(plain, tmp_path, spoil, sites, deployed=True, largest_slices=dict(known))
    assert federation.panics == []
    assert [list(r["sites"]) for r in federation.rounds(tmp_path)] == [list(SITES), list(known)]


def test_a_site_that_joins_with_more_slices_than_registered_does_not_count(plain, tmp_path):
    sites, spoil = joining(THREE, {"site-3": 1}, reporting("slices", 9, "site-3"))
    federation = Federation(plain, tmp_path, spoil, sites, deployed=True, min_sites=1, largest_slices=THREE)
    assert "9 training slices; expected 1 to 1, its registered" in federation.rounds(tmp_path)[1]["refused"]["site-3"]


def test_one_that_would_leave_a_robust_rule_without_meaning_is_told_of_once(small):
    """Krum withstands one of five sites, and would have to withstand two of six."""
    said = []

    job = small.changed(robust="krum", hostile_share=0.34)
    connected = [f"site-{k}" for k in range(1, 6)]
    attendance = Attendance(lambda: connected, job, RunPolicy(), deployed=False, say=said.append)
    before = list(attendance.sites)
    connected.append("site-6")
    for number in (1, 2):
        attendance.renew(number)
    assert attendance.sites == before
    assert len(said) == 1
    assert said[0].startswith("site-6 has connected and does not join: Rounds may close with 6 sites")
