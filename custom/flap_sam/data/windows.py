# SPDX-License-Identifier: Apache-2.0
"""Windows of 5 neighbouring slices: what the network sees of a volume.

One window is centred on every slice of a training case; beyond the first and last slice the edge slice is
repeated. Where slices mix, a volume is cut into windows side by side for prediction (see also `views`).
"""

from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from flap_sam.config.experiment import NORMALISATIONS, WINDOW_SLICES
from flap_sam.data.augment import Augmentation, Parameters, adjust, reduced, sample
from flap_sam.data.intensity import CODE_MAXIMUM
from flap_sam.data.pool import PooledStore
from flap_sam.data.store import SiteStore
from flap_sam.data.stream import stable_number
from flap_sam.errors import FlapSamError

TOGETHER = 8  # windows sampled at once: memory of this size is kept and used again, larger is fetched anew each time


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """The training windows of one site.

    Args:
        image_size: S, the side of the square that every slice is resized to, in pixels.
        normalisation: "volume" keeps a slice's intensities as stored; "window" lays the range of the
            window's 5 slices on 0..1 again.
        device: where slices are resized and augmented, and where the windows then lie.
    """

    def __init__(
        self,
        store: SiteStore | PooledStore,
        image_size: int,
        normalisation: str = "volume",
        device: torch.device | str = "cpu",
    ) -> None:
        check_normalisation(normalisation)
        self.store = store
        self.image_size = image_size
        self.normalisation = normalisation
        self.device = torch.device(device)
        self._cases = store.cases("train")
        self._codes = [store.image(case) for case in self._cases]
        self._labels = [store.label(case) for case in self._cases]
        # Slices are numbered through all training cases; here each case's first one, and their count.
        self._first = np.cumsum([0, *(case.shape[0] for case in self._cases)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = self.batch([index])
        return images[0], labels[0]

    @cached_property
    def foreground(self) -> Tensor:
        """Whether the central slice of each window holds any organ, bool [len]; reads every label once."""
        return torch.tensor([bool(plane.any()) for label in self._labels for plane in label])

    def batch(
        self, indices: Sequence[int] | Tensor, augmentation: Augmentation | None = None, visits: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Windows by the number of their central slice.

        Args:
            augmentation: what to augment them by, if at all.
            visits: int64 [b], how often each was seen in the augmentation's epoch before; by default never.

        Returns:
            Images float32 [b, 5, S, S] in 0..1 and labels uint8 [b, 5, S, S].

        Raises:
            IndexError: an index is not in 0..len - 1.
        """
        owners, within = self.located(indices)
        slices = self._members(owners, within)
        if augmentation is None:
            return self._resized(slices)
        cases = [self._cases[owner] for owner in owners]
        centres = torch.from_numpy(within)
        visits = torch.zeros_like(centres) if visits is None else visits
        parameters = augmentation.draw([case.id for case in cases], centres, visits)
        return self._augmented(slices, [case.shape[1:] for case in cases], parameters)

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels alone of windows that are not augmented, uint8 [b, 5, S, S]."""
        classes, places = self._read(self._labels, self._members(*self.located(indices)))
        return self._resized_labels(classes, places)

    def located(self, indices: Sequence[int] | Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Which training case each window belongs to, and its central slice there: int64 [b] each.

        Raises:
            IndexError: an index is not in 0..len - 1.
        """
        centres = np.asarray(indices, dtype=np.int64)
        if centres.size and not 0 <= centres.min() <= centres.max() < len(self):
            raise IndexError(f"window indices must lie in 0..{len(self) - 1}")
        owners = self._owners(centres)
        return owners, centres - self._first[owners]

    def _members(self, owners: np.ndarray, within: np.ndarray) -> np.ndarray:
        """The slices of windows [b, 5], numbered through all cases."""
        first, slices = self._first[owners], np.diff(self._first)[owners]
        return first[:, None] + members(within, slices[:, None])

    def _resized(self, slices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Images and labels (uint8) of windows, given each one's slices [b, 5]."""
        codes, places = self._read(self._codes, slices)
        classes, _ = self._read(self._labels, slices)
        images = _windows_of(codes, places, self.image_size, self.normalisation)
        return images, self._resized_labels(classes, places)

    def _resized_labels(self, classes: list[Tensor], places: np.ndarray) -> Tensor:
        return _gather(torch.cat([resize_labels(stack, self.image_size) for stack in classes]), places)

    def _augmented(
        self, slices: np.ndarray, shapes: list[tuple[int, int]], parameters: Parameters
    ) -> tuple[Tensor, Tensor]:
        """Images and labels (uint8) of windows of slices [b, 5] in planes of a shape each [b]."""
        affine = parameters.affine()
        still = (affine == torch.eye(2, 3)).flatten(1).all(1)
        images = torch.empty(*slices.shape, self.image_size, self.image_size, device=self.device)
        labels = torch.empty_like(images, dtype=torch.uint8)
        kinds = [None if stays else shape for stays, shape in zip(still.tolist(), shapes, strict=True)]
        for rows in _alike(kinds, slices[:, 0]):
            if still[rows[0]]:
                made = self._resized(slices[rows])
            else:
                made = self._sampled(slices[rows], affine[rows].to(self.device))
            adjust(*made, parameters[rows])
            images[rows], labels[rows] = made
        return images, labels

    def _sampled(self, slices: np.ndarray, affine: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels (uint8) of windows in planes of one shape, taken through an affine [b, 2, 3]."""
        codes, places = self._read(self._codes, slices)
        classes, _ = self._read(self._labels, slices)
        small = torch.cat([reduced(stack.float(), self.image_size) for stack in codes]).div_(CODE_MAXIMUM)
        whole = torch.cat(classes)
        images, labels = sample(_gather(small, places), _gather(whole, places), affine, self.image_size)
        if self.normalisation == "window":
            _stretch(images, codes, places)
        return images, labels

    def _owners(self, slices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first, slices, side="right") - 1

    def _read(self, arrays: list[np.ndarray], slices: np.ndarray) -> tuple[list[Tensor], np.ndarray]:
        """Codes or labels of some slices, each read once: a stack [n, rows, columns] for every case among them.

        Returns:
            The stacks, and for every slice its index in the stacks joined one after another.
        """
        wanted, places = np.unique(slices, return_inverse=True)
        owners = self._owners(wanted)
        stacks = [
            self._moved(arrays[owner][wanted[owners == owner] - self._first[owner]]) for owner in np.unique(owners)
        ]
        return stacks, places.reshape(slices.shape)

    def _moved(self, stack: np.ndarray) -> Tensor:
        """The stack on the device; a copy to a GPU goes through pinned memory, and nothing waits for it."""
        tensor = torch.from_numpy(stack)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def members(centres: np.ndarray, slices: int | np.ndarray) -> np.ndarray:
    """The slices [b, 5] of the windows around some centres [b], in volumes of so many slices."""
    return np.clip(centres[:, None] + np.arange(WINDOW_SLICES) - WINDOW_SLICES // 2, 0, slices - 1)


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
    check_normalisation(normalisation)
    for start in range(0, len(image), WINDOW_SLICES):
        codes = torch.from_numpy(np.array(image[start : start + WINDOW_SLICES]))
        places = np.minimum(np.arange(WINDOW_SLICES), len(codes) - 1)[None]
        yield start, len(codes), _windows_of([codes], places, image_size, normalisation)[0]


def epoch_order(n: int, seed: int, round: int, epoch: int) -> Tensor:
    """A permutation of 0..n - 1 (int64 [n]) that depends on the arguments alone."""
    return torch.randperm(n, generator=_generator(seed, round, epoch))


def foreground_order(foreground: Tensor, share: float, seed: int, round: int, epoch: int) -> Tensor:
    """An epoch of n windows (int64 [n]) of which a given share has foreground in its central slice.

    Within either kind windows are left out, or taken again, as evenly as can be; all by the arguments alone.

    Args:
        foreground: bool [n], see `Windows.foreground`. Where it is all true or all false there is nothing to
            choose from: every window comes once.
        share: from 0 to 1.
    """
    n, generator = len(foreground), _generator(seed, round, epoch)
    if foreground.all() or not foreground.any():
        return torch.randperm(n, generator=generator)
    count = int(share * n + 0.5)
    order = torch.cat([_take(foreground, count, generator), _take(~foreground, n - count, generator)])
    return order[torch.randperm(n, generator=generator)]


def earlier_visits(order: Tensor) -> Tensor:
    """How often each entry of an order [n] stands there before, int64 [n]."""
    ascending, places = order.sort(stable=True)
    earlier = torch.arange(len(order)) - torch.searchsorted(ascending, ascending)
    return torch.empty_like(order).scatter_(0, places, earlier)


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(stable_number(*key))


def _take(members: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """That many of the true places of a mask, all of them before any again."""
    places = members.nonzero()[:, 0]
    turns = [places[torch.randperm(len(places), generator=generator)] for _ in range(-(-count // len(places)))]
    return torch.cat(turns)[:count] if turns else places[:0]


def check_normalisation(normalisation: str) -> None:
    if normalisation not in NORMALISATIONS:
        raise FlapSamError(f"The normalisation is {normalisation!r}, expected one of {', '.join(NORMALISATIONS)}.")


def _alike(kinds: Sequence[Hashable], order: np.ndarray) -> Iterator[list[int]]:
    """The places of equal entries, up to `TOGETHER` at once, ascending in an order [b]."""
    for kind in set(kinds):
        places = sorted((place for place, other in enumerate(kinds) if other == kind), key=order.__getitem__)
        yield from (places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER))


def _windows_of(stacks: list[Tensor], places: np.ndarray, side: int, normalisation: str) -> Tensor:
    """Windows float32 [b, 5, S, S] out of stacks of codes, given each window's slices [b, 5] among them all."""
    images = _gather(torch.cat([resize_images(codes, side) for codes in stacks]), places)
    if normalisation == "window":
        _stretch(images, stacks, places)
    return images


def _stretch(images: Tensor, stacks: list[Tensor], places: np.ndarray) -> None:
    """Lay the range of each window's stored slices on 0..1, in place.

    Resizing averages with weights of sum 1, so the range may be taken off afterwards.
    """
    chosen = torch.from_numpy(places).to(images.device)
    low = torch.cat([_intensities(codes).amin((1, 2)) for codes in stacks])[chosen].amin(1)[:, None, None, None]
    high = torch.cat([_intensities(codes).amax((1, 2)) for codes in stacks])[chosen].amax(1)[:, None, None, None]
    images.sub_(low).div_(torch.where(high > low, high - low, 1.0)).clamp_(0, 1)


def _gather(slices: Tensor, places: np.ndarray) -> Tensor:
    """Windows [b, 5, rows, columns] out of slices [n, rows, columns], given each window's slices [b, 5]."""
    in_order = np.array_equal(places.ravel(), np.arange(len(slices)))  # no two windows share a slice: nothing to copy
    chosen = slices if in_order else slices.index_select(0, torch.from_numpy(places.ravel()).to(slices.device))
    return chosen.view(*places.shape, *slices.shape[1:])


def _intensities(codes: Tensor) -> Tensor:
    return codes.float().div_(CODE_MAXIMUM)


def resize_images(codes: Tensor, side: int) -> Tensor:
    return interpolate(_intensities(codes)[None], (side, side), mode="bilinear", antialias=True)[0].clamp_(0, 1)


def resize_labels(labels: Tensor, side: int) -> Tensor:
    return interpolate(labels[None], (side, side), mode="nearest-exact")[0]
