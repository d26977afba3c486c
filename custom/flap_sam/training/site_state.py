# SPDX-License-Identifier: Apache-2.0
"""What a site keeps between the rounds of a run: outside the run folder, so that a new job can go on from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation import lock
from flap_sam.foundation.files import UnwritableError, remove_if_empty, replacing
from flap_sam.foundation.lock import locked
from flap_sam.foundation.names import is_run_name
from flap_sam.foundation.strict import VERSION, VersionError, check_version

FORMAT = 1
KEPT = 2
PATIENCE = 60.0
TRAINING, PERSONAL = "round", "personal"
DATA = "data"
THREADS = "threads"


class SiteState:
    """A site's states of one run, one file for each round it trained.

    Args:
        folder: of this site and run.
        experiment: digest of the experiment but for its rounds, kept with every state, as is the version of its format.
    """

    def __init__(self, folder: Path, experiment: str) -> None:
        self.folder = folder
        self._experiment = experiment

    def claim(self, data: Path) -> None:
        """Note the data that the site works on in this run; the note stays on this machine.

        Raises:
            FlapSamError: another site of the run, on this machine, works on the same, or the note cannot be written.
        """
        own = str(data.resolve())
        with self._kept(DATA) as stream:
            stream.write(own.encode())
        others = [note for note in self.folder.parent.glob(f"*/{DATA}") if note.parent != self.folder]
        if shared := [note for note in others if _text(note) == own]:
            self._forget_claim()
            raise FlapSamError(
                f"Site {self.folder.name} works on {own}, as site {shared[0].parent.name} does in the same run; let "
                f"each have data of its own, or remove {shared[0]} if that is out of date.",
                Reason.SHARED_STORE,
            )

    @contextmanager
    def held(self) -> Iterator[int]:
        """Alone with the site's part of the run, while a round is trained; the lock's descriptor.

        A process that an earlier job of the run has left behind is waited for, as FLARE may be ending it.

        Raises:
            FlapSamError: another process still trains.
        """
        with locked(self.folder / lock.NAME, f"The state {self.folder} of this run", PATIENCE) as descriptor:
            yield descriptor

    def save(self, number: int, training: dict[str, Tensor], personal: dict[str, Tensor]) -> None:
        """Keep what stands after a round. Of training states the newest two stay: a round may be asked for again."""
        if personal:
            self._write(PERSONAL, number, personal)
        self._write(TRAINING, number, training)
        for old in self._files(TRAINING)[:-KEPT]:
            old.unlink()

    def training(self, before: int) -> tuple[int, dict[str, Tensor]] | None:
        """The newest round before the given one, and what stood after it; None where there is none.

        Raises:
            FlapSamError: the file is damaged or belongs to another experiment.
        """
        return self._newest(TRAINING, before)

    def threads(self) -> int | None:
        """How many threads the newest training state was computed with: another number gives other bits."""
        newest = self._files(TRAINING)[-1:]
        try:
            found = [_told(path).get(THREADS, "") for path in newest]
        except (SafetensorError, OSError):
            return None  # who reads the state itself says what is wrong with it
        return next((int(number) for number in found if number.isdecimal()), None)

    def personal(self, before: int) -> dict[str, Tensor]:
        """The tensors that never leave the site, as they stood before a round."""
        newest = self._newest(PERSONAL, before)
        return newest[1] if newest else {}

    def close(self) -> None:
        """End the run's training and keep its newest training state alone, as a later job may continue it.

        That state stays until training ends in another run of this site. A run whose note of its data is missing has
        ended its training: the note is removed here.
        """
        for path in self._files(TRAINING)[:-1]:
            path.unlink()
        self._forget_claim()
        for folder in self.folder.parent.parent.glob(f"*/{self.folder.name}"):
            is_over = is_run_name(folder.parent.name) and not (folder / DATA).exists()
            if is_over and folder != self.folder:
                _forget_training(folder)

    def _forget_claim(self) -> None:
        (self.folder / DATA).unlink(missing_ok=True)
        remove_if_empty(self.folder, self.folder.parent)

    def _files(self, kind: str) -> list[Path]:
        return _files(self.folder, kind)

    def _write(self, kind: str, number: int, tensors: dict[str, Tensor]) -> None:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        told = {"experiment": self._experiment, VERSION: str(FORMAT), THREADS: str(torch.get_num_threads())}
        with self._kept(f"{kind}_{number:05}.safetensors") as stream:
            stream.write(save(contiguous, metadata=told))

    @contextmanager
    def _kept(self, name: str) -> Iterator[BinaryIO]:
        """A file of the state, for writing."""
        try:
            with replacing(self.folder / name, private=True) as stream:
                yield stream
        except UnwritableError as error:
            raise FlapSamError(str(error), Reason.STATE) from error

    def _newest(self, kind: str, before: int) -> tuple[int, dict[str, Tensor]] | None:
        numbers = {int(path.stem.rpartition("_")[2]): path for path in self._files(kind)}
        earlier = [number for number in numbers if number < before]
        if not earlier:
            return None
        path = numbers[max(earlier)]
        try:
            told = _told(path)
            check_version({VERSION: int(told.get(VERSION, "1"))}, FORMAT)
            tensors = load_file(path)
        except VersionError as error:
            raise FlapSamError(
                f"Training state {path} cannot be read: {error}; remove the run's folder to start anew."
            ) from error
        except (SafetensorError, OSError, ValueError) as error:
            raise FlapSamError(f"Training state {path} is damaged ({error}); remove the run's folder.") from error
        if told.get("experiment") != self._experiment:
            raise FlapSamError(f"Training state {path} belongs to another experiment; remove it to start anew.")
        return max(earlier), tensors


def _told(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _files(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}_*.safetensors"))


def _forget_training(folder: Path) -> None:
    for path in _files(folder, TRAINING):
        path.unlink(missing_ok=True)
    remove_if_empty(folder, folder.parent)


def _text(note: Path) -> str | None:
    """What another site has noted; None where its run is over meanwhile."""
    try:
        return note.read_text()
    except FileNotFoundError:
        return None
