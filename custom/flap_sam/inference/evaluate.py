# SPDX-License-Identifier: Apache-2.0
"""How good segmentations are: of a payload on a store's cases, or of label maps beside the true ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from flap_sam.data.readers.kinds import READABLE, Listing, stem
from flap_sam.data.store import SiteStore, sites
from flap_sam.data.volumes import read_masks
from flap_sam.errors import FlapSamError
from flap_sam.inference.model import Model
from flap_sam.inference.segment import MASK
from flap_sam.records.scores import CaseScore
from flap_sam.training.evaluate import compared, score

SUFFIX = MASK.removesuffix(".nii.gz")
NAMED = 20  # of the maps that are missing


def stores_to_score(store: Path, only: Sequence[str] | None, classes: int) -> list[SiteStore]:
    """The sites of a store that have a payload's number of classes, all under the same names.

    Args:
        only: these sites; None means all.

    Raises:
        FlapSamError: see `SiteStore.open`; or a site has other classes than the payload or than the first site, or
            there is no test case.
    """
    opened = [SiteStore.open(store, name) for name in only or sites(store) or ["?"]]
    first = opened[0].manifest.classes
    for site in opened:
        names = site.manifest.classes
        if len(names) != classes:
            raise FlapSamError(
                f"Store {site.folder} has {len(names)} classes, the payload has {classes}; point to a store prepared "
                "for it."
            )
        if names != first:
            raise FlapSamError(
                f"Store {site.folder} has the classes {', '.join(names)}, {opened[0].folder} has {', '.join(first)}; "
                "score them apart, with --site."
            )
    if not any(site.cases("test") for site in opened):
        raise FlapSamError(f"Store {store} has no test case; prepare it with cases whose split is test.")
    return opened


def evaluate_stores(
    model: Model, stores: Sequence[SiteStore], tolerance: float, device: torch.device, precision: str
) -> Iterator[CaseScore]:
    """A payload on the test cases of sites; the cases are called `site/case`.

    Args:
        tolerance: of the surface Dice, in mm.
    """
    experiment = model.experiment.changed(surface_tolerance=tolerance)
    network = model.network.to(device)
    for site in stores:
        for found in score(network, site, "test", experiment, device, precision):
            yield replace(found, case=f"{site.manifest.site}/{found.case}")


def evaluate_masks(
    predicted: Path, truth: Path, classes: int, tolerance: float, tell: Callable[[str], object] = lambda _: None
) -> Iterator[CaseScore]:
    """Label maps beside the true ones: two files, or two folders where the true `X.nii.gz` meets `X` or `X_mask`.

    Args:
        tell: is given what is odd about the maps of a case, see `Volume`.

    Raises:
        FlapSamError: a true map has no counterpart, or see `read_masks`.
    """
    for case, (found, true) in _pairs(predicted, truth).items():
        prediction, label, volume = read_masks(found, true, classes)
        for note in volume.notes:
            tell(f"note on {case}: {note}")
        yield compared(case, prediction, label, classes, volume, tolerance)


def maps_without_truth(predicted: Path, truth: Path) -> list[Path]:
    """The label maps of a folder that `evaluate_masks` does not score, as there is no true one of their names."""
    if predicted.is_file():
        return []
    found, true = _maps_in(predicted), _maps_in(truth)
    return [found[case] for case in sorted(found.keys() - true.keys())]


def _pairs(predicted: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    if predicted.is_file() and truth.is_file():
        return {_case(truth): (predicted, truth)}
    found, true = _maps_in(predicted), _maps_in(truth)
    if missing := sorted(true.keys() - found.keys()):
        named = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
        raise FlapSamError(
            f"{predicted} holds no label map of {named}, which {truth} has ({len(missing)} of {len(true)} are "
            f"missing); expected {missing[0]}{MASK}. Predict those "
            "scans too, or name a folder of true label maps without them."
        )
    return {case: (found[case], file) for case, file in sorted(true.items())}


def _maps_in(folder: Path) -> dict[str, Path]:
    maps: dict[str, Path] = {}
    for file in (file for files in Listing.of(folder).volumes.values() for file in files):
        if maps.setdefault(_case(file), file) != file:
            raise FlapSamError(f"{file} and {maps[_case(file)]} would both be the map of {_case(file)}; remove one.")
    if not maps:
        raise FlapSamError(f"{folder} holds no label map ({READABLE}); point to two files or two folders.")
    return maps


def _case(path: Path) -> str:
    return stem(path).removesuffix(SUFFIX)
