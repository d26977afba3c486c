# SPDX-License-Identifier: Apache-2.0
"""How a source differs from the store that was prepared from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from flap_sam.data.manifest import Case, Manifest, Recipe
from flap_sam.data.stamps import Stamped

SETTINGS = {
    "source": "the layout",
    "classes": "the names of the classes",
    "any_label": "what counts as a label",
    "label_values": "labels.csv",
    "minimum_side": "the smallest side of a slice",
    "intensity": "the site's intensities",
}


@dataclass(frozen=True)
class Difference:
    """The cases of a source by name, against those of a store.

    Attributes:
        kept: as they were.
        changed: what is no longer as it was, by case.
        added, removed: that the source alone, or the store alone, has.
        moved: of those that both have, the split before and now.
    """

    kept: tuple[str, ...]
    changed: dict[str, str]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: dict[str, tuple[str, str]]

    @property
    def is_none(self) -> bool:
        return not (self.changed or self.added or self.removed or self.moved)


def difference(store: Manifest, recipe: Recipe, source: Sequence[Stamped]) -> Difference:
    """Compare a store with the recipe and the cases of its source, in their splits."""
    before = {case.id: case for case in store.cases}
    now = {stamped.case.id: stamped for stamped in source}
    both = [name for name in now if name in before]
    setting = store.recipe.first_difference(recipe)
    if setting:
        changed = dict.fromkeys(both, f"{SETTINGS[setting]} changed")
    else:
        changed = {name: why for name in both if (why := _changed(before[name], now[name]))}
    return Difference(
        kept=tuple(name for name in both if name not in changed),
        changed=changed,
        added=tuple(name for name in now if name not in before),
        removed=tuple(name for name in before if name not in now),
        moved={
            name: (before[name].split, now[name].case.split)
            for name in both
            if before[name].split != now[name].case.split
        },
    )


def _changed(before: Case, now: Stamped) -> str | None:
    parts = zip(("image", "label map"), before.contents, now.contents, strict=True)
    changed = [part for part, old, new in parts if old != new]
    return f"its {' and its '.join(changed)} changed" if changed else None
