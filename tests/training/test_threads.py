# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest
import torch
from flap_sam.training import threads
from flap_sam.training.site_state import SiteState
from flap_sam.training.threads import Machine, usable_cores
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 200), st.floats(0, 200), st.integers(1, 50))
def test_sites_together_never_take_more_than_is_free_and_each_takes_one_at_least(cores, busy, sites):
    machine = Machine(cores, busy, max(0.0, cores - busy), sites)
    assert 1 <= machine.threads <= cores
    if machine.threads > 1:
        assert sites * machine.threads <= cores - busy + 0.5


@pytest.mark.parametrize(
    ("cores", "busy", "total", "sites", "expected"),
    [(2, 0, 2, 1, 2), (2, 1, 2, 1, 1), (2, 0, 2, 6, 1), (16, 0.3, 16, 2, 8), (2, 40, 64, 1, 2), (2, 64, 64, 1, 1)],
)
def test_the_share_of_a_site(cores, busy, total, sites, expected):
    """The last two are in a control group of two cores, on a machine of 64."""
    assert Machine(cores, busy, total - busy, sites).threads == expected


@pytest.mark.parametrize(
    ("by_site", "by_user", "expected"),
    [(3, "2", 3), (None, "2", 2), (None, "", None), (None, "0", None), (None, "many", None), (None, None, None)],
)
def test_the_site_chooses_before_the_user_and_the_user_before_the_machine(monkeypatch, by_site, by_user, expected):
    monkeypatch.delenv(threads.GIVEN, raising=False)
    if by_user is not None:
        monkeypatch.setenv(threads.GIVEN, by_user)
    assert threads.chosen(by_site) == expected


@pytest.mark.parametrize(
    ("by_site", "by_user", "kept", "expected"),
    [(3, "2", 4, 3), (None, "2", 4, 2), (None, "", 4, 4), (None, "", None, 5)],
)
def test_a_run_goes_on_with_its_number_unless_somebody_chooses_another(monkeypatch, by_site, by_user, kept, expected):
    before = torch.get_num_threads()
    monkeypatch.setenv(threads.GIVEN, by_user)
    monkeypatch.setattr(threads, "share", lambda: 5)
    try:
        threads.settle(by_site, kept)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000", "cpu.max": "800000 100000"}, 1),
        ("0::/\n", {}, 8),
        ("4:cpu,cpuacct:/c\n0::/\n", {"cpu/c/cpu.cfs_quota_us": "200000", "cpu/c/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu,cpuacct:/c\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
    ],
)
def test_quotas_of_control_groups_hold(tmp_path, monkeypatch, groups, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "OWN_CGROUP", tmp_path / "own")
    assert usable_cores() == expected


def test_a_busy_program_is_seen_and_so_is_a_site_at_work():
    """Both are real processes: one that computes, one that bears the name of FLARE's worker and computes too."""
    busy = "while True: pass"
    before = Machine.now()
    other = subprocess.Popen([sys.executable, "-c", busy])
    site = subprocess.Popen([sys.executable, "-c", busy, threads.AT_WORK[0]])
    try:
        during = Machine.now()
    finally:
        for process in (other, site):
            process.kill()
            process.wait()
    assert during.sites == before.sites + 1
    assert during.busy > 0.1  # of the two that compute, one counts; the machine may be full of others


def test_a_run_keeps_its_number_of_threads(tmp_path):
    state = SiteState(tmp_path / "run" / "A", "experiment")
    assert state.threads() is None
    before = torch.get_num_threads()
    try:
        for number, taken in enumerate((2, 1)):
            torch.set_num_threads(taken)
            state.save(number, {"a": torch.zeros(3)}, {})
            assert state.threads() == taken
    finally:
        torch.set_num_threads(before)


def test_a_damaged_state_has_no_number(tmp_path):
    state = SiteState(tmp_path / "run" / "A", "experiment")
    state.save(0, {"a": torch.zeros(3)}, {})
    for path in state.folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:9])
    assert state.threads() is None


def test_threads_wait_without_spinning():
    code = "import flap_sam, os; print(os.environ['OMP_WAIT_POLICY'])"
    clean = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    for environment, expected in ((clean, "passive"), (clean | {"OMP_WAIT_POLICY": "active"}, "active")):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
