# SPDX-License-Identifier: Apache-2.0
"""A kit's `resources.json`, of which some is the site's own: how its machine is connected, and what it has.

Everything else is the package's policy.
"""

from typing import Any

from flap_sam.errors import FlapSamError

FILE_NAME = "resources.json"
CLIENT = "client"
MANAGER, GPUS = "resource_manager", "num_of_gpus"
OWN_ARGUMENTS = {"flap_sam_door": "relays", MANAGER: GPUS, "job_scheduler": "max_jobs"}
"""By the id of a component, the argument that a site sets."""

Resources = dict[str, Any]


def policy_of(said: Resources) -> Resources:
    """What `resources.json` says without what is the site's own."""
    policy = {name: value for name, value in said.items() if name != CLIENT or not _is_own_client(value)}
    return policy | {"components": [_without_own(component) for component in _components(said)]}


def with_own(shipped: Resources, before: Resources) -> Resources:
    """The shipped `resources.json` with what was the site's own in the one before."""
    own = {CLIENT: before[CLIENT]} if _is_own_client(before.get(CLIENT)) else {}
    kept = {component["id"]: found for component in _components(before) if (found := _own_of(component))}
    return shipped | own | {"components": [_with(component, kept) for component in shipped["components"]]}


def with_gpus(said: Resources, gpus: int) -> Resources:
    """What `resources.json` says, with so many GPUs for jobs."""
    return said | {"components": [_with(component, {MANAGER: {GPUS: gpus}}) for component in said["components"]]}


def gpus_of(said: Resources) -> int:
    """How many GPUs the site has for jobs, as it says; a FlapSamError where it says nothing of them."""
    for component in _components(said):
        if GPUS in (own := _own_of(component)):
            found: int = own[GPUS]
            return found
    raise FlapSamError(f"{FILE_NAME} has no {MANAGER} with {GPUS}; run `flap-sam kit` again.")


def _components(said: Resources) -> list[Any]:
    found = said.get("components")
    return found if isinstance(found, list) else []


def _own_of(component: object) -> dict[str, Any]:
    """The arguments of a component that are the site's own."""
    if not isinstance(component, dict) or not isinstance(component.get("args"), dict):
        return {}
    name = OWN_ARGUMENTS.get(str(component.get("id")))
    return {key: value for key, value in component["args"].items() if key == name and _is_plain(value)}


def _without_own(component: Any) -> Any:
    own = _own_of(component)
    return component | {"args": {k: v for k, v in component["args"].items() if k not in own}} if own else component


def _with(component: dict[str, Any], arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A component with the arguments that are given for its id."""
    given = arguments.get(str(component.get("id")))
    return component | {"args": component["args"] | given} if given else component


def _is_own_client(found: object) -> bool:
    return isinstance(found, dict) and all(map(_is_plain, found.values()))


def _is_plain(value: object) -> bool:
    """Whether it is a value, or a list of values, and so nothing that FLARE would build."""
    return not any(isinstance(part, dict | list) for part in (value if isinstance(value, list) else [value]))
