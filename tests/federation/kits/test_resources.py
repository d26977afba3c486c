# SPDX-License-Identifier: Apache-2.0
"""What of `resources.json` is the site's own, and what is the package's policy."""

import json

import pytest
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import POLICIES
from flap_sam.federation.kits.resources import FILE_NAME, OWN_ARGUMENTS, gpus_of, policy_of, with_gpus, with_own
from hypothesis import given
from hypothesis import strategies as st

SHIPPED = {role: json.loads((POLICIES / role / FILE_NAME).read_text()) for role in ("server", "site")}
PLAIN = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=2)
BUILT = st.dictionaries(st.just("path"), st.text(max_size=5), min_size=1) | st.lists(st.just({}), min_size=1)
ARGUMENT = st.sampled_from([*OWN_ARGUMENTS.values(), "expiration_period", "ignore_host"])


@st.composite
def changed(draw: st.DrawFn, role: str, value: st.SearchStrategy) -> tuple[dict, set[tuple[str, str]]]:
    """A shipped file with arguments of components changed, and which: by id and name."""
    said = json.loads(json.dumps(SHIPPED[role]))
    changes = set()
    for component in said["components"]:
        if "args" in component and draw(st.booleans()):
            name = draw(ARGUMENT)
            component["args"][name] = draw(value)
            changes.add((component["id"], name))
    return said, changes


@pytest.mark.parametrize("role", SHIPPED)
@given(data=st.data())
def test_only_what_a_site_may_say_differs_from_the_policy(role, data):
    said, changes = data.draw(changed(role, PLAIN))
    foreign = {(id, name) for id, name in changes if OWN_ARGUMENTS.get(id) != name}
    unlike = [
        (a.get("id"), name)
        for a, b in zip(policy_of(said)["components"], policy_of(SHIPPED[role])["components"], strict=True)
        for name in a.get("args", {})
        if a["args"].get(name) != b.get("args", {}).get(name) or name not in b.get("args", {})
    ]
    before = {(c["id"], n): v for c in SHIPPED[role]["components"] for n, v in c.get("args", {}).items()}
    after = {(c["id"], n): v for c in said["components"] for n, v in c.get("args", {}).items()}
    assert set(unlike) == {key for key in foreign if key not in before or before[key] != after[key]}


@pytest.mark.parametrize("role", SHIPPED)
@given(data=st.data())
def test_laid_anew_it_is_the_policy_again_with_what_was_the_sites_own(role, data):
    before, changes = data.draw(changed(role, PLAIN))
    found = with_own(SHIPPED[role], before)
    assert policy_of(found) == policy_of(SHIPPED[role])
    arguments = {component["id"]: component.get("args", {}) for component in found["components"]}
    for component in before["components"]:
        own = OWN_ARGUMENTS.get(component["id"])
        if (component["id"], own) in changes:
            assert arguments[component["id"]][own] == component["args"][own]


@pytest.mark.parametrize("role", SHIPPED)
@given(data=st.data())
def test_nothing_that_flare_would_build_is_a_sites_own(role, data):
    said, changes = data.draw(changed(role, BUILT))
    assert (policy_of(said) == policy_of(SHIPPED[role])) == (not changes)
    assert with_own(SHIPPED[role], said) == SHIPPED[role]


@pytest.mark.parametrize("client", [{"retry_timeout": 5}, {"a": ["b"]}, {}])
def test_how_a_machine_is_connected_is_its_own(client):
    said = SHIPPED["site"] | {"client": client}
    assert policy_of(said) == policy_of(SHIPPED["site"])
    assert with_own(SHIPPED["site"], said)["client"] == client


@pytest.mark.parametrize("client", [{"a": {"path": "x"}}, {"a": [{}]}, [], "x", None])
def test_what_else_a_client_says_is_not(client):
    said = SHIPPED["site"] | {"client": client}
    assert policy_of(said) != policy_of(SHIPPED["site"])
    assert with_own(SHIPPED["site"], said) == SHIPPED["site"]


@pytest.mark.parametrize("components", [None, 3, "x", {}, [3, "x", None, {}]])
def test_what_is_no_list_of_components_is_not_the_policy(components):
    said = SHIPPED["site"] | {"components": components}
    assert policy_of(said) != policy_of(SHIPPED["site"])
    assert with_own(SHIPPED["site"], said) == SHIPPED["site"]


@given(gpus=st.integers(0, 64))
def test_the_gpus_of_jobs_are_the_sites_own(gpus):
    said = with_gpus(SHIPPED["site"], gpus)
    assert gpus_of(said) == gpus
    assert policy_of(said) == policy_of(SHIPPED["site"])
    assert with_own(SHIPPED["site"], said) == said


@pytest.mark.parametrize(
    "components", [None, [], [3, {}], [{"id": "resource_manager"}], [{"id": "resource_manager", "args": {}}]]
)
def test_a_kit_that_says_nothing_of_gpus_is_named(components):
    with pytest.raises(FlapSamError, match="has no resource_manager with num_of_gpus"):
        gpus_of(SHIPPED["site"] | {"components": components})


def test_a_site_has_no_gpus_for_jobs_until_it_says_so():
    assert gpus_of(SHIPPED["site"]) == 0
