"""Windows of 5 neighbouring slices: what the network sees of a volume.

One window is centred on every slice of a training case; beyond the first and last slice the edge slice is
repeated. For prediction a volume is cut into windows side by side.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from flap_sam.data.intensity import CODE_MAXIMUM
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError

WINDOW = 5
NORMALISATIONS = ("volume", "window")


class Windows(Dataset):
    """The training windows of one site.

    Args:
        image_size: S, the side of the square that every slice is resized to, in pixels.
        normalisation: "volume" keeps a slice's intensities as stored; "window" lays the range of the
            window's 5 slices on 0..1 again.
    """

    def __init__(self, store: SiteStore, image_size: int, normalisation: str = "volume") -> None:
        _check_normalisation(normalisation)
        self.store = store
        self.image_size = image_size
        self.normalisation = normalisation
        self._cases = store.cases("train")
        # Slices are numbered through all training cases; here each case's first one, and their count.
        self._first = np.cumsum([0, *(case.shape[0] for case in self._cases)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch([index])
        return images[0], labels[0]

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Windows by the number of their central slice.

        Returns:
            Images float32 [b, 5, S, S] in 0..1 and labels int64 [b, 5, S, S].

        Raises:
            IndexError: an index is not in 0..len - 1.
        """
        centres = np.asarray(indices, dtype=np.int64)
        if centres.size and not 0 <= centres.min() <= centres.max() < len(self):
            raise IndexError(f"window indices must lie in 0..{len(self) - 1}")
        owners = self._owners(centres)
        edges = self._first[owners][:, None], self._first[owners + 1][:, None] - 1
        slices = np.clip(centres[:, None] + np.arange(WINDOW) - WINDOW // 2, *edges)

        wanted, places = np.unique(slices, return_inverse=True)
        places = places.reshape(slices.shape)
        codes, classes = self._read(wanted)
        images = _windows_of(codes, places, self.image_size, self.normalisation)
        labels = torch.cat([_resize_labels(stack, self.image_size) for stack in classes])
        return images, _gather(labels, places).long()

    def _owners(self, slices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first, slices, side="right") - 1

    def _read(self, slices: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Codes and labels of ascending slice numbers: a stack [n, rows, columns] for every case among them."""
        owners = self._owners(slices)
        codes, classes = [], []
        for owner in np.unique(owners):
            inside = slices[owners == owner] - self._first[owner]
            codes.append(self.store.image(self._cases[owner])[inside])
            classes.append(self.store.label(self._cases[owner])[inside])
        return codes, classes


def volume_windows(
    image: np.ndarray, image_size: int, normalisation: str = "volume"
) -> Iterator[tuple[int, int, Tensor]]:
    """Cut a volume into windows side by side, each slice in exactly one of them, in order.

    Args:
        image: codes uint16 [slices, rows, columns], as stored.
        image_size, normalisation: as for `Windows`.

    Yields:
        The number of the window's first slice, how many of its 5 slices are the volume's own (the others
        repeat the last one), and the images float32 [5, S, S] in 0..1.
    """
    _check_normalisation(normalisation)
    for start in range(0, len(image), WINDOW):
        codes = np.asarray(image[start : start + WINDOW])
        places = np.minimum(np.arange(WINDOW), len(codes) - 1)[None]
        yield start, len(codes), _windows_of([codes], places, image_size, normalisation)[0]


def epoch_order(n: int, seed: int, round: int, epoch: int) -> Tensor:
    """A permutation of 0..n - 1 (int64 [n]) that depends on the arguments alone."""
    digest = hashlib.sha256(f"{seed} {round} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randperm(n, generator=generator)


def _check_normalisation(normalisation: str) -> None:
    if normalisation not in NORMALISATIONS:
        raise FlapSamError(f"The normalisation is {normalisation!r}, expected one of {', '.join(NORMALISATIONS)}.")


def _windows_of(stacks: list[np.ndarray], places: np.ndarray, side: int, normalisation: str) -> Tensor:
    """Windows float32 [b, 5, S, S] out of stacks of codes, given each window's slices [b, 5] among them all."""
    images = _gather(torch.cat([_resize_images(codes, side) for codes in stacks]), places)
    if normalisation == "window":
        # Resizing averages with weights of sum 1, so the range of the stored slices may be taken off afterwards.
        low = np.concatenate([codes.min((1, 2)) for codes in stacks])[places].min(1)
        high = np.concatenate([codes.max((1, 2)) for codes in stacks])[places].max(1)
        low, high = (torch.from_numpy(code / np.float32(CODE_MAXIMUM))[:, None, None, None] for code in (low, high))
        images.sub_(low).div_(torch.where(high > low, high - low, 1.0)).clamp_(0, 1)
    return images


def _gather(slices: Tensor, places: np.ndarray) -> Tensor:
    """Windows [b, 5, S, S] out of slices [n, S, S], given each window's slices [b, 5]."""
    chosen = slices.index_select(0, torch.from_numpy(places.ravel()))
    return chosen.view(*places.shape, *slices.shape[1:])


def _resize_images(codes: np.ndarray, side: int) -> Tensor:
    images = torch.from_numpy(codes.astype(np.float32)).div_(CODE_MAXIMUM)
    return interpolate(images[None], (side, side), mode="bilinear", antialias=True)[0].clamp_(0, 1)


def _resize_labels(labels: np.ndarray, side: int) -> Tensor:
    return interpolate(torch.from_numpy(labels)[None], (side, side), mode="nearest-exact")[0]
