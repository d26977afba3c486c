# SPDX-License-Identifier: Apache-2.0
"""Several sites' stores as one: what a training without a federation sees."""

from collections.abc import Sequence

import numpy as np

from flap_sam.data.manifest import Case
from flap_sam.data.store import SiteStore


class PooledStore:
    """The cases of several stores, site after site; read as a `SiteStore` is."""

    def __init__(self, stores: Sequence[SiteStore]) -> None:
        self._stores = tuple(stores)
        self._owners = {id(case): store for store in stores for case in store.manifest.cases}

    @property
    def training_slices(self) -> int:
        return sum(store.training_slices for store in self._stores)

    def cases(self, split: str) -> list[Case]:
        """The cases of a split, in the order of the stores; two sites' cases may have one name."""
        return [case for store in self._stores for case in store.cases(split)]

    def image(self, case: Case) -> np.ndarray:
        """uint16 [slices, rows, columns] of a case that `cases` gave."""
        return self._owners[id(case)].image(case)

    def label(self, case: Case) -> np.ndarray:
        """uint8 [slices, rows, columns] of a case that `cases` gave."""
        return self._owners[id(case)].label(case)
