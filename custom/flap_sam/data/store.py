"""The site store: what a site trains from, and all that training ever reads.

    STORE/<site>/manifest.json
    STORE/<site>/arrays/<case>.image.npy   uint16 [slices, rows, columns], 0..65535 meaning 0..1
    STORE/<site>/arrays/<case>.label.npy   uint8  [slices, rows, columns]

Arrays are in store orientation (see `geometry`). Cases are written one by one and the manifest last: a folder
without a manifest is a preparation that did not finish, and no store.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from flap_sam.data.intensity import Intensity
from flap_sam.data.manifest import Case, Manifest, intensity_from_json, read_manifest
from flap_sam.errors import FlapSamError
from flap_sam.files import replacing, sha256

MANIFEST = "manifest.json"
UNREADABLE = "the site's data store cannot be read"


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
                public="the site's data store does not exist",
            )
        if site not in sites(store):
            raise FlapSamError(
                f"The data store {store} has no site {site!r}, it holds {', '.join(sites(store)) or 'none'}; "
                "prepare that site or correct its name.",
                public="the site's data store holds no data for this site",
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
                public=UNREADABLE,
            )
        if not self.cases("train"):
            raise FlapSamError(
                f"{self.folder / MANIFEST} lists no training case, expected at least one; remove {self.folder} "
                "and prepare the site with cases whose split is train.",
                public="the site has no training case",
            )
        for case in self.manifest.cases:
            self.image(case)
            self.label(case)

    def _array(self, case: Case, kind: str, dtype: type) -> np.ndarray:
        path = array_path(self.folder, case.id, kind)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as problem:
            raise FlapSamError(
                f"{path} cannot be read ({problem}); remove {self.folder} and prepare the site again.",
                public=UNREADABLE,
            ) from problem
        if array.shape != case.shape or array.dtype != dtype:
            raise FlapSamError(
                f"{path} holds {array.dtype} {array.shape}, but the manifest says {np.dtype(dtype)} {case.shape}; "
                f"remove {self.folder} and prepare the site again.",
                public=UNREADABLE,
            )
        return array


def array_path(folder: Path, case_id: str, kind: str) -> Path:
    """Where a site folder keeps a case's "image" or "label"."""
    return folder / "arrays" / f"{case_id}.{kind}.npy"


def write_case(folder: Path, case: Case, image: np.ndarray, label: np.ndarray, intensity: Intensity) -> Case:
    """Write a case's arrays, then a note that they are whole.

    Args:
        folder: the site's folder, STORE/<site>.
        case: all but its checksums.

    Returns:
        The case with its checksums.
    """
    checksums = {}
    for kind, array in (("image", image), ("label", label)):
        path = array_path(folder, case.id, kind)
        with replacing(path) as stream:
            np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        checksums[f"{kind}_sha256"] = sha256(path)
    case = replace(case, **checksums)
    with replacing(_note(folder, case.id)) as stream:
        stream.write(json.dumps({"intensity": asdict(intensity), "case": asdict(case)}).encode())
    return case


def written_case(folder: Path, case_id: str, split: str, intensity: Intensity) -> Case | None:
    """A case that an earlier, unfinished preparation has written in the same way, if there is one."""
    try:
        note = json.loads(_note(folder, case_id).read_text("utf-8"))
        case, written_with = Case.from_json(note["case"]), intensity_from_json(note["intensity"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return case if (case.split, written_with) == (split, intensity) else None


def write_manifest(store: Path, manifest: Manifest) -> None:
    """Finish a site's store: write its manifest and clear the notes of `write_case`."""
    folder = store / manifest.site
    with replacing(folder / MANIFEST) as stream:
        stream.write(manifest.to_json().encode())
    for case in manifest.cases:
        _note(folder, case.id).unlink(missing_ok=True)


def _note(folder: Path, case_id: str) -> Path:
    return folder / "arrays" / f"{case_id}.json"
