# SPDX-License-Identifier: Apache-2.0
"""The doctor: is everything there, whole and in agreement, before the first round?

Every file is read to its end, one volume at a time, and a broken case does not keep the others from being
looked at. The report names cases and its pictures show patients: they are for the site's own eyes.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from flap_sam.data.findings import ERROR, WARNING, Finding, Report, ScanFacts, SiteFacts, WholeCase
from flap_sam.data.geometry import by_rows
from flap_sam.data.intensity import CODE_MAXIMUM, SiteIntensity
from flap_sam.data.manifest import Case, read_manifest
from flap_sam.data.prepare import chosen_sites, open_source
from flap_sam.data.sources.source import MissingFilesError, Source, SourceCase
from flap_sam.data.stale import stale
from flap_sam.data.store import MANIFEST, SiteStore
from flap_sam.data.twins import patients, relation
from flap_sam.data.unlike import apart_from_zero, odd_intensities, odd_orientation, odd_spacing
from flap_sam.data.volumes import read_pair, read_volume
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import sha256

Tracked = TypeVar("Tracked")


def examine_store(store: Path, source: Path | None = None, layout: str | None = None) -> Report:
    """Examine every site of a prepared store, also against the checksums in its manifests.

    Args:
        source: the volumes that it was prepared from, to be compared with it.
        layout: of the source; that of every site's preparation if left out.

    Raises:
        FlapSamError: the folder is no store, or the source is no folder.
    """
    names = sorted({path.parent.name for pattern in (f"*/{MANIFEST}", "*/arrays") for path in store.glob(pattern)})
    if not names:
        raise FlapSamError(f"{store} holds no prepared site; make it with `flap-sam prepare` or correct the path.")
    if source and not source.is_dir():
        raise FlapSamError(f"{source} does not exist, expected the folder of the volumes; correct the path.")
    return _report(store, [_examine_prepared(store, name, source, layout) for name in names])


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
    records = [_examine_raw(source, site) for site in chosen_sites(source, folder, sites or None)]
    return _report(folder, records, _passed_over(source))


def _examine_prepared(store: Path, site: str, source: Path | None, layout: str | None) -> SiteFacts:
    record, folder = SiteFacts(site), store / site
    if not (folder / MANIFEST).is_file():
        record.note(ERROR, None, f"{folder} has no {MANIFEST}: its preparation did not finish; prepare the site again.")
        return record
    try:
        opened = SiteStore(folder, read_manifest(folder / MANIFEST))
    except FlapSamError as problem:
        record.note(ERROR, None, str(problem))
        return record
    record.classes = opened.manifest.classes
    record.absolute = isinstance(opened.manifest.intensity, SiteIntensity)
    record.expected = Counter(case.split for case in opened.manifest.cases)
    for case in _tracked(opened.manifest.cases, site):
        _examine_arrays(record, opened, case)
    _try_to_open(record, store)
    if source:
        for name, sentence in stale(opened.manifest, source, store, layout):
            record.note(ERROR, name, sentence)
    return record


def _examine_arrays(record: SiteFacts, opened: SiteStore, case: Case) -> None:
    arrays = {}
    for kind, read, written in (
        ("image", opened.image, case.image_sha256),
        ("label", opened.label, case.label_sha256),
    ):
        try:
            arrays[kind] = read(case)
        except FlapSamError as problem:
            record.note(ERROR, case.id, str(problem))
            continue
        path = opened.path(case, kind)
        if (found := sha256(path)) != written:
            record.note(
                ERROR,
                case.id,
                f"{path} has the SHA-256 {found}, but the manifest says {written}: it was changed after its "
                "preparation; remove it and prepare the site again.",
            )
    if len(arrays) == 2:
        record.add(
            ScanFacts(
                id=case.id,
                split=case.split,
                image=arrays["image"],
                label=arrays["label"],
                spacing=case.spacing,
                affine=case.affine,
                lowest=case.minimum,
                highest=case.maximum,
                slope=(case.maximum - case.minimum) / CODE_MAXIMUM,
                intercept=case.minimum,
                notes=case.notes,
            )
        )


def _try_to_open(record: SiteFacts, store: Path) -> None:
    """Note why training would refuse the site, unless its cases already said so."""
    try:
        SiteStore.open(store, record.site)
    except FlapSamError as problem:
        if str(problem) not in {finding.sentence for finding in record.findings}:
            record.note(ERROR, None, str(problem))


def _examine_raw(source: Source, site: str) -> SiteFacts:
    record = SiteFacts(site, source.classes)
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


def _examine_volumes(record: SiteFacts, source: Source, case: SourceCase) -> None:
    try:
        volume, label = read_pair(case.image, case.label, len(source.classes), source.any_label, source.label_values)
    except FlapSamError as problem:  # the first one; both files may be broken
        for sentence in list(_file_problems(case)) or [str(problem)]:
            record.note(ERROR, case.id, sentence)
        return
    record.add(
        ScanFacts(
            id=case.id,
            split=case.split,
            image=by_rows(volume.array, volume.array.dtype, lambda row: row),
            label=label,
            spacing=volume.spacing,
            affine=volume.affine,
            lowest=float(volume.array.min()),
            highest=float(volume.array.max()),
            notes=volume.notes,
        )
    )


def _file_problems(case: SourceCase) -> Iterator[str]:
    """What is wrong with a case's files by themselves."""
    for path in (case.image, case.label):
        try:
            read_volume(path)
        except FlapSamError as problem:
            yield str(problem)


