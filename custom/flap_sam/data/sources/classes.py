# SPDX-License-Identifier: Apache-2.0
"""The class names of your own data."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from flap_sam.data.manifest import MOST_CLASSES as MOST
from flap_sam.data.sources.tables import read_text
from flap_sam.data.volumes import read_volume
from flap_sam.errors import FlapSamError


def class_names(folder: Path, labels: Iterable[Path], values: Mapping[int, int] | None = None) -> tuple[str, ...]:
    """The lines of `classes.txt`; without that file "class 1", "class 2" ... up to the highest label.

    Args:
        folder: where `classes.txt` may lie.
        labels: the label maps, of which those that are there are read. Sites that are prepared apart agree on
            their classes only by a `classes.txt`.
        values: see `label_values`; without `classes.txt` the classes are those that it lists.

    Raises:
        FlapSamError: `classes.txt` cannot be read or is empty, or a label map cannot be read or holds no class, or no
            map holds a class below the highest one.
    """
    path = folder / "classes.txt"
    if path.exists():
        return _lines(path)
    found = set(values.values()) if values else set().union(*(_numbers(label) for label in labels if label.exists()))
    highest = max(found, default=0)
    if not 1 <= highest <= MOST:
        raise FlapSamError(
            f"The highest label in {folder} is {highest:g}, expected 1 to {MOST}; correct the label maps, or name the "
            f"classes in {path}."
        )
    if missing := sorted(set(range(1, highest + 1)) - found):
        held = ", ".join(map(str, sorted(found - {0})))
        raise FlapSamError(
            f"The label maps in {folder} hold {held}, but none holds {missing[0]}"
            f"{f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''}; name the classes in {path}, or list in "
            "labels.csv what the numbers stand for."
        )
    return tuple(f"class {number}" for number in range(1, highest + 1))


def _numbers(path: Path) -> set[int]:
    """The numbers from 0 to `MOST` in a label map, and its highest one; `read_pair` looks at the others."""
    array = read_volume(path, label=True).array
    highest = int(np.rint(array.max()))
    if not 1 <= highest <= MOST:
        return {highest}
    counts = np.zeros(MOST + 1, np.int64)
    for row in range(array.shape[1]):
        counts += np.bincount(np.rint(array[:, row]).clip(0, MOST).astype(np.intp).ravel(), minlength=MOST + 1)
    return set(np.flatnonzero(counts).tolist())


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as problem:
        raise FlapSamError(f"{path} cannot be read ({problem}), expected one class name a line.") from problem
    names = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(names) <= MOST:
        raise FlapSamError(f"{path} holds {len(names)} class names, expected 1 to {MOST}, one a line; correct it.")
    return names
