# SPDX-License-Identifier: Apache-2.0
"""What a site store says about itself: `manifest.json`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from flap_sam.data.intensity import IntensityField
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.names import is_name
from flap_sam.foundation.strict import StrictModel, VersionError, loads, parse

VERSION: Final = 3
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MOST_CLASSES = 255  # a store keeps a label in 8 bits


def _named(value: str) -> str:
    if not is_name(value):
        raise ValueError("a name of letters, digits, '.', '_' and '-'")
    return value


Name = Annotated[str, AfterValidator(_named)]
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Shape = tuple[PositiveInt, PositiveInt, PositiveInt]
Spacing = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Row = tuple[float, float, float, float]


class SourceFile(StrictModel):
    """A file that a case was made of, as it was then.

    Attributes:
        name: without its folder.
        size: in bytes.
        modified_ns, changed_ns: when its content and when anything of it was last changed (mtime and ctime), in
            nanoseconds since 1970.
        sha256: of its bytes.
    """

    name: Text
    size: Annotated[int, Field(ge=0)]
    modified_ns: int
    changed_ns: int
    sha256: Sha256


class Recipe(StrictModel):
    """All settings that a case's arrays depend on, beside its files.

    Attributes:
        source: the layout it was prepared from, for example "kits19".
        classes: class names without background; label k is `classes[k - 1]`.
        any_label: whatever is above 0 in a label map is class 1.
        label_values: numbers in the label maps and their classes, as `labels.csv` lists them; empty where they are the
            classes.
        minimum_side: to how many rows and columns at least its slices were zero-padded, and a new scan's must be.
        intensity: how its scans were clipped, and how a new scan of this site must be.
    """

    source: Name
    classes: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_CLASSES)]
    any_label: bool
    label_values: tuple[tuple[int, Annotated[int, Field(ge=0, le=MOST_CLASSES)]], ...] = ()
    minimum_side: Annotated[int, Field(ge=0)]
    intensity: IntensityField

    def first_difference(self, other: "Recipe") -> str | None:
        """The first setting in which another recipe differs; None where it does not."""
        return next((name for name in Recipe.model_fields if getattr(self, name) != getattr(other, name)), None)


class Draft(StrictModel):
    """One scan of the store, before its arrays are written.

    Attributes:
        id: the case's name, also that of its files.
        shape: (slices, rows, columns) of the stored arrays.
        spacing: millimetres, in the order of `shape`.
        affine: 4x4, voxel to patient millimetres of the original file.
        original_shape: the shape of the original file's array.
        minimum, maximum: the intensities, after clipping, that the codes 0 and 65535 stand for.
        notes: sentences on what the reader of its image had to guess.
        image_files, label_files: what it was made of; empty only where it was not made of files.
    """

    id: Name
    split: Split
    shape: Shape
    spacing: Spacing
    affine: tuple[Row, Row, Row, Row]
    original_shape: Shape
    minimum: float
    maximum: float
    notes: tuple[Text, ...] = ()
    image_files: tuple[SourceFile, ...] = ()
    label_files: tuple[SourceFile, ...] = ()

    @property
    def contents(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The hashes of the files of its image, and of its label map."""
        return _hashes(self.image_files), _hashes(self.label_files)


class Case(Draft):
    """One scan of the store; `image_sha256` and `label_sha256` are of the array files' bytes."""

    image_sha256: Sha256
    label_sha256: Sha256


class Manifest(Recipe):
    """A site's store as a whole.

    Attributes:
        revision: how often its arrays were made, from 1; see `store`.
    """

    version: Literal[3] = VERSION
    site: Name
    revision: PositiveInt = 1
    cases: tuple[Case, ...]

    @model_validator(mode="after")
    def _every_case_once(self) -> Self:
        names = [case.id for case in self.cases]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"every case once; {twice} is listed twice")
        return self

    @property
    def recipe(self) -> Recipe:
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})

    @property
    def content_sha256(self) -> str:
        """SHA-256 over what training depends on: neither times nor the files that the store was made of count.

        It is that of a manifest of version 2, so that comparisons that were recorded then still name the same data.
        """
        kept = [name for name in Case.model_fields if name not in ("notes", "image_files", "label_files")]
        told = self.model_dump(mode="json")
        content = {name: told[name] for name in ("source", "site", "classes", "intensity")}
        content["cases"] = [{name: case[name] for name in kept} for case in told["cases"]]
        content |= {"minimum_side": self.minimum_side, "version": 2}
        return hashlib.sha256((json.dumps(content, indent=1) + "\n").encode()).hexdigest()


class OlderStoreError(FlapSamError):
    """A store was written by an older flap-sam and must be prepared again."""


def read_manifest(path: Path) -> Manifest:
    """Read and check a `manifest.json`.

    Raises:
        OlderStoreError: it has an older version.
        FlapSamError: it cannot be read, is no JSON, or breaks the format.
    """
    try:
        text = path.read_bytes()
        return parse(Manifest, text)
    except VersionError as problem:
        raise _of_another_version(path, problem, loads(text)) from problem
    except (OSError, ValueError) as problem:
        raise FlapSamError(
            f"{path} is not a readable manifest: {problem}; remove {path.parent} and prepare the site again.",
            Reason.STORE,
        ) from problem


def _of_another_version(path: Path, problem: VersionError, found: Mapping[str, Any]) -> FlapSamError:
    told = f"{path} cannot be read: {problem}"
    if not problem.is_older:
        return FlapSamError(f"{told}.", Reason.STORE)
    layout = found["source"].removesuffix("-published") if is_name(found.get("source")) else "LAYOUT"
    return OlderStoreError(
        f"{told}; run `flap-sam prepare {layout} --source DIR --out {path.parent.parent} --site {path.parent.name}`, "
        "where DIR holds the volumes.",
        Reason.STORE,
    )


def _hashes(files: tuple[SourceFile, ...]) -> tuple[str, ...]:
    return tuple(file.sha256 for file in files)
