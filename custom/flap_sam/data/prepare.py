# SPDX-License-Identifier: Apache-2.0
"""From volumes to a site store."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress

from flap_sam.data import store
from flap_sam.data.difference import Difference, difference
from flap_sam.data.geometry import pad_in_plane
from flap_sam.data.intensity import Intensity, SiteIntensity, encode
from flap_sam.data.manifest import Case, Draft, Manifest, OlderStoreError, Recipe, read_manifest
from flap_sam.data.phantoms.abdominal_ct import ABDOMINAL_CT
from flap_sam.data.phantoms.head_mr import HEAD_MR
from flap_sam.data.phantoms.pelvis_mr import PELVIS_MR
from flap_sam.data.phantoms.phantom import Phantom
from flap_sam.data.sources.bids import Bids
from flap_sam.data.sources.decathlon import Decathlon
from flap_sam.data.sources.ixi import Ixi
from flap_sam.data.sources.kits19 import Kits19, PublishedKits19
from flap_sam.data.sources.pairs import Pairs
from flap_sam.data.sources.prostate import Prostate
from flap_sam.data.sources.source import Source, SourceCase
from flap_sam.data.stamps import Stamped, check_unchanged, stamped
from flap_sam.data.volumes import read_pair
from flap_sam.data.workers import Workers, cores
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import writing
from flap_sam.foundation.progress_bar import bar

VALIDATION_SHARE = 0.2
PUBLISHED = "-published"  # after the name of a layout whose intensity tables are the paper's

SOURCES: dict[str, Callable[[Path], Source]] = {
    "kits19": Kits19,
    "ixi": Ixi,
    "prostate": Prostate,
    "decathlon": Decathlon,
    "pairs": Pairs,
    "bids": Bids,
    "phantom": lambda folder: Kits19(folder, name="phantom"),
    "phantom-head": lambda folder: Ixi(folder, name="phantom-head"),
    "phantom-pelvis": lambda folder: Prostate(folder, name="phantom-pelvis"),
}
PHANTOMS: dict[str, Phantom[Any]] = {"phantom": ABDOMINAL_CT, "phantom-head": HEAD_MR, "phantom-pelvis": PELVIS_MR}


@dataclass(frozen=True)
class SiteOutcome:
    """What a preparation did at a site.

    Attributes:
        site, cases: its name, and how many cases its store now holds.
        made_anew: why there was no store to go on from; None where there was one.
        found: how the source differed from the store, where there was one.
        taken_over: how many cases an interrupted preparation had finished.
        notes: what the reader of a case's image had to guess, by case, of those that were made.
    """

    site: str
    cases: int
    made_anew: str | None
    found: Difference | None
    taken_over: int
    notes: dict[str, tuple[str, ...]]


def prepare(
    source: str,
    source_dir: Path | str,
    out: Path | str,
    sites: list[str] | None = None,
    workers: int | None = None,
    published_intensities: bool = False,
    done: Callable[[SiteOutcome], object] = lambda _: None,
) -> list[str]:
    """Make the stores of some or all sites what their sources are: cases are added, made again, and removed.

    A case is made again where one of its files, or a setting that it depends on, is no longer what it was. What is
    half done is continued. A process that is killed leaves a site's store as it was before or as it is after. Different
    processes may prepare different sites of one store at the same time; none should train from a site meanwhile. A
    script that calls this with several workers must do so below `if __name__ == "__main__"`, as they start anew.

    Args:
        source: the layout of `source_dir`, one of `SOURCES`; what is missing of one of `PHANTOMS` is first drawn there.
        out: the store's folder.
        sites: all of the source's sites if left out.
        workers: at most so many cases are prepared at a time, each by a process that holds one scan; as many as
            there are processors if left out.
        published_intensities: of KiTS19 take the paper's intensity table of each site, rather than compute it.
        done: is told what was done at every site.

    Returns:
        Sites of the store that the source does not have; they stay as they are. None where `sites` are chosen.

    Raises:
        FlapSamError: an unknown source or site, a case that is missing or broken, a site that was prepared from
            another layout, or a file that cannot be written. Cases that were finished before stay, and are not
            prepared again by the next call.
    """
    source_dir, out = Path(source_dir), Path(out)
    opened = open_source(source, source_dir, published_intensities)
    chosen = chosen_sites(opened, source_dir, sites)
    with Workers(cores() if workers is None else workers) as crew, bar(MofNCompleteColumn()) as progress:
        standing = {site: _standing(opened, out, site) for site in chosen}
        if source in PHANTOMS:
            PHANTOMS[source].generate(source_dir, chosen, progress=progress)
        for site, (before, made_anew) in standing.items():
            done(_SitePreparation(opened, out, site, crew, progress).run(before, made_anew))
    return sorted(set(store.sites(out)) - set(chosen)) if sites is None else []


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


def _label_values(source: Source) -> tuple[tuple[int, int], ...]:
    """As `Recipe.label_values`."""
    return tuple(sorted((source.label_values or {}).items()))


def settings(source: Source, intensity: Intensity) -> Recipe:
    """The recipe of a source's cases."""
    return Recipe(
        source=source.name,
        classes=source.classes,
        any_label=source.any_label,
        label_values=_label_values(source),
        minimum_side=source.minimum_side,
        intensity=intensity,
    )


