# SPDX-License-Identifier: Apache-2.0
"""FLARE's simulator as it is started here: its server hears of a dead process, and doubts it for no second."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from flap_sam.federation import simulator
from flap_sam.federation.simulator import main
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorClientRunner


@pytest.fixture
def told(monkeypatch):
    """The sites of a server that writes down whose process it is told to be dead."""
    heard = []

    @contextmanager
    def context():
        yield "context"

    monkeypatch.setattr(SimulatorClientRunner, "__init__", lambda *_: None)
    runner = SimpleNamespace(handle_dead_job=lambda name, fl_ctx: heard.append((name, fl_ctx)))
    server = SimpleNamespace(engine=SimpleNamespace(new_context=context), server_runner=runner)
    return simulator._Sites(server, "words", "of", "FLARE"), heard


@pytest.mark.parametrize("following", [SimpleNamespace(client_name="site-2"), None])
def test_only_a_site_without_a_successor_is_dead(told, monkeypatch, following):
    sites, heard = told
    monkeypatch.setattr(SimulatorClientRunner, "do_one_task", lambda *_, **__: (False, following, "gpu"))
    assert sites.do_one_task(SimpleNamespace(client_name="site-1"), 2, gpu=None) == (False, following, "gpu")
    assert heard == ([] if following else [("site-1", "context")])


def test_it_takes_the_words_of_flares_own_command_and_gives_its_status(monkeypatch, tmp_path):
    made = []

    class Runner:
        def __init__(self, **words):
            made.append(words)

        def run(self):
            return 3

    monkeypatch.setattr(simulator, "_Simulator", Runner)
    doubts, leads = (f"NVFLARE_{name}".upper() for name in simulator.AT_ONCE)
    monkeypatch.setenv(doubts, "")  # so that it is as it was once the test ends
    monkeypatch.delenv(doubts)
    monkeypatch.setenv(leads, "7")
    monkeypatch.setattr("sys.argv", ["simulator", str(tmp_path), "-w", "work", "-n", "6", "-t", "2"])
    assert main() == 3
    assert (os.environ[doubts], os.environ[leads]) == ("0", "7"), "what the user says goes before"
    (words,) = made
    asked = {"job_folder": str(tmp_path), "workspace": "work", "n_clients": 6, "threads": 2, "clients": None}
    assert asked.items() <= words.items()
