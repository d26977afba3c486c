# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch
from flap_sam.data.pool import PooledStore
from flap_sam.data.store import SiteStore
from flap_sam.data.windows import Windows


def test_a_pool_is_its_stores_one_after_the_other(store):
    stores = [SiteStore.open(store, site) for site in "CAB"]
    pool = PooledStore(stores)
    assert pool.training_slices == len(Windows(pool, 32)) == 3 + 4 + 7
    for split in ("train", "validation", "test"):
        own = [(site, case) for site in stores for case in site.cases(split)]
        assert [case for _, case in own] == pool.cases(split)
        for (site, case), pooled in zip(own, pool.cases(split), strict=True):
            assert np.array_equal(pool.image(pooled), site.image(case))
            assert np.array_equal(pool.label(pooled), site.label(case))


def test_windows_of_a_pool_are_those_of_its_sites(store):
    first, second = (SiteStore.open(store, site) for site in "AB")
    pooled = Windows(PooledStore([first, second]), 32)
    images, labels = pooled.batch([3, 4])
    for i, (site, index) in enumerate(((first, 3), (second, 0))):
        own_images, own_labels = Windows(site, 32).batch([index])
        assert torch.equal(images[i], own_images[0])
        assert torch.equal(labels[i], own_labels[0])