def _standing(source: Source, out: Path, site: str) -> tuple[Manifest | None, str | None]:
    """The manifest of a site's finished store, or why there is none to go on from."""
    path = out / site / store.MANIFEST
    if not path.exists():
        return None, "all new"
    try:
        manifest = read_manifest(path)
    except OlderStoreError:
        return None, "all made again, as the store was written by an older flap-sam"
    if manifest.source != source.name:
        raise FlapSamError(
            f"{out / site} is already prepared from {manifest.source}, not from {source.name}; choose another folder "
            "or remove it."
        )
    if manifest.site != site:
        raise FlapSamError(
            f"{path} is the manifest of site {manifest.site!r}, expected {site!r}; a store's folders must not be "
            "renamed, rename it back."
        )
    store.settle(out / site, manifest)
    return manifest, None


class _SitePreparation:
    """Makes one site's store what its source is."""

    def __init__(self, source: Source, out: Path, site: str, crew: Workers, progress: Progress) -> None:
        self.source, self.out, self.site = source, out, site
        self._crew, self._progress = crew, progress
        self._task = progress.add_task(f"site {site}: files", total=None)

    def run(self, before: Manifest | None, made_anew: str | None) -> SiteOutcome:
        """Args: before: of the finished store, if there is one."""
        cases = with_validation(self.source.cases(self.site))
        if all(case.split != "train" for case in cases):
            raise FlapSamError(f"Site {self.site} has no training case, expected at least one; correct the site table.")
        known = {case.id: case for case in before.cases} if before else {}
        now = [stamped(known, case) for case in cases]  # quick, and all there is to do where nothing changed
        recipe = settings(self.source, self._intensity(before, now))
        found, kept = None, {}
        if before:
            found = difference(before, recipe, now)
            kept = {name: known[name] for name in found.kept if self._is_whole(before, known[name])}
        todo = [each for each in now if each.case.id not in kept]
        next_revision = before.revision + 1 if before else 1
        work = _Work(store.working_folder(self.out / self.site, next_revision), recipe)
        with writing(work.arrays):
            if before is None:
                (self.out / self.site / store.MANIFEST).unlink(missing_ok=True)
            store.discard(work.arrays, [each.case.id for each in todo])
        self._show("cases", len(todo))
        made = self._crew.each(partial(_prepare_case, work), todo, done=self._advance)
        revision = before.revision if before and not todo else next_revision
        manifest = Manifest(**dict(recipe), site=self.site, revision=revision, cases=_in_order(now, kept, made))
        if manifest != before:
            store.write_manifest(self.out, manifest)
        if found:
            damaged = dict.fromkeys(set(found.kept) - set(kept), "its arrays were damaged")
            found = replace(found, kept=tuple(kept), changed=found.changed | damaged)
        notes = {case.id: case.notes for case, _ in made if case.notes}
        return SiteOutcome(self.site, len(now), made_anew, found, sum(was_there for _, was_there in made), notes)

    def _intensity(self, before: Manifest | None, now: Sequence[Stamped]) -> Intensity:
        """As the source says; a table that is made of all training scans is taken over while they are as they were."""
        same_labels = before is not None and before.label_values == _label_values(self.source)
        if before and same_labels and isinstance(before.intensity, SiteIntensity):
            then = {case.id: case.contents for case in before.cases if case.split != "test"}
            if then == {each.case.id: each.contents for each in now if each.case.split != "test"}:
                return before.intensity
        self._show("intensities", None)
        return self.source.intensity(self.site, partial(self._crew.each, done=self._advance))

    def _show(self, what: str, total: int | None) -> None:
        self._progress.reset(self._task, description=f"site {self.site}: {what}", total=total)

    def _advance(self) -> None:
        self._progress.advance(self._task)

    def _is_whole(self, before: Manifest, case: Case) -> bool:
        opened = store.SiteStore(self.out / self.site, before)
        try:
            opened.image(case), opened.label(case)
        except FlapSamError:
            return False
        return True


def _in_order(now: Sequence[Stamped], kept: Mapping[str, Case], made: Sequence[tuple[Case, bool]]) -> tuple[Case, ...]:
    """The cases in the source's order, each with its split and its files as they are now."""
    cases = {**kept, **{case.id: case for case, _ in made}}
    return tuple(
        cases[each.case.id].model_copy(
            update={"split": each.case.split, "image_files": each.image_files, "label_files": each.label_files}
        )
        for each in now
    )


@dataclass(frozen=True)
class _Work:
    """Where and how all cases of a site are prepared."""

    arrays: Path
    recipe: Recipe


def _prepare_case(work: _Work, now: Stamped) -> tuple[Case, bool]:
    """Prepare a case, unless an earlier run has; says whether one had."""
    written = store.written_case(work.arrays, now.case.id, work.recipe)
    if written and written.contents == now.contents:
        return written, True
    recipe, case = work.recipe, now.case
    values = dict(recipe.label_values) or None
    volume, label = read_pair(case.image, case.label, len(recipe.classes), recipe.any_label, values)
    check_unchanged(now)
    encoded = encode(volume, recipe.intensity)
    image, label = (pad_in_plane(array, recipe.minimum_side) for array in (encoded.codes, label))
    draft = Draft(
        id=case.id,
        split=case.split,
        shape=label.shape,
        spacing=volume.spacing,
        affine=volume.affine,
        original_shape=volume.original_shape,
        minimum=encoded.minimum,
        maximum=encoded.maximum,
        notes=volume.notes,
        image_files=now.image_files,
        label_files=now.label_files,
    )
    return store.write_case(work.arrays, draft, image, label, recipe), False
