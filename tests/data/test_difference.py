# SPDX-License-Identifier: Apache-2.0
"""A store against its source, by invented manifests: no file is read."""

from pathlib import Path

import pytest
from flap_sam.data.difference import SETTINGS, difference
from flap_sam.data.intensity import SiteIntensity
from flap_sam.data.manifest import Case, Recipe, SourceFile
from flap_sam.data.sources.source import SourceCase
from flap_sam.data.stamps import Stamped
from hypothesis import given
from hypothesis import strategies as st

from tests.data.volumes import RECIPE, draft, manifest_of

HELD = st.dictionaries(
    st.sampled_from("abcde"), st.tuples(st.sampled_from(("train", "test")), st.integers(0, 2), st.integers(0, 2))
)


def files(number):
    return (SourceFile(name="x", size=1, modified_ns=0, changed_ns=0, sha256=f"{number:064x}"),)


def stored(name, split, image, label):
    hashes = {"image_sha256": "0" * 64, "label_sha256": "0" * 64}
    own = dict(draft(name, split, (2, 3, 4))) | {"image_files": files(image), "label_files": files(label)}
    return Case(**own, **hashes)


def coming(name, split, image, label):
    return Stamped(SourceCase(name, split, Path("i"), Path("l")), files(image), files(label))


@given(before=HELD, now=HELD)
def test_every_case_is_in_one_place(before, now):
    store = manifest_of("A", [stored(name, *held) for name, held in before.items()])
    found = difference(store, RECIPE, [coming(name, *held) for name, held in now.items()])
    both = before.keys() & now.keys()
    assert set(found.added) == now.keys() - before.keys()
    assert set(found.removed) == before.keys() - now.keys()
    assert set(found.kept) == {name for name in both if before[name][1:] == now[name][1:]}
    assert found.changed.keys() == both - set(found.kept)
    assert found.moved == {n: (before[n][0], now[n][0]) for n in both if before[n][0] != now[n][0]}
    assert found.is_none == (before == now)


@pytest.mark.parametrize(
    ("image", "label", "why"),
    [(1, 0, "its image changed"), (0, 1, "its label map changed"), (1, 1, "its image and its label map changed")],
)
def test_what_changed_is_named(image, label, why):
    store = manifest_of("A", [stored("x", "train", 0, 0)])
    assert difference(store, RECIPE, [coming("x", "train", image, label)]).changed == {"x": why}


OTHERS = {
    "source": "ixi",
    "classes": ("kidney", "cyst"),
    "any_label": True,
    "label_values": ((7, 1),),
    "minimum_side": 64,
    "intensity": SiteIntensity(low=-90.0, high=300.0, mean=100.0, std=60.0),
}


def test_every_setting_of_a_recipe_has_its_words():
    assert set(SETTINGS) == set(Recipe.model_fields) == set(OTHERS)


@pytest.mark.parametrize("setting", OTHERS)
def test_a_setting_that_changed_changes_every_case_and_is_named(setting):
    store = manifest_of("A", [stored("x", "train", 0, 0), stored("y", "test", 0, 0)])
    recipe = RECIPE.model_copy(update={setting: OTHERS[setting]})
    found = difference(store, recipe, [coming("x", "train", 0, 0), coming("y", "test", 0, 0)])
    assert found.changed == dict.fromkeys("xy", f"{SETTINGS[setting]} changed")
    assert found.kept == ()
