# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.sources.tabled import Tabled
from flap_sam.errors import FlapSamError


class Own(Tabled):
    """A layout whose table is handed to it."""

    def __init__(self, folder: Path, rows: list[dict[str, str]]) -> None:
        self.folder, self._rows = folder, rows

    @property
    def rows(self):
        return self._rows

    def located(self, row):
        path = self.folder / f"{row['case']}.nii"
        return SourceCase(row["case"], row["split"], path, path)


ROWS = [
    {"case": "b", "site": "South", "split": "test"},
    {"case": "a", "site": "North", "split": "train"},
    {"case": "c", "site": "South", "split": "train"},
]


def test_the_table_deals_its_cases_to_sites_in_its_own_order(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.nii").touch()
    source = Own(tmp_path, ROWS)
    assert source.sites() == ["North", "South"]
    assert [(case.id, case.split) for case in source.cases("South")] == [("b", "test"), ("c", "train")]
    assert source.intensity("North") == VolumeIntensity(low_percentile=0.5, high_percentile=99.5)


def test_a_case_of_another_site_need_not_be_here(tmp_path):
    (tmp_path / "a.nii").touch()
    source = Own(tmp_path, ROWS)
    assert len(source.cases("North")) == 1
    with pytest.raises(FlapSamError, match=r"b\.nii of case b, site South, does not exist"):
        source.cases("South")