def _passed_over(source: Source) -> Iterator[Finding]:
    """What lies in the layout's folders beside its cases."""
    try:
        notes = source.notes()
    except FlapSamError:  # which the sites' records say already
        return
    yield from (Finding(WARNING, "any", None, note) for note in notes)


def _report(examined: Path, records: Sequence[SiteFacts], others: Iterable[Finding] = ()) -> Report:
    own = [finding for record in records for finding in record.findings]
    return Report(
        examined=str(examined),
        classes=next((record.classes for record in records if record.classes), ()),
        sites=tuple(record.summary() for record in records),
        findings=(*own, *_other_classes(records), *_twins(records), *_odd(records), *others),
        pictures=tuple(case.picture for record in records for case in record.cases),
    )


def _other_classes(records: Sequence[SiteFacts]) -> Iterator[Finding]:
    """Sites whose classes are not those of the first one."""
    known = [record for record in records if record.classes]
    for record in known[1:]:
        if record.classes != known[0].classes:
            ours, theirs = ", ".join(record.classes), ", ".join(known[0].classes)
            sentence = f"The classes are {ours}, but those of site {known[0].site} are {theirs}; prepare them alike."
            yield Finding(ERROR, record.site, None, sentence)


def _twins(records: Sequence[SiteFacts]) -> Iterator[Finding]:
    """Cases that an earlier one is, or its patient; an error where they lie at two sites or in two splits."""
    seen: list[WholeCase] = []
    for case in (case for record in records for case in record.cases):
        found = [(other, clause) for other in seen if (clause := relation(case.prints, other.prints))]
        apart = [pair for pair in found if (pair[0].site, pair[0].split) != (case.site, case.split)]
        if found:
            twin, clause = (apart or found)[0]
            of = f"{twin.id}, site {twin.site}, {twin.split}"
            sentence = f"{clause.format(of)}, and this is a {case.split} case; keep them in one split, or only one."
            yield Finding(ERROR if apart else WARNING, case.site, case.id, sentence)
        seen.append(case)
    for record in records:
        yield from _patients(record)


def _patients(record: SiteFacts) -> Iterator[Finding]:
    """Cases whose names tell one patient, in two splits; a name is no proof."""
    splits = {case.id: case.split for case in record.cases}
    first: dict[str, str] = {}
    for case, patient in patients([*splits]).items():
        other = first.setdefault(patient, case)
        if splits[other] != splits[case]:
            yield Finding(
                WARNING,
                record.site,
                case,
                f"By its name this {splits[case]} case is of the patient of {other}, which is a {splits[other]} case; "
                "keep a patient in one split.",
            )


def _odd(records: Sequence[SiteFacts]) -> Iterator[Finding]:
    """Cases unlike the rest, each at most once for its intensities, its spacing and its orientation."""
    everyone = [case.look for record in records for case in record.cases]
    apart = [(site, (case, sentence)) for site, case, sentence in apart_from_zero(everyone)]
    for record in records:
        looks = [case.look for case in record.cases]
        shifted = [found for site, found in apart if site == record.site]
        odd = (*shifted, *odd_intensities(looks, record.absolute))
        for kind in (odd, odd_spacing(looks), odd_orientation(looks)):
            told: set[str | None] = set()
            for case, sentence in kind:
                if case not in told:
                    yield Finding(WARNING, record.site, case, sentence)
                told.add(case)


def _tracked(cases: Sequence[Tracked], site: str) -> Iterable[Tracked]:
    """The cases, under a bar where someone watches."""
    console = Console(stderr=True)
    return track(cases, f"site {site}: examining", console=console, transient=True, disable=not sys.stderr.isatty())
