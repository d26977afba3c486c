# SPDX-License-Identifier: Apache-2.0
"""The site store: what a site trains from, and all that training ever reads.

    STORE/<site>/manifest.json
    STORE/<site>/arrays/<case>.image.npy   uint16 [slices, rows, columns], 0..65535 meaning 0..1
    STORE/<site>/arrays/<case>.label.npy   uint8  [slices, rows, columns]

Arrays are in store orientation (see `geometry`). Cases are written one by one and the manifest last: a folder
without a manifest is a preparation that did not finish, and no store.

A finished store changes in one step too. Cases that are made again are written to STORE/<site>/redone-<revision>,
where nobody looks before the manifest of that revision is there; from then on they are looked for there first, and
`settle` moves them to `arrays`. Whoever is killed in between leaves the store as it was before or after.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flap_sam.data.manifest import Case, Draft, Manifest, Recipe, read_manifest
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.files import PARTIAL, remove_if_empty, replacing, sha256, writing
from flap_sam.foundation.strict import StrictModel, parse

MANIFEST = "manifest.json"
ARRAYS, REDONE = "arrays", "redone-"
KINDS = ("image", "label")
NOTE = ".json"
WRITTEN = (*(f".{kind}.npy" for kind in KINDS), NOTE)


def sites(store: Path) -> list[str]:
    """The sites whose preparation is finished, sorted."""
    return sorted(manifest.parent.name for manifest in store.glob(f"*/{MANIFEST}"))


@dataclass(frozen=True)
class SiteStore:
    """One site's prepared cases, for reading."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, store: Path, site: str) -> "SiteStore":
        """Open a site's store after checking that every array the manifest names is there as it says.

        Raises:
            FlapSamError: no such store or site, a broken manifest, an array that is missing, truncated or of
                another shape or type, or no training case.
        """
        if not store.is_dir():
            raise FlapSamError(
                f"The data store {store} does not exist; make it with `flap-sam prepare` or correct the path.",
                Reason.STORE,
            )
        if site not in sites(store):
            raise FlapSamError(
                f"The data store {store} has no site {site!r}, it holds {', '.join(sites(store)) or 'none'}; "
                "prepare that site or correct its name.",
                Reason.STORE,
            )
        opened = cls(store / site, read_manifest(store / site / MANIFEST))
        opened._check(site)
        return opened

    @property
    def training_slices(self) -> int:
        """The number of slices of the training cases, which is the number of training windows."""
        return sum(case.shape[0] for case in self.cases("train"))

    def cases(self, split: str) -> list[Case]:
        """The cases of "train", "validation" or "test", in the manifest's order."""
        return [case for case in self.manifest.cases if case.split == split]

    def image(self, case: Case) -> np.ndarray:
        """uint16 [slices, rows, columns], memory-mapped and read-only."""
        return self._array(case, "image", np.uint16)

    def label(self, case: Case) -> np.ndarray:
        """uint8 [slices, rows, columns], memory-mapped and read-only."""
        return self._array(case, "label", np.uint8)

    def _check(self, site: str) -> None:
        if self.manifest.site != site:
            raise FlapSamError(
                f"{self.folder / MANIFEST} is the manifest of site {self.manifest.site!r}, expected {site!r}; "
                "a store's folders must not be renamed, rename it back.",
                Reason.STORE,
            )
        if not self.cases("train"):
            raise FlapSamError(
                f"{self.folder / MANIFEST} lists no training case, expected at least one; remove {self.folder} "
                "and prepare the site with cases whose split is train.",
                Reason.STORE,
            )
        for case in self.manifest.cases:
            self.image(case)
            self.label(case)

    def path(self, case: Case, kind: str) -> Path:
        """Where a case's "image" or "label" lies now."""
        redone = _redone(self.folder, self.manifest.revision) / _file(case.id, kind)
        return redone if redone.exists() else array_path(self.folder, case.id, kind)

    def _array(self, case: Case, kind: str, dtype: type) -> np.ndarray:
        path = self.path(case, kind)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as problem:
            if path != self.path(case, kind):  # it was moved meanwhile
                return self._array(case, kind, dtype)
            raise FlapSamError(f"{path} cannot be read ({problem}); prepare the site again.", Reason.STORE) from problem
        if array.shape != case.shape or array.dtype != dtype:
            raise FlapSamError(
                f"{path} holds {array.dtype} {array.shape}, but the manifest says {np.dtype(dtype)} {case.shape}; "
                "prepare the site again.",
                Reason.STORE,
            )
        return array


