"""From volumes to a site store."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flap_sam.data import store
from flap_sam.data.geometry import read_pair
from flap_sam.data.intensity import Intensity, encode
from flap_sam.data.manifest import Case, Manifest
from flap_sam.data.sources import phantom
from flap_sam.data.sources.decathlon import Decathlon
from flap_sam.data.sources.kits19 import Kits19
from flap_sam.data.sources.source import Source, SourceCase
from flap_sam.errors import FlapSamError

VALIDATION_SHARE = 0.2

SOURCES = {
    "kits19": Kits19,
    "decathlon": Decathlon,
    "phantom": lambda folder: Kits19(folder, name="phantom"),
}


def prepare(source: str, source_dir: Path, out: Path, sites: list[str] | None = None) -> None:
    """Write the stores of some or all sites; what is finished is left alone, what is half done is continued.

    Different processes may prepare different sites of one store at the same time.

    Args:
        source: the layout of `source_dir`, one of `SOURCES`; "phantom" first draws what is missing there.
        out: the store's folder.
        sites: all of the source's sites if left out.

    Raises:
        FlapSamError: an unknown source or site, or a case that is missing or broken.
    """
    if source not in SOURCES:
        raise FlapSamError(f"There is no source {source!r}, expected one of {', '.join(SOURCES)}.")
    opened = SOURCES[source](source_dir)
    known = opened.sites()
    chosen = known if sites is None else sites
    unknown = [site for site in chosen if site not in known]
    if unknown:
        raise FlapSamError(f"{source_dir} has no site {unknown[0]!r}, it has {', '.join(known)}; name one of these.")
    with _progress() as progress:
        for site in chosen:
            if not _is_finished(opened, out, site):
                if source == "phantom":
                    phantom.generate(source_dir, [site], progress=progress)
                _prepare_site(opened, out, site, progress)


def with_validation(cases: list[SourceCase]) -> list[SourceCase]:
    """Move a fifth of the training cases to validation, the same ones everywhere; a lone one stays."""
    training = sorted(
        (case.id for case in cases if case.split == "train"),
        key=lambda id: hashlib.sha256(id.encode()).digest(),
    )
    count = max(1, round(VALIDATION_SHARE * len(training))) if len(training) > 1 else 0
    chosen = set(training[:count])
    return [replace(case, split="validation") if case.id in chosen else case for case in cases]


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


def _prepare_site(source: Source, out: Path, site: str, progress: Progress) -> None:
    cases = with_validation(source.cases(site))
    if all(case.split != "train" for case in cases):
        raise FlapSamError(f"Site {site} has no training case, expected at least one; correct the site table.")
    task = progress.add_task(f"site {site}: intensities", total=None)
    intensity = source.intensity(site)
    progress.update(task, description=f"site {site}: cases", total=len(cases))
    prepared = []
    for case in cases:
        found = store.written_case(out / site, case.id, case.split, intensity)
        prepared.append(found or _prepare_case(case, out / site, len(source.classes), intensity))
        progress.advance(task)
    manifest = Manifest(source.name, site, source.classes, intensity, tuple(prepared))
    store.write_manifest(out, manifest)


def _prepare_case(case: SourceCase, folder: Path, classes: int, intensity: Intensity) -> Case:
    volume, label = read_pair(case.image, case.label, classes)
    encoded = encode(volume, intensity)
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
    return store.write_case(folder, draft, encoded.codes, label, intensity)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
