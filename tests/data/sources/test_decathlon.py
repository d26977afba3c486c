# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
from flap_sam.data.intensity import VolumeIntensity
from flap_sam.data.sources.decathlon import Decathlon
from flap_sam.data.volumes import read_pair
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

HIPPOCAMPUS = Path(__file__).parents[4] / "shared" / "data" / "hippocampus"
TABLE = "case,site,split\none,North,train\ntwo,North,test\nthree,South,train\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "head", "2": "tail"}}))
    (tmp_path / "sites.csv").write_text(TABLE)
    for name in ("one", "two", "three"):
        save(tmp_path / "imagesTr" / f"{name}.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        save(tmp_path / "labelsTr" / f"{name}.nii.gz", np.ones((2, 3, 4), np.uint8))
    return tmp_path


def test_layout(folder):
    source = Decathlon(folder)
    assert source.classes == ("head", "tail")
    assert source.sites() == ["North", "South"]
    assert [(case.id, case.split) for case in source.cases("North")] == [("one", "train"), ("two", "test")]
    assert source.cases("South")[0].label == folder / "labelsTr" / "three.nii.gz"
    assert source.intensity("North") == VolumeIntensity(low_percentile=0.5, high_percentile=99.5)


def test_missing_case_is_named(folder):
    (folder / "labelsTr" / "two.nii.gz").unlink()
    with pytest.raises(FlapSamError, match=r"two\.nii\.gz of case two, site North, does not exist"):
        Decathlon(folder).cases("North")


@pytest.mark.parametrize(
    "line",
    [
        "one,South,train",
        "four,North,training",
        "four,,train",
        "../four,North,train",
        "four,a/b,train",
        "four,North",
    ],
)
def test_bad_line_of_the_site_table_is_named(folder, line):
    (folder / "sites.csv").write_text(TABLE + line + "\n")
    with pytest.raises(FlapSamError, match=r"sites\.csv has in line 5"):
        Decathlon(folder).sites()


def test_site_table_without_its_columns_or_missing(folder):
    (folder / "sites.csv").write_text("name,hospital\none,North\n")
    with pytest.raises(FlapSamError, match=r"sites\.csv has the columns 'name', 'hospital' in its first line"):
        Decathlon(folder).sites()
    (folder / "sites.csv").write_text("case,site,split\n")
    with pytest.raises(FlapSamError, match=r"sites\.csv lists no case"):
        Decathlon(folder).sites()
    (folder / "sites.csv").unlink()
    with pytest.raises(FlapSamError, match=r"sites\.csv cannot be read"):
        Decathlon(folder).sites()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"labels": {"0": "background", "2": "tail"}}'])
def test_broken_dataset_json_is_refused(folder, content):
    (folder / "dataset.json").write_text(content)
    with pytest.raises(FlapSamError, match=r"dataset\.json gives no class names"):
        assert Decathlon(folder).classes


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the hippocampus crops are not here")
def test_real_hippocampus_crops():
    source = Decathlon(HIPPOCAMPUS)
    assert source.classes == ("Anterior", "Posterior")
    assert {site: len(source.cases(site)) for site in source.sites()} == {
        "A": 12,
        "B": 14,
        "C": 12,
        "D": 12,
        "E": 16,
        "F": 30,
    }
    case = source.cases("A")[0]
    volume, label = read_pair(case.image, case.label, 2)
    anterior, posterior = (np.argwhere(label == number).mean(0) for number in (1, 2))
    assert anterior[1] < posterior[1]
    assert volume.array.shape == label.shape
