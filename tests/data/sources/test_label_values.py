# SPDX-License-Identifier: Apache-2.0
"""`labels.csv`: what the numbers of your label maps stand for."""

import numpy as np
import pytest
from flap_sam.data.prepare import prepare
from flap_sam.data.sources.kits19 import FED_KITS19, case_files
from flap_sam.data.sources.label_values import label_values
from flap_sam.data.sources.pairs import Pairs
from flap_sam.data.sources.prostate import Prostate
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

SHAPE = (4, 5, 6)


def image(path):
    return save(path, np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))


def labels():
    return np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path):
    """Two cases whose maps hold 0, 10 and 255."""
    for name in ("one", "two"):
        image(tmp_path / "images" / f"{name}.nii.gz")
        save(tmp_path / "labels" / f"{name}.nii.gz", np.array([0, 10, 255], np.uint8)[labels()])
    (tmp_path / "sites.csv").write_text("case,site,split\none,A,train\ntwo,A,test\n")
    return tmp_path


def test_a_gap_is_named(pairs):
    with pytest.raises(FlapSamError, match=r"hold 10, 255, but none holds 1 \(and 252 more\); name the classes in"):
        assert Pairs(pairs).classes


def test_a_table_says_what_numbers_stand_for(pairs):
    (pairs / "labels.csv").write_text("value;label\r\n255;1\r\n10;2\r\n")
    assert Pairs(pairs).classes == ("class 1", "class 2")
    prepare("pairs", pairs, pairs / "store", workers=1)
    store = SiteStore.open(pairs / "store", "A")
    for case in store.manifest.cases:
        counts = np.bincount(labels().ravel())
        assert np.bincount(store.label(case).ravel()).tolist() == [counts[0], counts[2], counts[1]]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            "value,label\n255,1\n",
            r"one\.nii\.gz holds the label 10, expected only those that labels\.csv lists \(255\)",
        ),
        ("value,label\n255,1\n10,3\n", "none holds 2"),
        ("value,label\n255,1\n255,2\n", r"labels\.csv has in line 3 value '255', label '2'"),
        ("value,label\n255,tumour\n", r"labels\.csv has in line 2 value '255', label 'tumour'"),
        ("value,label\n255,-1\n", r"labels\.csv has in line 2"),
        ("number,class\n255,1\n", r"labels\.csv has the columns 'number', 'class' in its first line, expected value"),
    ],
)
def test_tables_that_do_not_fit(pairs, table, words):
    (pairs / "labels.csv").write_text(table)
    with pytest.raises(FlapSamError, match=words):
        prepare("pairs", pairs, pairs / "store", workers=1)


def test_a_table_of_more_classes_than_there_are_names(pairs):
    (pairs / "labels.csv").write_text("value,label\n255,1\n10,2\n")
    (pairs / "classes.txt").write_text("organ\n")
    with pytest.raises(FlapSamError, match=r"labels\.csv lists the class 2, but there are 1 classes"):
        prepare("pairs", pairs, pairs / "store", workers=1)


def test_a_store_follows_its_table(pairs):
    (pairs / "labels.csv").write_text("value,label\n255,1\n10,2\n")
    outcomes = []
    prepare("pairs", pairs, pairs / "store", workers=1)
    prepare("pairs", pairs, pairs / "store", workers=1, done=outcomes.append)
    (pairs / "labels.csv").write_text("value,label\n255,2\n10,1\n")
    prepare("pairs", pairs, pairs / "store", workers=1, done=outcomes.append)
    assert [outcome.found.changed for outcome in outcomes] == [{}, dict.fromkeys(("one", "two"), "labels.csv changed")]
    store = SiteStore.open(pairs / "store", "A")
    assert np.bincount(store.label(store.manifest.cases[0]).ravel()).tolist() == np.bincount(labels().ravel()).tolist()


def test_a_table_of_intensities_follows_the_table_of_labels(tmp_path):
    """KiTS21's cysts, 3: intensities are taken of what is a class."""
    rng = np.random.default_rng(0)
    for number in (number for split in FED_KITS19["A"].values() for number in split):
        scan, label = case_files(tmp_path, f"case_{number:05}")
        image(scan)
        save(label, rng.integers(0, 4, SHAPE).astype(np.uint8))
    tables = []
    for cyst in (0, 1):
        (tmp_path / "labels.csv").write_text(f"value,label\n1,1\n2,2\n3,{cyst}\n")
        prepare("kits19", tmp_path, tmp_path / "store", ["A"], workers=1)
        tables.append(SiteStore.open(tmp_path / "store", "A").manifest.intensity)
    assert tables[0] != tables[1]


def test_the_table_holds_for_every_layout(tmp_path):
    (tmp_path / "labels.csv").write_text("value,label\n1,1\n2,0\n")
    assert Prostate(tmp_path).label_values == {1: 1, 2: 0}


def test_no_table_is_none_and_every_line_of_one_is_a_value(tmp_path):
    assert label_values(tmp_path) is None
    (tmp_path / "labels.csv").write_text("label,value,name\n1,-3,left\n0,7,\n255,12,right\n")
    assert label_values(tmp_path) == {-3: 1, 7: 0, 12: 255}


@pytest.mark.parametrize("line", ["4,256", "4,-1", "4.5,1", "4,", ",1", "1,2"])
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "labels.csv").write_text(f"value,label\n1,1\n\n{line}\n")
    with pytest.raises(FlapSamError, match=r"labels\.csv has in line 4 value "):
        label_values(tmp_path)
