# SPDX-License-Identifier: Apache-2.0
"""A site's cache of image embeddings, for methods that leave the image encoder as it is: each slice encoded once.

    <state>/embeddings/<site>/<encoder>/<sha256 of the case's image>.float32   the numbers, and a SHA-256 behind them

Embeddings are made of patients' images and stay at the site like these. The encoder's folder is named by a hash over
its weights and all else that they depend on, so nothing in it can be out of date.
"""

import fcntl
import hashlib
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flap_sam.config.experiment import WINDOW_SLICES, Experiment
from flap_sam.data.manifest import Case
from flap_sam.data.store import SiteStore
from flap_sam.data.views import Views
from flap_sam.data.windows import Windows
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.sam.checkpoint import digest_of
from flap_sam.sam.methods import freezes_encoder
from flap_sam.sam.network import FlapSam
from flap_sam.training.embedded import EmbeddedCase, EmbeddedWindows
from flap_sam.training.predict import embed

FOLDER = "embeddings"
VERSION = "1"
SUFFIX = ".float32"
KEPT_ENCODERS = 2
LARGEST_SHARE = 0.5  # of the free disk


@dataclass(frozen=True)
class FrozenEncoder:
    """An image encoder that never changes, and how a run uses it."""

    network: FlapSam
    experiment: Experiment
    device: torch.device
    precision: str

    @classmethod
    def of(
        cls, network: FlapSam, experiment: Experiment, device: torch.device, precision: str
    ) -> "FrozenEncoder | None":
        """The network's image encoder; None where the experiment's method changes it."""
        frozen = freezes_encoder(network, experiment.method)
        return cls(network, experiment, device, precision) if frozen else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything but the image that an embedding depends on."""
        settings = VERSION, str(self.experiment.image_size), self.experiment.normalisation, self.precision
        return digest_of(self.network.image_encoder, *settings)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an embedding."""
        return self.network.prompt_encoder.embed_dim, *self.network.prompt_encoder.image_embedding_size

    def views(self, image: np.ndarray) -> Views:
        return Views.of(image, self.experiment.normalisation)

    def embed(self, views: Views) -> Iterator[np.ndarray]:
        """Embeddings of a volume's views, some at a time."""
        for _, found in embed(self.network, views, self.experiment.pixels, self.device, self.precision):
            yield found.cpu().contiguous().numpy()


class EmbeddingCache:
    """The embeddings of one store under one encoder; several processes may use it at once."""

    def __init__(self, folder: Path, store: SiteStore, encoder: FrozenEncoder) -> None:
        self.folder = folder
        self.store = store
        self._encoder = encoder
        self._known: dict[str, EmbeddedCase] = {}
        in_use = os.open(folder / "in_use", os.O_CREAT | os.O_RDWR)
        fcntl.flock(in_use, fcntl.LOCK_SH)
        weakref.finalize(self, os.close, in_use)

    @classmethod
    def open(cls, state: Path, store: SiteStore, encoder: FrozenEncoder) -> "EmbeddingCache | None":
        """The cache in a site's folder for state, cleared of other encoders' and of images the store has no more.

        None where it might take more than half of the disk that is free.

        Raises:
            FlapSamError: the folder cannot be made.
        """
        folder = state / FOLDER / store.manifest.site / encoder.digest
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            cache = cls(folder, store, encoder)
        except OSError as problem:
            raise FlapSamError(f"{folder} cannot be used ({problem}); make it writable.") from problem
        cache._clear()
        return cache if cache._fits() else None

    def of(self, case: Case) -> EmbeddedCase:
        """A case of the store, its embeddings memory-mapped and read-only.

        Raises:
            FlapSamError: the cache cannot be written.
        """
        if case.image_sha256 not in self._known:
            views = self._encoder.views(self.store.image(case))
            self._known[case.image_sha256] = EmbeddedCase(self._embeddings(case, views), views.windows)
        return self._known[case.image_sha256]

    def _embeddings(self, case: Case, views: Views) -> np.ndarray:
        path, shape = self._path(case), (len(views), *self._encoder.shape)
        with _locked(path.with_suffix(".lock")):
            found = _read(path, shape)
            if found is None:
                _write(path, self._encoder.embed(views))
                found = _read(path, shape)
        if found is None:
            raise FlapSamError(f"{path} is not as it was written; see whether the disk fails.")
        return found

    def _path(self, case: Case) -> Path:
        return self.folder / (case.image_sha256 + SUFFIX)

    def _clear(self) -> None:
        wanted = {self._path(case) for case in self.store.manifest.cases}
        for path in set(self.folder.glob(f"*{SUFFIX}")) - wanted:
            path.unlink(missing_ok=True)
        os.utime(self.folder)
        others = sorted(set(self.folder.parent.iterdir()) - {self.folder}, key=_last_use, reverse=True)
        for other in others[KEPT_ENCODERS - 1 :]:
            _remove_unless_used(other)

    def _fits(self) -> bool:
        slices = sum(case.shape[0] for case in self.store.manifest.cases)
        views = slices * (WINDOW_SLICES if self._encoder.experiment.normalisation == "window" else 1)
        bytes_at_most = views * int(np.prod(self._encoder.shape)) * np.dtype(np.float32).itemsize
        there = sum(path.stat().st_size for path in self.folder.glob(f"*{SUFFIX}"))
        return bytes_at_most - there <= LARGEST_SHARE * shutil.disk_usage(self.folder).free


def training_data(
    network: FlapSam, experiment: Experiment, windows: Windows, caches: Sequence[EmbeddingCache | None]
) -> tuple[Windows | EmbeddedWindows, Callable[[Tensor], Tensor]]:
    """What to train from, and the part of the network that makes logits of it.

    Args:
        windows: over the training cases of the caches' stores, store by store. Augmentation changes their pixels:
            with it, and where a cache is None, they are encoded anew in every step.
    """
    usable = [cache for cache in caches if cache is not None]
    if experiment.augmentation != "none" or len(usable) < len(caches):
        return windows, network
    cases = [partial(cache.of, case) for cache in usable for case in cache.store.cases("train")]
    return EmbeddedWindows(windows, cases), network.decode


def _write(path: Path, parts: Iterable[np.ndarray]) -> None:
    digest = hashlib.sha256(path.name.encode())
    with replacing(path, private=True) as stream:
        for part in parts:
            digest.update(part.data)
            stream.write(part.data)
        stream.write(digest.digest())


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """A file's numbers; None where there is none, or where a bit of it is not as it was written under this name."""
    try:
        found = np.memmap(path, np.float32, mode="r", shape=shape)
    except (OSError, ValueError):
        return None
    digest = hashlib.sha256(path.name.encode())
    digest.update(found.data)
    with path.open("rb") as stream:
        stream.seek(found.nbytes)
        return found if stream.read() == digest.digest() else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with what the lock file at `path` stands for."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as problem:
        raise FlapSamError(f"{path} cannot be written ({problem}); make its folder writable.") from problem
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has cleared it meanwhile
        return 0.0


def _remove_unless_used(folder: Path) -> None:
    try:
        with (folder / "in_use").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # another process works with it or has cleared it meanwhile, or it is no cache
        return
