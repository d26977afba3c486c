"""The doctor: is everything there, whole and in agreement, before the first round?

Every file is read to its end, one volume at a time, and a broken case does not keep the others from being
looked at. The report names cases and its pictures show patients: they are for the site's own eyes.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from flap_sam.data.findings import ERROR, WARNING, Finding, Report, Scan, SiteRecord, WholeCase
from flap_sam.data.geometry import read_pair, read_volume
from flap_sam.data.manifest import Case, read_manifest
from flap_sam.data.prepare import chosen_sites, open_source
from flap_sam.data.sources.source import MissingFilesError, Source, SourceCase
from flap_sam.data.store import MANIFEST, SiteStore, array_path
from flap_sam.errors import FlapSamError
from flap_sam.files import sha256


def examine_store(store: Path) -> Report:
    """Examine every site of a prepared store, also against the checksums in its manifests.

    Raises:
        FlapSamError: the folder is no store.
    """
    names = sorted({path.parent.name for pattern in (f"*/{MANIFEST}", "*/arrays") for path in store.glob(pattern)})
    if not names:
        raise FlapSamError(f"{store} holds no prepared site; make it with `flap-sam prepare` or correct the path.")
    return _report(store, [_examine_prepared(store, name) for name in names])


def examine_source(layout: str, folder: Path, sites: list[str] | None = None) -> Report:
    """Examine volumes as they come, before they are prepared.

    Args:
        layout: one of `prepare.SOURCES`.
        sites: all of the layout's sites if left out.

    Raises:
        FlapSamError: an unknown layout or site, no such folder, or its sites or classes cannot be told.
    """
    source = open_source(layout, folder)
    if not folder.is_dir():
        raise FlapSamError(f"{folder} does not exist, expected a folder of {layout} volumes; correct the path.")
    return _report(folder, [_examine_raw(source, site) for site in chosen_sites(source, folder, sites or None)])


def _examine_prepared(store: Path, site: str) -> SiteRecord:
    record, folder = SiteRecord(site), store / site
    if not (folder / MANIFEST).is_file():
        record.note(ERROR, None, f"{folder} has no {MANIFEST}: its preparation did not finish; prepare the site again.")
        return record
    try:
        opened = SiteStore(folder, read_manifest(folder / MANIFEST))
    except FlapSamError as problem:
        record.note(ERROR, None, str(problem))
        return record
    record.classes = opened.manifest.classes
    record.expected = Counter(case.split for case in opened.manifest.cases)
    for case in _tracked(opened.manifest.cases, site):
        _examine_arrays(record, opened, case)
    _try_to_open(record, store)
    return record


def _examine_arrays(record: SiteRecord, opened: SiteStore, case: Case) -> None:
    arrays, hashes = {}, {}
    for kind, read, written in (
        ("image", opened.image, case.image_sha256),
        ("label", opened.label, case.label_sha256),
    ):
        path = array_path(opened.folder, case.id, kind)
        try:
            arrays[kind] = read(case)
        except FlapSamError as problem:
            record.note(ERROR, case.id, str(problem))
            continue
        hashes[kind] = sha256(path)
        if hashes[kind] != written:
            record.note(
                ERROR,
                case.id,
                f"{path} has the SHA-256 {hashes[kind]}, but the manifest says {written}: it was changed after "
                "its preparation; prepare the site again.",
            )
    if len(arrays) == 2:
        record.add(
            Scan(
                id=case.id,
                split=case.split,
                image=arrays["image"],
                label=arrays["label"],
                spacing=case.spacing,
                lowest=case.minimum,
                highest=case.maximum,
                image_hash=hashes["image"],
                label_hash=hashes["label"],
            )
        )


def _try_to_open(record: SiteRecord, store: Path) -> None:
    """Note why training would refuse the site, unless its cases already said so."""
    try:
        SiteStore.open(store, record.site)
    except FlapSamError as problem:
        if str(problem) not in {finding.sentence for finding in record.findings}:
            record.note(ERROR, None, str(problem))


def _examine_raw(source: Source, site: str) -> SiteRecord:
    record = SiteRecord(site, source.classes)
    try:
        cases = source.cases(site)
    except MissingFilesError as problem:  # each is named in its turn
        cases = problem.cases
    except FlapSamError as problem:
        record.note(ERROR, None, str(problem))
        return record
    record.expected = Counter(case.split for case in cases)
    if not record.expected["train"]:
        record.note(ERROR, None, "The site has no training case, expected at least one; correct the site table.")
    for case in _tracked(cases, site):
        _examine_volumes(record, source, case)
    return record


def _examine_volumes(record: SiteRecord, source: Source, case: SourceCase) -> None:
    try:
        volume, label = read_pair(case.image, case.label, len(source.classes), source.any_label)
    except FlapSamError as problem:  # the first one; both files may be broken
        for sentence in list(_file_problems(case)) or [str(problem)]:
            record.note(ERROR, case.id, sentence)
        return
    record.add(
        Scan(
            id=case.id,
            split=case.split,
            image=volume.array,
            label=label,
            spacing=volume.spacing,
            lowest=float(volume.array.min()),
            highest=float(volume.array.max()),
            image_hash=_content_hash(volume.array),
            label_hash=_content_hash(label),
        )
    )


def _file_problems(case: SourceCase) -> Iterator[str]:
    """What is wrong with a case's files by themselves."""
    for path in (case.image, case.label):
        try:
            read_volume(path)
        except FlapSamError as problem:
            yield str(problem)


def _content_hash(array: np.ndarray) -> str:
    """SHA-256 over the voxels of [slices, rows, columns], row by row as `geometry.by_rows` goes, and as fast."""
    digest = hashlib.sha256()
    for row in range(array.shape[1]):
        digest.update(np.ascontiguousarray(array[:, row]))
    return digest.hexdigest()


def _report(examined: Path, records: Sequence[SiteRecord]) -> Report:
    own = [finding for record in records for finding in record.findings]
    return Report(
        examined=str(examined),
        classes=next((record.classes for record in records if record.classes), ()),
        sites=tuple(record.summary() for record in records),
        findings=(*own, *_other_classes(records), *_duplicates(records)),
        pictures=tuple(case.picture for record in records for case in record.cases),
    )


def _other_classes(records: Sequence[SiteRecord]) -> Iterator[Finding]:
    """Sites whose classes are not those of the first one."""
    known = [record for record in records if record.classes]
    for record in known[1:]:
        if record.classes != known[0].classes:
            ours, theirs = ", ".join(record.classes), ", ".join(known[0].classes)
            sentence = f"The classes are {ours}, but those of site {known[0].site} are {theirs}; prepare them alike."
            yield Finding(ERROR, record.site, None, sentence)


def _duplicates(records: Sequence[SiteRecord]) -> Iterator[Finding]:
    """Cases seen before; a warning where that only counts them twice, at one site and in one split."""
    seen: dict[str, WholeCase] = {}
    for case in (case for record in records for case in record.cases):
        twin = next((seen[content] for content in case.contents if content in seen), None)
        if twin:
            apart = (case.site, case.split) != (twin.site, twin.split)
            sentence = (
                f"The image or the mask of this {case.split} case is also that of {twin.id}, site {twin.site}, "
                f"{twin.split}; keep only one of them."
            )
            yield Finding(ERROR if apart else WARNING, case.site, case.id, sentence)
        for content in case.contents:
            seen.setdefault(content, case)


def _tracked(cases: Sequence, site: str) -> Iterable:
    """The cases, under a bar where someone watches."""
    console = Console(stderr=True)
    return track(cases, f"site {site}: examining", console=console, transient=True, disable=not sys.stderr.isatty())
