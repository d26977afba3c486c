# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch
from flap_sam.data.manifest import read_manifest
from flap_sam.data.pool import PooledStore
from flap_sam.data.store import ARRAYS, MANIFEST, SiteStore, write_case, write_manifest
from flap_sam.pretraining.organs import organs

SIDE = 64


def drawn_over(folder, draw) -> SiteStore:
    """Site A of a store, its test case's label map drawn anew at the network's size."""
    manifest = read_manifest(folder / "A" / MANIFEST)
    old = next(case for case in manifest.cases if case.split == "test")
    label = np.zeros((old.shape[0], SIDE, SIDE), np.uint8)
    draw(label)
    draft = old.model_copy(update={"shape": label.shape})
    image = np.broadcast_to(np.arange(len(label), dtype=np.uint16)[:, None, None] * 1000, label.shape)
    case = write_case(folder / "A" / ARRAYS, draft, image, label, manifest.recipe)
    cases = tuple(case if other == old else other for other in manifest.cases)
    write_manifest(folder, manifest.model_copy(update={"cases": cases}))
    return SiteStore.open(folder, "A")


def test_parts_that_do_not_touch_are_asked_for_one_by_one_on_their_own_slice(store):
    def draw(label):
        label[1, 4:14, 3:9] = label[1, 20:30, 40:50] = 1
        label[1, 5:10, 4:8] = 2
        label[3, 2:6, 2:6] = 1
        label[4, 2:5, 2:7] = 1

    ((images, asked),) = organs(drawn_over(store, draw), 1, SIDE)
    assert asked.scene.tolist() == [1, 1, 3], "15 pixels are too few"
    assert asked.masks.flatten(1).sum(1).tolist() == [60 - 20, 100, 16]
    assert images.shape == (7, SIDE, SIDE)
    torch.testing.assert_close(images[3].mean(), torch.tensor(3000 / 65535))
    ((_, second),) = organs(drawn_over(store, draw), 2, SIDE)
    assert second.scene.tolist() == [1]


def test_a_case_without_the_organ_asks_nothing(store):
    assert list(organs(drawn_over(store, lambda _: None), 1, SIDE)) == []


def test_test_cases_of_several_sites_are_seen_at_one_size(store):
    pool = PooledStore([SiteStore.open(store, name) for name in "AC"])
    found = list(organs(pool, 1, SIDE))
    assert [len(images) for images, _ in found] == [case.shape[0] for case in pool.cases("test")]
    for images, asked in found:
        assert images.shape[1:] == asked.masks.shape[1:] == (SIDE, SIDE)
        assert (asked.masks.flatten(1).sum(1) >= 16).all()
