# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
import os

import numpy as np
import pytest
import torch
from flap_sam.config.experiment import METHODS
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError, Reason
from flap_sam.sam.checkpoint import network_for
from flap_sam.training.embedded import EmbeddedWindows
from flap_sam.training.embeddings import EmbeddingCache, FrozenEncoder, training_data
from flap_sam.training.evaluate import score
from flap_sam.training.predict import embed
from flap_sam.training.trainer import Trainer

from tests.conftest import write_site

CPU = torch.device("cpu")


@pytest.fixture
def frozen(small):
    return small.changed(method="pdecft")


def encoder_of(experiment, precision="float32") -> FrozenEncoder:
    network, experiment, _ = network_for(experiment, None)
    return FrozenEncoder.of(network, experiment, CPU, precision)


def cache_of(experiment, store, tmp_path, site="B") -> EmbeddingCache:
    return EmbeddingCache.open(tmp_path / "state", SiteStore.open(store, site), encoder_of(experiment))


def files(cache: EmbeddingCache) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.folder.glob("*.float32")}


def test_methods_that_leave_the_encoder_alone_have_one(small):
    assert {m for m in METHODS if encoder_of(small.changed(method=m))} == {"decft", "pdecft"}


@pytest.mark.parametrize("normalisation", ["volume", "window"])
def test_training_from_the_cache_is_training_without(frozen, store, tmp_path, normalisation):
    frozen = frozen.changed(normalisation=normalisation, local_epochs=2)
    results = []
    for cached in (False, True):
        network, experiment, _ = network_for(frozen, None)
        site = SiteStore.open(store, "B")
        cache = None
        if cached:
            cache = EmbeddingCache.open(tmp_path / "state", site, FrozenEncoder.of(network, experiment, CPU, "float32"))
        windows = Windows(site, experiment.image_size, normalisation)
        windows, forward = training_data(network, experiment, windows, [cache])
        assert isinstance(windows, EmbeddedWindows) == cached
        trainer = Trainer(network, experiment, windows, CPU, "float32", forward=forward)
        results.append((trainer.train(0).loss, trainer.payload()))
    (loss, payload), (cached_loss, cached_payload) = results
    assert cached_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(cached_payload, payload, atol=2e-5, rtol=1e-3)


def test_scores_from_the_cache_are_those_without(frozen, store, tmp_path):
    cache = cache_of(frozen, store, tmp_path)
    network, experiment, _ = network_for(frozen, None)
    arguments = cache.store, "test", experiment, CPU, "float32"
    expected = score(network, *arguments)
    network.image_encoder = None
    assert score(network, *arguments, cache) == expected == score(network, *arguments, cache)


def test_augmented_windows_are_encoded_as_ever(frozen, store, tmp_path):
    cache = cache_of(frozen, store, tmp_path)
    network, experiment, _ = network_for(frozen.changed(augmentation="paper"), None)
    windows = Windows(cache.store, experiment.image_size)
    assert training_data(network, experiment, windows, [cache]) == (windows, network)


def test_a_case_is_encoded_once_for_all_processes(frozen, store, tmp_path):
    first = cache_of(frozen, store, tmp_path)
    case = first.store.cases("test")[0]
    values = first.of(case).embeddings.copy()
    assert values.shape == (case.shape[0], 128, 2, 2)
    before = files(first)
    assert list(before) == [f"{case.image_sha256}.float32"]
    again = cache_of(frozen, store, tmp_path)
    assert np.array_equal(again.of(case).embeddings, values)
    assert not again.of(case).embeddings.flags.writeable
    assert files(again) == before


def _damages():
    yield "cut", lambda raw: raw[:-40]
    yield "longer", lambda raw: raw + b"x"
    yield "a bit", lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:]
    yield "no digest", lambda raw: raw[:-32]
    yield "empty", lambda raw: raw[:0]


