# SPDX-License-Identifier: Apache-2.0
"""The paper's comparison, in the order in which a run that is stopped is of most use."""

from pathlib import Path

import pytest
from flap_sam.config import paper
from flap_sam.config.experiment import METHODS, Experiment
from flap_sam.config.job import Job
from flap_sam.errors import FlapSamError
from flap_sam.experiments.compare import Comparison
from flap_sam.experiments.presets import preset
from flap_sam.records.run_record import CENTRALIZED, FEDERATED, LOCAL
from flap_sam.report.claims import CLAIMS
from flap_sam.report.comparison import label_of

SITES = list("ABCDEF")


KITS = Job.read(Path(__file__).parents[2] / "jobs/flap_sam_kits")


@pytest.fixture
def seed() -> list:
    """The cells of the preset's first seed."""
    plan = preset("small")
    cells = plan.cells(SITES)
    assert len(plan.seeds) == 3
    first = [cell for cell in cells if cell.seed == plan.seeds[0]]
    assert len(first) == len(cells) // 3
    return first


def test_every_method_runs_in_every_setting_once(seed):
    plan = preset("small")
    runs = {(c.setting, c.site, Experiment.from_dict(plan.changes(c)).digest()) for c in plan.cells(SITES)}
    assert len(runs) == len(plan.cells(SITES)), "no experiment is said twice"
    methods = [(c.setting, c.site, c.changes["method"]) for c in seed if c.changes.keys() == {"method"}]
    ours = set(METHODS) - {"masam"}
    assert set(methods) == {
        *((setting, None, method) for setting in (FEDERATED, CENTRALIZED) for method in METHODS),
        *((LOCAL, site, method) for site in SITES for method in ours),
    }


def test_the_federation_goes_before_what_it_is_compared_with(seed):
    settings = [cell.setting for cell in seed]
    assert settings[:7] == [FEDERATED] * 7
    assert [cell.changes["method"] for cell in seed[:2]] == ["flap_sam", "loradecft"]
    assert [(cell.setting, cell.site) for cell in seed[7:13]] == [(LOCAL, site) for site in SITES]
    assert FEDERATED not in settings[17:-2]
    assert [cell.changes["method"] for cell in seed[-2:]] == ["masam"] * 2, "the most expensive"


def test_every_claim_has_its_rows(seed):
    rows = {(label_of(cell.changes), cell.setting) for cell in seed}
    assert {side for claim in CLAIMS for side in (claim.one, claim.other)} <= rows


def test_the_papers_comparison_holds_its_tables():
    cells = preset("paper").cells(SITES)
    rows = {(label_of(cell.changes), cell.setting) for cell in cells}
    varied = ("flap_sam, rank 16", "flap_sam, rank 4", "flap_sam, dora", "flap_sam, mole")
    both = {*METHODS, *varied} - {"masam"}
    everywhere = {(label, setting) for label in both for setting in (FEDERATED, CENTRALIZED, LOCAL)}
    assert rows == everywhere | {("masam", CENTRALIZED)}
    assert len(cells) == 11 * (1 + 1 + len(SITES)) + 1
    assert [cell.setting for cell in cells[:7]] == [FEDERATED] * 7, "what is asked most first"


def test_the_papers_comparison_runs_the_papers_settings(tmp_path, store, monkeypatch):
    monkeypatch.setenv("FLAP_SAM_DATA", str(store))
    compared = Comparison(KITS, tmp_path, preset("paper"), None, lambda *_: None)
    missing = compared.missing([FEDERATED, CENTRALIZED, LOCAL])
    assert len(missing) == len(compared.cells) == len(preset("paper").cells([*compared.slices]))
    assert len({experiment.digest() for _, experiment in missing}) == 12, "a network a row"
    for cell, experiment in missing:
        settings = dict(experiment)
        assert paper.departures(settings, cell.changes) == {}
        assert (settings["backbone"], settings["image_size"], settings["rounds"]) == ("vit_b", 224, 100)


def test_another_preset_is_refused():
    with pytest.raises(FlapSamError, match="no preset 'large'; expected one of small, paper"):
        preset("large")
