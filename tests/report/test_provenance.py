# SPDX-License-Identifier: Apache-2.0
"""What left the sites, with which settings, by which software, into which files."""

import pytest
from flap_sam.config.experiment import METHODS, Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.records.results import BEST, FINAL
from flap_sam.records.run_record import LOCAL
from flap_sam.report import provenance
from flap_sam.report.run import read
from flap_sam.wire import payload

from tests.report.runs import EXPERIMENT, made_run


def run_of(folder, **settings):
    made_run(folder, **settings)
    return read(folder)


@pytest.mark.parametrize("method", METHODS)
def test_what_travels_is_counted_part_by_part_and_is_all_that_is_sent(tmp_path, method):
    experiment = Experiment(backbone="vit_tiny", image_size=32, rounds=3, method=method)
    section = provenance.privacy(run_of(tmp_path, experiment=experiment, layers=()))
    (table,) = section.tables
    numbers = [int(cells[1].replace(",", "")) for cells in table.rows]
    assert min(numbers) > 0
    sent = sum(shape.numel() for shape in map(_size, payload.sent(experiment).values()))
    assert sum(numbers) == int(table.foot[0][1].replace(",", "")) == sent


def _size(shape):
    import torch

    return torch.Size(shape)


def test_what_a_setting_makes_leave_is_told(tmp_path):
    plain = provenance.privacy(run_of(tmp_path / "plain"))
    assert not any("surface" in point or "pictures" in point for point in plain.points)
    experiment = EXPERIMENT.changed(surface_tolerance=2.0, payload_dtype="int8", ranks={"site-1": 2})
    told = provenance.privacy(run_of(tmp_path / "more", experiment=experiment, pictures=True))
    assert any("surface measures" in point for point in told.points)
    assert any("pictures above were collected" in point for point in told.points)
    assert told.tables[0].note == "As int8. Sites of a lower rank send less."


def test_without_a_federation_nothing_left(tmp_path):
    section = provenance.privacy(run_of(tmp_path, setting=LOCAL, sites=["A"], layers=()))
    assert (list(section.tables), list(section.points)) == ([], [])
    assert section.sentences[0].startswith("Nothing:")


def test_every_setting_is_listed_and_the_default_only_beside_what_differs():
    policy = dict(RunPolicy(min_sites=2, largest_slices={"B": 3}))
    section = provenance.configuration(EXPERIMENT, policy, without=["seed"])
    own, run = section.tables
    assert [cells[0] for cells in own.rows] == [name for name in Experiment.model_fields if name != "seed"]
    assert [cells[0] for cells in run.rows] == [*RunPolicy.model_fields]
    rows = {cells[0]: list(cells[1:]) for cells in [*own.rows, *run.rows]}
    assert rows["rank"] == ["4", "32"]
    assert rows["method"] == ["flap_sam", ""]
    assert rows["min_sites"] == ["2", "none"]
    assert rows["largest_slices"] == ["B 3", "none"]
    assert rows["patience"] == ["none", ""]
    assert len(provenance.configuration(EXPERIMENT, None).tables) == 1


def test_payloads_are_listed_with_their_hashes(tmp_path):
    found = run_of(tmp_path)
    section = provenance.files(found)
    payloads, software = section.tables
    assert [(cells[0], cells[3], cells[-1]) for cells in payloads.rows] == [
        (FINAL, "-", found.payloads[FINAL].sha256),
        (BEST, "0.500", found.payloads[BEST].sha256),
    ]
    assert found.experiment.digest() in section.sentences[0]
    assert "torch" in [cells[0] for cells in software.rows]


def test_a_version_is_told_once_and_all_that_took_part_are():
    table = provenance.versions([{"torch": "2", "flap-sam": "1"}, {"torch": "2", "flap-sam": "2"}, {"cuda": "12"}])
    assert table.rows == [["torch", "2, -"], ["flap-sam", "1, 2, -"], ["cuda", "-, 12"]]
