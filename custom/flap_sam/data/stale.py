# SPDX-License-Identifier: Apache-2.0
"""Whether a store is still what its source would give."""

from collections.abc import Iterator
from pathlib import Path

from flap_sam.data.difference import SETTINGS, Difference, difference
from flap_sam.data.manifest import Manifest
from flap_sam.data.prepare import PUBLISHED, open_source, settings, with_validation
from flap_sam.data.sources.source import MissingFilesError, Source, SourceCase
from flap_sam.data.stamps import stamped
from flap_sam.errors import FlapSamError

Found = Iterator[tuple[str | None, str]]


def stale(manifest: Manifest, folder: Path, store: Path, layout: str | None = None) -> Found:
    """In what a store no longer is what its source would give, as (case, or None for all of it; sentence).

    Every file of the source is hashed. The site's table of intensities is not computed again: it is another one only
    where a file is.

    Args:
        layout: of the source; the store's own if left out.
    """
    layout = layout or manifest.source.removesuffix(PUBLISHED)
    published = manifest.source == layout + PUBLISHED
    try:
        source = open_source(layout, folder, published)
        if manifest.site not in source.sites():
            raise FlapSamError(f"{folder} has no site {manifest.site}; correct the path, or remove the site's store.")
        cases, recipe = _cases(source, manifest.site), settings(source, manifest.intensity)
    except FlapSamError as problem:
        yield None, f"The store cannot be compared with its source: {problem}"
        return
    now, unread = [], {}
    for case in cases:
        try:
            now.append(stamped({}, case))
        except FlapSamError as problem:
            unread[case.id] = str(problem)
    yield from unread.items()
    how = f"run `flap-sam prepare {layout} --source {folder} --out {store} --site {manifest.site}"
    how += f"{' --published-intensities' if published else ''}`"
    if changed := manifest.recipe.first_difference(recipe):
        yield None, f"Since the preparation {SETTINGS[changed]} changed; {how}."
        recipe = manifest.recipe
    yield from _told(difference(manifest, recipe, now), set(unread), folder, how)


def _cases(source: Source, site: str) -> list[SourceCase]:
    try:
        return with_validation(source.cases(site))
    except MissingFilesError as problem:  # each is named in its turn
        return with_validation(problem.cases)


def _told(found: Difference, unread: set[str], folder: Path, how: str) -> Found:
    for case, why in found.changed.items():
        yield case, f"Since the preparation {why}; {how}."
    for case in found.added:
        yield case, f"It is in {folder}, but not in the store; {how}."
    for case in found.removed:
        if case not in unread:
            yield case, f"It is in the store, but no longer in {folder}; {how}."
    for case, (before, now) in found.moved.items():
        yield case, f"It is a {before} case in the store, but a {now} case in {folder}; {how}."