def array_path(folder: Path, case_id: str, kind: str) -> Path:
    """Where a site folder keeps a case's "image" or "label"."""
    return folder / ARRAYS / _file(case_id, kind)


def working_folder(folder: Path, revision: int) -> Path:
    """Where a site folder's arrays are written that a manifest of this revision will name."""
    return folder / ARRAYS if revision == 1 else _redone(folder, revision)


class _Note(StrictModel):
    """Says that a case's arrays are whole, and of what recipe."""

    recipe: Recipe
    case: Case


def write_case(arrays: Path, draft: Draft, image: np.ndarray, label: np.ndarray, recipe: Recipe) -> Case:
    """Write a case's arrays, then a note that they are whole.

    Args:
        arrays: a `working_folder`.

    Returns:
        The case with its checksums.
    """
    checksums = {}
    for kind, array in (("image", image), ("label", label)):
        path = arrays / _file(draft.id, kind)
        with replacing(path) as stream:
            np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        checksums[f"{kind}_sha256"] = sha256(path)
    case = Case(**{**dict(draft), **checksums})
    with replacing(_note(arrays, case.id)) as stream:
        stream.write(_Note(recipe=recipe, case=case).to_json().encode())
    return case


def written_case(arrays: Path, case_id: str, recipe: Recipe) -> Case | None:
    """A case that an earlier, unfinished preparation has written by the same recipe, if there is one."""
    try:
        note = parse(_Note, _note(arrays, case_id).read_bytes())
    except (OSError, ValueError):
        return None
    return note.case if note.recipe == recipe else None


def write_manifest(store: Path, manifest: Manifest) -> None:
    """Finish a site's store: write its manifest, which is the step from the old to the new store, and `settle` it."""
    folder = store / manifest.site
    with replacing(folder / MANIFEST) as stream:
        stream.write(manifest.to_json().encode())
    settle(folder, manifest)


def settle(folder: Path, manifest: Manifest) -> None:
    """Move redone arrays to their place, and remove those of cases that the manifest does not name, and all notes.

    What a later preparation that was interrupted has written stays, to be taken over.
    """
    named = {_file(case.id, kind) for case in manifest.cases for kind in KINDS}
    redone, arrays = _redone(folder, manifest.revision), folder / ARRAYS
    with writing(folder):
        for path in redone.glob("*.npy"):
            if path.name in named:
                path.replace(arrays / path.name)
        _clear(arrays, named)
        for old in folder.glob(f"{REDONE}*"):
            if old != _redone(folder, manifest.revision + 1):
                _clear(old, ())


def discard(arrays: Path, kept: Collection[str]) -> None:
    """Remove what an interrupted preparation has left in a `working_folder` of other cases than these."""
    wanted = {name for case in kept for name in (*(_file(case, kind) for kind in KINDS), _note(arrays, case).name)}
    _clear(arrays, wanted)


def _clear(arrays: Path, kept: Collection[str]) -> None:
    """Remove what a preparation has written into a folder, but for some files, and the folder if nothing is left."""
    for path in arrays.iterdir() if arrays.is_dir() else ():
        if path.name not in kept and path.name.removesuffix(PARTIAL).endswith(WRITTEN) and path.is_file():
            path.unlink()
    remove_if_empty(arrays)


def _redone(folder: Path, revision: int) -> Path:
    return folder / f"{REDONE}{revision}"


def _file(case_id: str, kind: str) -> str:
    return f"{case_id}.{kind}.npy"


def _note(arrays: Path, case_id: str) -> Path:
    return arrays / f"{case_id}{NOTE}"
