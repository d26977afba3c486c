"""The class names of your own data."""

from collections.abc import Iterable
from pathlib import Path

from flap_sam.data.geometry import read_volume
from flap_sam.errors import FlapSamError

MOST = 255  # a store keeps a label in 8 bits


def class_names(folder: Path, labels: Iterable[Path]) -> tuple[str, ...]:
    """The lines of `classes.txt`; without that file "class 1", "class 2" ... up to the highest label.

    Args:
        folder: where `classes.txt` may lie.
        labels: the label maps, of which those that are there are read. Sites that are prepared apart agree on
            their classes only by a `classes.txt`.

    Raises:
        FlapSamError: `classes.txt` cannot be read or is empty, or a label map cannot be read or holds no class.
    """
    path = folder / "classes.txt"
    if path.exists():
        return _lines(path)
    highest = max((read_volume(label).array.max() for label in labels if label.is_file()), default=0)
    if not 1 <= highest <= MOST:
        raise FlapSamError(
            f"The highest label in {folder} is {highest:g}, expected 1 to {MOST}; correct the label maps, or name the "
            f"classes in {path}."
        )
    return tuple(f"class {number}" for number in range(1, int(highest) + 1))


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as problem:
        raise FlapSamError(f"{path} cannot be read ({problem}), expected one class name a line.") from problem
    names = tuple(line.strip() for line in lines if line.strip())
    if not 1 <= len(names) <= MOST:
        raise FlapSamError(f"{path} holds {len(names)} class names, expected 1 to {MOST}, one a line; correct it.")
    return names
