"""What a site store says about itself: `manifest.json`."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from flap_sam.data.geometry import Affine
from flap_sam.data.intensity import Intensity, SiteIntensity, VolumeIntensity
from flap_sam.errors import FlapSamError
from flap_sam.names import is_name

VERSION = 2
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Case:
    """One scan of the store.

    Attributes:
        id: the case's name, also that of its files.
        split: "train", "validation" or "test".
        shape: (slices, rows, columns) of the stored arrays.
        spacing: millimetres, in the order of `shape`.
        affine: 4x4, voxel to patient millimetres of the original file.
        original_shape: the shape of the original file's array.
        minimum, maximum: the intensities, after clipping, that the codes 0 and 65535 stand for.
        image_sha256, label_sha256: of the array files' bytes.
    """

    id: str
    split: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: Affine
    original_shape: tuple[int, int, int]
    minimum: float
    maximum: float
    image_sha256: str
    label_sha256: str

    @classmethod
    def from_json(cls, found: Any) -> "Case":
        """Raises ValueError where a field is missing, unknown or of the wrong kind."""
        _check_keys(found, cls)
        if found["split"] not in SPLITS:
            raise ValueError(f"split is {found['split']!r}, expected one of {', '.join(SPLITS)}")
        if not isinstance(found["affine"], list) or len(found["affine"]) != 4:
            raise ValueError(f"affine is {found['affine']!r}, expected 4 rows")
        return cls(
            id=_name(found, "id"),
            split=found["split"],
            shape=_sizes(found, "shape"),
            spacing=_numbers(found["spacing"], 3, "spacing"),
            affine=tuple(_numbers(row, 4, "affine row") for row in found["affine"]),
            original_shape=_sizes(found, "original_shape"),
            minimum=_number(found["minimum"], "minimum"),
            maximum=_number(found["maximum"], "maximum"),
            image_sha256=_name(found, "image_sha256"),
            label_sha256=_name(found, "label_sha256"),
        )


@dataclass(frozen=True)
class Manifest:
    """A site's store as a whole.

    Attributes:
        source: the layout it was prepared from, for example "kits19".
        classes: class names without background; label k is `classes[k - 1]`.
        intensity: how its scans were clipped, and how a new scan of this site must be.
        minimum_side: to how many rows and columns at least its slices were zero-padded, and a new scan's must be.
    """

    source: str
    site: str
    classes: tuple[str, ...]
    intensity: Intensity
    cases: tuple[Case, ...]
    minimum_side: int = 0
    version: int = VERSION

    @classmethod
    def from_json(cls, found: Any) -> "Manifest":
        """Raises ValueError where a field is missing, unknown or of the wrong kind."""
        if isinstance(found, dict) and found.get("version") != VERSION:
            raise ValueError(f"its format version is {found.get('version')!r}, expected {VERSION}")
        _check_keys(found, cls)
        classes = found["classes"]
        if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"classes is {classes!r}, expected a list of class names")
        if not isinstance(found["cases"], list):
            raise ValueError(f"cases is {found['cases']!r}, expected a list")
        cases = tuple(map(Case.from_json, found["cases"]))
        if len({case.id for case in cases}) < len(cases):
            raise ValueError("a case is listed twice")
        return cls(
            source=_name(found, "source"),
            site=_name(found, "site"),
            classes=tuple(classes),
            intensity=intensity_from_json(found["intensity"]),
            cases=cases,
            minimum_side=_whole(found["minimum_side"], "minimum_side"),
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def intensity_from_json(found: Any) -> Intensity:
    """A table by its keys; raises ValueError where it is neither kind."""
    kind = VolumeIntensity if isinstance(found, dict) and "low_percentile" in found else SiteIntensity
    _check_keys(found, kind)
    return kind(**{key: _number(value, key) for key, value in found.items()})


def read_manifest(path: Path) -> Manifest:
    """Read and check a `manifest.json`.

    Raises:
        FlapSamError: it cannot be read, is no JSON, or breaks the format.
    """
    try:
        return Manifest.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as problem:
        raise FlapSamError(
            f"{path} is not a readable manifest: {problem}; remove {path.parent} and prepare the site again.",
            public="the site's data store cannot be read",
        ) from problem


def _check_keys(found: Any, kind: type) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"found {found!r}, expected a {kind.__name__} as a JSON object")
    expected = {field.name for field in fields(kind)}
    for problem, keys in (
        ("lacks", expected - found.keys()),
        ("has the unknown key", found.keys() - expected),
    ):
        if keys:
            raise ValueError(f"{kind.__name__} {found.get('id', '')} {problem} {', '.join(sorted(keys))}")


def _name(found: dict, key: str) -> str:
    value = found[key]
    if not is_name(value):
        raise ValueError(f"{key} is {value!r}, expected a name of letters, digits, '.', '_' and '-'")
    return value


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}, expected a number")
    return float(value)


def _numbers(values: Any, count: int, key: str) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{key} is {values!r}, expected {count} numbers")
    return tuple(_number(value, key) for value in values)


def _whole(value: Any, key: str) -> int:
    if not _number(value, key).is_integer():
        raise ValueError(f"{key} is {value!r}, expected a whole number")
    return int(value)


def _sizes(found: dict, key: str) -> tuple[int, int, int]:
    sizes = _numbers(found[key], 3, key)
    if not all(size >= 1 and size.is_integer() for size in sizes):
        raise ValueError(f"{key} is {found[key]!r}, expected 3 whole numbers from 1")
    return tuple(map(int, sizes))
