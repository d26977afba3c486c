# SPDX-License-Identifier: Apache-2.0
"""What a preparation did, in lines."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from flap_sam.data.difference import Difference
from flap_sam.data.prepare import SiteOutcome
from flap_sam.foundation.text import count

Why = TypeVar("Why")

NAMED = 20  # cases at most, of one kind


def outcome_text(outcome: SiteOutcome) -> str:
    """One line for a site, one more for every kind of change to a store that was there, and one for every note."""
    notes = [f"  note on {case}: {note}" for case, told in outcome.notes.items() for note in told]
    return "\n".join([_headline(outcome), *(_changes(outcome.found) if outcome.found else ()), *notes])


def _headline(outcome: SiteOutcome) -> str:
    head = f"site {outcome.site}: {count(outcome.cases, 'case')}"
    if outcome.taken_over:
        head += f", {outcome.taken_over} of them taken over from an interrupted preparation"
    if outcome.found is None:
        return f"{head}; {outcome.made_anew}"
    if outcome.found.is_none:
        return f"{head}, all as they were"
    return f"{head}; {len(outcome.found.kept)} kept"


def strays_text(sites: Iterable[str], store: Path, source: Path) -> str:
    """A line for every site of a store that its source does not have."""
    return "".join(
        f"site {site}: in {store}, but not in {source}; it stays as it is, remove {store / site} if it is no more\n"
        for site in sites
    )


def _changes(found: Difference) -> Iterator[str]:
    for why, names in _by_reason(found.changed).items():
        yield f"  redone {_listed(names)}: {why}"
    if found.added:
        yield f"  added {_listed(found.added)}"
    if found.removed:
        yield f"  removed {_listed(found.removed)}: no longer in the source"
    for (before, now), names in _by_reason(found.moved).items():
        yield f"  moved {_listed(names)}: from {before} to {now}"


def _by_reason(reasons: Mapping[str, Why]) -> dict[Why, list[str]]:
    grouped: dict[Why, list[str]] = {}
    for name, why in reasons.items():
        grouped.setdefault(why, []).append(name)
    return grouped


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} ({', '.join(names[:NAMED])}{more})"
