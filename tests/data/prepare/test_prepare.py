# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flap_sam.data import prepare as module
from flap_sam.data.geometry import to_original
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT
from flap_sam.data.phantoms.scanner import PhantomSize
from flap_sam.data.prepare import prepare, with_validation
from flap_sam.data.sources.kits19 import FED_KITS19, PUBLISHED, case_files
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.store import SiteStore, sites
from flap_sam.data.volumes import read_pair
from flap_sam.errors import FlapSamError

from tests.data.volumes import save

SMALL = PhantomSize(matrix=32, slices=0.4)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    ABDOMINAL_CT.generate(folder, ["A", "D"], size=SMALL)
    return folder


def assert_same_store(store, other):
    for path in store.rglob("*.*"):
        assert path.read_bytes() == (other / path.relative_to(store)).read_bytes()


def source_cases(train: int, test: int = 0) -> list[SourceCase]:
    splits = ["train"] * train + ["test"] * test
    return [SourceCase(f"case_{n:05d}", split, None, None) for n, split in enumerate(splits)]


@pytest.mark.parametrize(("train", "count"), [(0, 0), (1, 0), (2, 1), (5, 1), (9, 2), (12, 2), (24, 5)])
def test_a_fifth_of_the_training_cases_is_held_back(train, count):
    cases = source_cases(train, test=3)
    split = with_validation(cases)
    assert sum(case.split == "validation" for case in split) == count
    assert [case.id for case in split if case.split == "test"] == [case.id for case in cases if case.split == "test"]
    assert sorted(with_validation(cases[::-1]), key=lambda case: case.id) == split


def test_a_prepared_site_is_its_raw_volumes(raw, tmp_path):
    prepare("kits19", raw, tmp_path, ["A"], workers=1)
    opened = SiteStore.open(tmp_path, "A")
    manifest = opened.manifest
    assert (manifest.source, manifest.classes, sites(tmp_path)) == ("kits19", ("kidney", "tumour"), ["A"])
    assert [len(opened.cases(split)) for split in ("train", "validation", "test")] == [7, 2, 3]
    assert {case.id for case in opened.cases("test")} == {f"case_{n:05d}" for n in FED_KITS19["A"]["test"]}
    for case in manifest.cases:
        volume, label = read_pair(*case_files(raw, case.id), 2)
        np.testing.assert_array_equal(opened.label(case), label)
        clipped = volume.array.clip(manifest.intensity.low, manifest.intensity.high)
        decoded = case.minimum + opened.image(case) / 65535 * (case.maximum - case.minimum)
        np.testing.assert_allclose(decoded, clipped, atol=0.01)
        assert to_original(label, case.affine, case.original_shape).shape == case.original_shape


def test_phantom_is_drawn_where_missing(raw, tmp_path):
    prepare("phantom", raw, tmp_path, ["D"], workers=1)
    assert SiteStore.open(tmp_path, "D").manifest.source == "phantom"
    assert SiteStore.open(tmp_path, "D").manifest.cases[0].shape[1:] == (32, 32)
    prepare("phantom", tmp_path / "drawn", tmp_path, ["A"], workers=1)
    assert SiteStore.open(tmp_path, "A").manifest.cases[0].shape[1:] == (128, 128)