@pytest.mark.parametrize("damage", [pytest.param(d, id=name) for name, d in _damages()])
def test_a_damaged_file_is_made_anew(frozen, store, tmp_path, damage):
    cache = cache_of(frozen, store, tmp_path)
    case = cache.store.cases("train")[0]
    values = cache.of(case).embeddings.copy()
    path = cache.folder / f"{case.image_sha256}.float32"
    whole = path.read_bytes()
    path.unlink()  # the first cache still maps it
    path.write_bytes(damage(whole))
    assert np.array_equal(cache_of(frozen, store, tmp_path).of(case).embeddings, values)
    assert path.read_bytes() == whole


def test_a_file_under_another_images_name_is_made_anew(frozen, store, tmp_path):
    write_site(store, "D", {"train": [(3, 20, 24), (3, 24, 20)]})
    cache = cache_of(frozen, store, tmp_path, "D")
    first, second = (cache.folder / f"{case.image_sha256}.float32" for case in cache.store.manifest.cases)
    values = [cache.of(case).embeddings.copy() for case in cache.store.manifest.cases]
    first.replace(second)
    again = cache_of(frozen, store, tmp_path, "D")
    for case, expected in zip(again.store.manifest.cases, values, strict=True):
        assert np.array_equal(again.of(case).embeddings, expected)


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"image_size": 48}, {"normalisation": "window"}], ids=["weights", "size", "normalisation"]
)
def test_whatever_an_embedding_depends_on_changes_its_place(frozen, change):
    assert encoder_of(frozen.changed(**change)).digest != encoder_of(frozen).digest
    assert encoder_of(frozen, "bfloat16").digest != encoder_of(frozen).digest
    assert encoder_of(frozen.changed(method="decft")).digest == encoder_of(frozen).digest


def test_images_that_the_store_has_no_more_are_removed(frozen, store, tmp_path):
    cache = cache_of(frozen, store, tmp_path)
    for case in cache.store.manifest.cases:
        cache.of(case)
    manifest = store / "B" / "manifest.json"
    said = json.loads(manifest.read_text())
    said["cases"].pop()
    manifest.write_text(json.dumps(said))
    assert len(files(cache_of(frozen, store, tmp_path))) == len(said["cases"]) == len(files(cache))


def test_the_oldest_encoders_go_unless_they_are_in_use(frozen, store, tmp_path):
    in_use = cache_of(frozen.changed(seed=0), store, tmp_path)
    os.utime(in_use.folder, (1, 1))
    folders = []
    for seed in (1, 2, 3):
        cache = cache_of(frozen.changed(seed=seed), store, tmp_path)
        folders.append(cache.folder)
        os.utime(cache.folder, (10 + seed, 10 + seed))
        del cache
    assert [folder.exists() for folder in (in_use.folder, *folders)] == [True, False, True, True]


def test_a_disk_without_room_means_no_cache(frozen, store, tmp_path, monkeypatch):
    monkeypatch.setattr("flap_sam.training.embeddings.LARGEST_SHARE", 1e-12)
    assert cache_of(frozen, store, tmp_path) is None


def test_a_folder_that_cannot_be_made_is_named_to_the_site_alone(frozen, store, tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(FlapSamError) as caught:
        cache_of(frozen, store, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.reason == Reason.STOPPED


def test_only_the_site_may_read_its_embeddings(frozen, store, tmp_path):
    assert cache_of(frozen, store, tmp_path).folder.stat().st_mode & 0o077 == 0


def _use(experiment, store, tmp_path, results) -> None:
    cache = cache_of(experiment, store, tmp_path)
    results.put([float(cache.of(case).embeddings.sum()) for case in cache.store.manifest.cases])


def test_several_processes_fill_one_cache(frozen, store, tmp_path):
    context = multiprocessing.get_context("fork")  # a spawned process would import torch anew
    results = context.Queue()
    processes = [context.Process(target=_use, args=(frozen, store, tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    cache = cache_of(frozen, store, tmp_path)
    assert sums[0] == sums[1] == sums[2]
    assert not list(cache.folder.glob("*.partial"))
    encoder = encoder_of(frozen)
    for case in cache.store.manifest.cases:
        views = encoder.views(cache.store.image(case))
        expected = torch.cat([e for _, e in embed(encoder.network, views, 32, CPU, "float32")])
        torch.testing.assert_close(torch.from_numpy(cache.of(case).embeddings.copy()), expected)
