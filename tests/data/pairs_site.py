# SPDX-License-Identifier: Apache-2.0
"""A site in the layout `pairs`, and what may become of its volumes."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
from flap_sam.data.prepare import SiteOutcome, prepare

NAMES = ("a", "b", "c", "d", "e")


SHAPE = (7, 5, 6)


class Site:
    """Volumes of site A in the layout pairs, and what may become of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.seed = folder / "raw", folder / "store", 0
        self.splits = {"a": "train", "b": "train", "c": "train", "d": "test"}
        for name in self.splits:
            self.write("images", name)
            self.write("labels", name)
        self.classes("organ", "lesion")
        self.table()

    def file(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.nii.gz"

    def write(self, kind: str, name: str) -> None:
        self.seed += 1
        rng = np.random.default_rng(self.seed)
        numbers = rng.integers(0, 3, SHAPE, np.uint8) if kind == "labels" else rng.integers(0, 900, SHAPE, np.int16)
        path = self.file(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(nib.Nifti1Image(numbers, np.diag((0.5, 0.5, 2, 1))).to_bytes())  # of one size, as not packed

    def classes(self, *names: str) -> None:
        (self.folder / "classes.txt").write_text("\n".join(names))

    def table(self) -> None:
        lines = [f"{name},A,{split}" for name, split in self.splits.items()]
        (self.folder / "sites.csv").write_text("\n".join(["case,site,split", *lines]) + "\n")

    def prepare(self, store: Path | None = None) -> SiteOutcome:
        told: list[SiteOutcome] = []
        prepare("pairs", self.folder, store or self.store, workers=1, done=told.append)
        return told[0]

    def correct(self, kind: str, name: str, keep_time: bool) -> None:
        """Another content of the same size; `cp -p` keeps the time of its last change too."""
        if name in self.splits:
            before = self.file(kind, name).stat()
            self.write(kind, name)
            assert self.file(kind, name).stat().st_size == before.st_size
            if keep_time:
                os.utime(self.file(kind, name), ns=(before.st_atime_ns, before.st_mtime_ns))

    def touch(self, name: str) -> None:
        if name in self.splits:
            os.utime(self.file("labels", name))
            os.utime(self.file("images", name), ns=(1, 1))

    def add(self, name: str, split: str) -> None:
        """A new case, or one in another split."""
        if split == "train" or self.others_train(name):
            self.splits[name] = split
        for kind in ("images", "labels"):
            if not self.file(kind, name).exists():
                self.write(kind, name)
        self.table()

    def remove(self, name: str) -> None:
        if self.others_train(name):
            self.splits.pop(name, None)
        self.table()

    def others_train(self, name: str) -> bool:
        return any(split == "train" for other, split in self.splits.items() if other != name)