def test_a_finished_store_is_left_alone(raw, tmp_path):
    prepare("kits19", raw, tmp_path, ["A"], workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    prepare("kits19", raw, tmp_path, ["A"], workers=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(FlapSamError, match="already prepared from kits19, not from phantom"):
        prepare("phantom", raw, tmp_path, ["A"], workers=1)
    with pytest.raises(FlapSamError, match=r"gone.* does not exist"):
        prepare("kits19", tmp_path / "gone", tmp_path, ["A"], workers=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_preparation_is_continued(raw, tmp_path, monkeypatch):
    read, done = module.read_pair, []

    def counting(image, *rest, limit):
        if len(done) == limit:
            raise KeyboardInterrupt
        done.append(image)
        return read(image, *rest)

    monkeypatch.setattr(module, "read_pair", partial(counting, limit=5))
    with pytest.raises(KeyboardInterrupt):
        prepare("kits19", raw, tmp_path, ["A"], workers=1)
    assert sites(tmp_path) == []
    monkeypatch.setattr(module, "read_pair", partial(counting, limit=99))
    prepare("kits19", raw, tmp_path, ["A"], workers=1)
    assert len(done) == len(set(done)) == 12

    monkeypatch.setattr(module, "read_pair", read)
    prepare("kits19", raw, tmp_path / "fresh", ["A"], workers=2)
    assert_same_store(tmp_path / "fresh", tmp_path)


def test_two_processes_prepare_two_sites(raw, tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=prepare, args=("kits19", raw, tmp_path, [site])) for site in "AD"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sites(tmp_path) == ["A", "D"]
    assert SiteStore.open(tmp_path, "D").training_slices > 0


def test_a_broken_volume_stops_the_site_and_is_named(raw, tmp_path):
    image, label = case_files(tmp_path / "raw", "case_00195")
    for case in (tmp_path / "raw" / "data", image.parent):
        case.mkdir(parents=True)
    for source in (raw / "data").iterdir():
        if source.name != "case_00195":
            (tmp_path / "raw" / "data" / source.name).symlink_to(source)
    good_image, good_label = case_files(raw, "case_00195")
    image.write_bytes(good_image.read_bytes()[:-300])
    label.write_bytes(good_label.read_bytes())
    with pytest.raises(FlapSamError, match=r"case_00195/imaging\.nii\.gz cannot be read"):
        prepare("kits19", tmp_path / "raw", tmp_path / "out", ["A"], workers=1)
    assert sites(tmp_path / "out") == []


def test_unknown_source_site_and_missing_case(raw, tmp_path):
    with pytest.raises(
        FlapSamError,
        match="no source 'ct', expected one of kits19, ixi, prostate, decathlon, pairs, bids, phantom, phantom-head, "
        "phantom-pelvis",
    ):
        prepare("ct", raw, tmp_path)
    with pytest.raises(FlapSamError, match="no site 'Z', it has A, B"):
        prepare("kits19", raw, tmp_path, ["A", "Z"])
    with pytest.raises(FlapSamError, match="case_00000, site B, does not exist"):
        prepare("kits19", raw, tmp_path, ["B"])
    assert not list(tmp_path.iterdir())


def test_site_without_training_case(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "organ"}}')
    (tmp_path / "sites.csv").write_text("case,site,split\none,North,test\n")
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.nii.gz").touch()
    with pytest.raises(FlapSamError, match="North has no training case"):
        prepare("decathlon", tmp_path, tmp_path / "out")


def test_published_intensities(raw, tmp_path):
    prepare("kits19", raw, tmp_path, ["A"], published_intensities=True, workers=1)
    opened = SiteStore.open(tmp_path, "A")
    assert opened.manifest.intensity == PUBLISHED["A"]
    assert all(-66 <= case.minimum < case.maximum <= 208 for case in opened.manifest.cases)
    with pytest.raises(FlapSamError, match="already prepared from kits19-published, not from kits19"):
        prepare("kits19", raw, tmp_path, ["A"], workers=1)
    with pytest.raises(FlapSamError, match="No intensities are published for ixi, only for kits19"):
        prepare("ixi", raw, tmp_path, published_intensities=True, workers=1)


def test_one_worker_or_more_write_the_same(raw, tmp_path):
    prepare("kits19", raw, tmp_path / "one", ["D"], workers=1)
    prepare("kits19", raw, tmp_path / "two", ["D"], workers=2)
    assert_same_store(tmp_path / "one", tmp_path / "two")
    assert_same_store(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_continued(tmp_path, workers):
    """A real process, killed as soon as its first case is whole."""
    folder, store = tmp_path / "raw", tmp_path / "store"
    ramp = np.broadcast_to(np.arange(60, dtype=np.int16), (200, 200, 60))
    names = [f"case_{number}" for number in range(8)]
    for name in names:
        save(folder / "images" / f"{name}.nii.gz", ramp)
        save(folder / "labels" / f"{name}.nii.gz", (ramp > 30).astype(np.uint8))
    (folder / "classes.txt").write_text("organ\n")
    (folder / "sites.csv").write_text("case,site,split\n" + "".join(f"{name},A,train\n" for name in names))
    call = f"from pathlib import Path; prepare('pairs', Path({str(folder)!r}), Path({str(store)!r}), workers={workers})"
    script = f"from flap_sam.data.prepare import prepare\nif __name__ == '__main__':\n    {call}"
    run = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: list(store.glob("A/arrays/*.json")))
    started = children(run.pid)
    run.kill()
    run.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in started))

    assert sites(store) == []
    whole = {note.stem for note in store.glob("A/arrays/*.json")}
    assert 1 <= len(whole) < len(names)
    before = {name: store.joinpath("A", "arrays", f"{name}.image.npy").stat().st_mtime_ns for name in whole}
    prepare("pairs", folder, store, workers=1)
    assert all(store.joinpath("A", "arrays", f"{name}.image.npy").stat().st_mtime_ns == before[name] for name in whole)
    assert not list(store.rglob("*.partial"))
    prepare("pairs", folder, tmp_path / "fresh", workers=1)
    assert_same_store(tmp_path / "fresh", store)
    assert_same_store(store, tmp_path / "fresh")


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return list(map(int, listed.read_text().split())) if listed.exists() else []


def wait_for(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)
