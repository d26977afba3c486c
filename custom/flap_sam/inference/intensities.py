# SPDX-License-Identifier: Apache-2.0
"""Which intensities of a new scan the network sees as 0 and 1: as in the data that it was trained on."""

from dataclasses import dataclass, replace
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.data.intensity import Intensity, SiteIntensity, VolumeIntensity
from flap_sam.data.sources.kits19 import FED_KITS19, PUBLISHED
from flap_sam.data.store import MANIFEST, SiteStore, sites
from flap_sam.errors import FlapSamError


@dataclass(frozen=True)
class Conventions:
    """How a site has its scans prepared.

    Args:
        classes: their names; None where nothing tells them.
        minimum_side: to how many rows and columns at least slices are zero-padded.
        told: where this comes from, for the person at the console.
    """

    intensity: Intensity
    classes: tuple[str, ...] | None
    minimum_side: int
    told: str

    def names(self, count: int) -> list[str]:
        """The names of so many classes."""
        return list(self.classes or (f"class {k}" for k in range(1, count + 1)))


def conventions(
    experiment: Experiment, store: Path | None, site: str | None, clip: tuple[str, str] | None
) -> Conventions:
    """How a new scan is prepared: as the store's site has it, clipped as `clip` says where it is given.

    Without either only KiTS19, by the experiment's `dataset`, is known.

    Args:
        site: may be left out where the store has one.
        clip: two intensities in the scan's own unit, or two percentiles of every scan with a per cent sign.

    Raises:
        FlapSamError: none of them says it, or they cannot be understood.
    """
    if clip is None:
        return _of_dataset(experiment.dataset) if store is None else _of_store(store, site, experiment.classes)
    asked, told = clipped(*clip), f"clipped to {clip[0]} and {clip[1]}, as asked for"
    if store is None:
        return Conventions(asked, None, 0, told)
    return replace(_of_store(store, site, experiment.classes), intensity=asked, told=told)


def clipped(low: str, high: str) -> Intensity:
    """Of "-80" and "300", or "0.5%" and "99.5%"."""
    texts, percent = (low, high), low.endswith("%")
    try:
        numbers = [float(text.removesuffix("%")) for text in texts]
    except ValueError:
        numbers = []
    if not numbers or high.endswith("%") != percent or not numbers[0] < numbers[1]:
        raise FlapSamError(f"--clip is {low} {high}; expected two rising numbers such as -80 300, or 0.5% 99.5%.")
    if not percent:
        return SiteIntensity(low=numbers[0], high=numbers[1], mean=0.0, std=1.0)
    if not 0 <= numbers[0] < numbers[1] <= 100:
        raise FlapSamError(f"--clip is {low} {high}; percentiles lie between 0 and 100.")
    return VolumeIntensity(low_percentile=numbers[0], high_percentile=numbers[1])


def kits19_mean() -> SiteIntensity:
    """The mean of the published tables of Fed-KiTS19's sites, by their training cases."""
    cases = {site: len(FED_KITS19[site]["train"]) for site in PUBLISHED}
    whole = sum(cases.values())
    means = {
        name: sum(cases[site] * getattr(table, name) for site, table in PUBLISHED.items()) / whole
        for name in ("low", "high", "mean", "std")
    }
    return SiteIntensity(**means)


def _of_dataset(dataset: str) -> Conventions:
    if dataset != "kits19":
        raise FlapSamError(
            "Nothing says which intensities of a scan the network sees as 0 and 1; name the --store (and --site) that "
            "was prepared like it, or --clip LOW HIGH."
        )
    mean = kits19_mean()
    told = f"clipped to {mean.low:.0f} and {mean.high:.0f} HU, the mean of KiTS19's sites; --store gives your own"
    return Conventions(mean, None, 0, told)


def _of_store(store: Path, site: str | None, classes: int) -> Conventions:
    if site is None:
        known = sites(store)
        if len(known) != 1:
            found = ", ".join(known) or "none"
            raise FlapSamError(f"Store {store} has the sites {found}; name the --site whose scanner made the scan.")
        site = known[0]
    manifest = SiteStore.open(store, site).manifest
    if len(manifest.classes) != classes:
        raise FlapSamError(
            f"{store / site / MANIFEST} names {len(manifest.classes)} classes, the payload has {classes}; point to a "
            "store prepared for it."
        )
    return Conventions(manifest.intensity, manifest.classes, manifest.minimum_side, f"as of site {site} in {store}")
