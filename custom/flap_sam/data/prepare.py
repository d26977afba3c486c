"""From volumes to a site store."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.progress import MofNCompleteColumn, Progress

from flap_sam.bar import bar
from flap_sam.data import store
from flap_sam.data.geometry import pad_in_plane, read_pair
from flap_sam.data.intensity import Intensity, encode
from flap_sam.data.manifest import Case, Manifest
from flap_sam.data.sources import phantom
from flap_sam.data.sources.bids import Bids
from flap_sam.data.sources.decathlon import Decathlon
from flap_sam.data.sources.ixi import Ixi
from flap_sam.data.sources.kits19 import Kits19, PublishedKits19
from flap_sam.data.sources.pairs import Pairs
from flap_sam.data.sources.prostate import Prostate
from flap_sam.data.sources.source import Source, SourceCase
from flap_sam.data.workers import Workers, cores
from flap_sam.errors import FlapSamError

VALIDATION_SHARE = 0.2

SOURCES = {
    "kits19": Kits19,
    "ixi": Ixi,
    "prostate": Prostate,
    "decathlon": Decathlon,
    "pairs": Pairs,
    "bids": Bids,
    "phantom": lambda folder: Kits19(folder, name="phantom"),
}


def prepare(
    source: str,
    source_dir: Path,
    out: Path,
    sites: list[str] | None = None,
    workers: int | None = None,
    published_intensities: bool = False,
) -> None:
    """Write the stores of some or all sites; what is finished is left alone, what is half done is continued.

    Different processes may prepare different sites of one store at the same time. A script that calls this with
    several workers must do so below `if __name__ == "__main__"`, as they start anew.

    Args:
        source: the layout of `source_dir`, one of `SOURCES`; "phantom" first draws what is missing there.
        out: the store's folder.
        sites: all of the source's sites if left out.
        workers: at most so many cases are prepared at a time, each by a process that holds one scan; as many as
            there are processors if left out.
        published_intensities: of KiTS19 take the paper's intensity table of each site, rather than compute it.

    Raises:
        FlapSamError: an unknown source or site, a case that is missing or broken, or a file that cannot be
            written. Cases that were finished before stay, and are not prepared again by the next call.
    """
    opened = open_source(source, source_dir, published_intensities)
    chosen = chosen_sites(opened, source_dir, sites)
    with Workers(cores() if workers is None else workers) as crew, bar(MofNCompleteColumn()) as progress:
        for site in chosen:
            if not _is_finished(opened, out, site):
                if source == "phantom":
                    phantom.generate(source_dir, [site], progress=progress)
                _prepare_site(opened, out, site, crew, progress)


def with_validation(cases: list[SourceCase]) -> list[SourceCase]:
    """Move a fifth of the training cases to validation, the same ones everywhere; a lone one stays."""
    training = sorted(
        (case.id for case in cases if case.split == "train"),
        key=lambda id: hashlib.sha256(id.encode()).digest(),
    )
    count = max(1, round(VALIDATION_SHARE * len(training))) if len(training) > 1 else 0
    chosen = set(training[:count])
    return [replace(case, split="validation") if case.id in chosen else case for case in cases]


def open_source(source: str, folder: Path, published_intensities: bool = False) -> Source:
    """A folder as one of `SOURCES`; raises FlapSamError where there is no such layout."""
    if source not in SOURCES:
        raise FlapSamError(f"There is no source {source!r}, expected one of {', '.join(SOURCES)}.")
    if published_intensities and source != "kits19":
        raise FlapSamError(f"No intensities are published for {source}, only for kits19; let them be computed.")
    return PublishedKits19(folder) if published_intensities else SOURCES[source](folder)


def chosen_sites(source: Source, folder: Path, wanted: list[str] | None) -> list[str]:
    """The wanted sites, or all; raises FlapSamError for one that the source does not know."""
    known = source.sites()
    unknown = [site for site in wanted or () if site not in known]
    if unknown:
        raise FlapSamError(f"{folder} has no site {unknown[0]!r}, it has {', '.join(known)}; name one of these.")
    return known if wanted is None else wanted


def _is_finished(source: Source, out: Path, site: str) -> bool:
    if site not in store.sites(out):
        return False
    found = store.SiteStore.open(out, site).manifest.source
    if found != source.name:
        raise FlapSamError(
            f"{out / site} is already prepared from {found}, not from {source.name}; choose another folder or "
            "remove it."
        )
    return True


def _prepare_site(source: Source, out: Path, site: str, crew: Workers, progress: Progress) -> None:
    cases = with_validation(source.cases(site))
    if all(case.split != "train" for case in cases):
        raise FlapSamError(f"Site {site} has no training case, expected at least one; correct the site table.")
    task = progress.add_task(f"site {site}: intensities", total=None)
    each = partial(crew.each, done=lambda: progress.advance(task))
    recipe = _Recipe(
        out / site, len(source.classes), source.any_label, source.intensity(site, each), source.minimum_side
    )
    progress.reset(task, description=f"site {site}: cases", total=len(cases))
    prepared = each(partial(_prepare_case, recipe), cases)
    store.write_manifest(
        out, Manifest(source.name, site, source.classes, recipe.intensity, tuple(prepared), source.minimum_side)
    )


@dataclass(frozen=True)
class _Recipe:
    """How all cases of a site are prepared; see `Source`."""

    folder: Path
    classes: int
    any_label: bool
    intensity: Intensity
    minimum_side: int


def _prepare_case(recipe: _Recipe, case: SourceCase) -> Case:
    """Prepare a case, unless an earlier run has."""
    written = store.written_case(recipe.folder, case.id, case.split, recipe.intensity)
    if written:
        return written
    volume, label = read_pair(case.image, case.label, recipe.classes, recipe.any_label)
    encoded = encode(volume, recipe.intensity)
    image, label = (pad_in_plane(array, recipe.minimum_side) for array in (encoded.codes, label))
    draft = Case(
        id=case.id,
        split=case.split,
        shape=label.shape,
        spacing=volume.spacing,
        affine=volume.affine,
        original_shape=volume.original_shape,
        minimum=encoded.minimum,
        maximum=encoded.maximum,
        image_sha256="",
        label_sha256="",
    )
    return store.write_case(recipe.folder, draft, image, label, recipe.intensity)
