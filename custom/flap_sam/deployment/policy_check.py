# SPDX-License-Identifier: Apache-2.0
"""Whether a kit's policy is the one that the package ships, and whether those it binds could change it."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flap_sam.deployment.kit import HOSPITAL, POLICIES
from flap_sam.errors import FlapSamError
from flap_sam.foundation.strict import loads

AUTHORIZATION, PRIVACY, RESOURCES = "authorization.json", "privacy.json", "resources.json"
OWN = ("num_of_gpus", "mem_per_gpu_in_GiB", "relays")  # of a component's arguments, that a hospital may change
OTHERS_WRITE = 0o022
OTHERS = 0o077

Look = tuple[bool, str]


def as_shipped(local: Path, name: str) -> Look:
    """Whether a policy file of a kit says what the shipped one says, by SHA-256.

    Of `resources.json` a hospital may change how its machine is connected and what it has: `client`, the number of
    GPUs, the names of relays. All else is compared.
    """
    found, shipped = (_digest(folder / name) for folder in (local, POLICIES / HOSPITAL))
    if found == shipped:
        return True, f"as shipped, {shipped[:12]}"
    return False, f"{name} is not the shipped one ({found[:12]}, not {shipped[:12]}); run `flap-sam kit` again"


def is_service(kit: Path) -> bool:
    """Whether this process runs as the user of a kit: its owner, or where its group may write, one of that group."""
    found = kit.stat()
    if found.st_mode & stat.S_IWGRP:
        return os.geteuid() != 0 and found.st_gid in (os.getegid(), *os.getgroups())
    return found.st_uid == os.geteuid()


def not_writable(kit: Path) -> Look:
    """Whether the service could change its own policy: `local/` and `startup/` must belong to somebody else.

    Who may write in the kit may put another folder into the place of `local/`, unless the kit is sticky and belongs to
    root. Run by root, this looks at the rights of others; run as the service, at its own.
    """
    open_to = [str(path.relative_to(kit)) for path in _below(kit) if _writable(path)]
    if open_to:
        return False, f"{', '.join(open_to[:3])} can be changed by the service; chown root, chmod go-w"
    if _writable(kit) and not _sticky(kit):
        return False, f"the service could replace {kit.name}/local; chown root:<its group>, chmod 1770 {kit.name}"
    return True, "local/ and startup/ cannot be changed by the service"


def private_key(path: Path) -> Look:
    """Whether a key can be read by its owner and the service's own group alone."""
    found = path.stat()
    theirs = 0 if found.st_gid == os.getegid() else stat.S_IRGRP
    if found.st_mode & (OTHERS & ~stat.S_IRGRP | theirs):
        return False, f"others can read {path}: chmod 640, its group the service's"
    return True, "nobody but the service can read it"


def private(*paths: Path) -> Look:
    """Whether nobody but their owner can read some files, of those that are there."""
    there = [path for path in paths if path.exists()]
    shared = [path for path in there if path.stat().st_mode & (OTHERS if path.is_file() else OTHERS_WRITE)]
    if shared:
        return False, f"others can read {shared[0]}: chmod {'600' if shared[0].is_file() else '700'}"
    return True, f"{len(there)} files that nobody else can read"


def _digest(path: Path) -> str:
    if not path.is_file():
        raise FlapSamError(f"{path} is missing; `flap-sam kit` lays it into the kit.")
    said = loads(path.read_bytes())
    if path.name == RESOURCES and isinstance(said, dict):
        _leave_out_own(said)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _leave_out_own(said: dict[str, Any]) -> None:
    """Take out of `resources.json`, whatever it holds, what a hospital may change."""
    client, components = said.get("client"), said.get("components")
    if isinstance(client, dict) and all(map(_is_plain, client.values())):
        said.pop("client")
    for component in components if isinstance(components, list) else []:
        args = component.get("args") if isinstance(component, dict) else None
        if isinstance(args, dict):
            for own in OWN:
                if _is_plain(args.get(own)):
                    args.pop(own, None)


def _is_plain(value: object) -> bool:
    """Whether it is a value, or a list of values, and so nothing that FLARE would build."""
    return not any(isinstance(part, dict | list) for part in (value if isinstance(value, list) else [value]))


def _sticky(kit: Path) -> bool:
    found = kit.stat()
    return bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0


def _below(kit: Path) -> Iterator[Path]:
    for folder in (kit / "local", kit / "startup"):
        yield folder
        yield from sorted(folder.rglob("*"))


def _writable(path: Path) -> bool:
    if os.geteuid() == 0:
        return bool(path.stat().st_mode & OTHERS_WRITE)
    return os.access(path, os.W_OK)
