"""Whether a kit's policy is the one that the package ships, and whether those it binds could change it."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from flap_sam.deployment.kit import HOSPITAL, POLICIES
from flap_sam.errors import FlapSamError

AUTHORIZATION, PRIVACY, RESOURCES = "authorization.json", "privacy.json", "resources.json"
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


def no_code(local: Path) -> Look:
    """Whether `local/custom`, from which FLARE would load classes, is empty."""
    found = sorted(path.name for path in (local / "custom").rglob("*") if path.is_file())
    return not found, f"local/custom holds {', '.join(found[:5])}; jobs could build it" if found else "none"


def not_writable(kit: Path) -> Look:
    """Whether the service could change its own policy: `local/` and `startup/` must belong to somebody else.

    Run by root, this looks at the rights of others; run as the service, at its own.
    """
    open_to = [str(path.relative_to(kit)) for path in _below(kit) if _writable(path)]
    if open_to:
        return False, f"{', '.join(open_to[:3])} can be changed by the service; chown root, chmod go-w"
    return True, "local/ and startup/ cannot be changed by the service"


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
    said = json.loads(path.read_text())
    if path.name == RESOURCES:
        said.pop("client", None)
        for component in said.get("components", []):
            for own in ("num_of_gpus", "mem_per_gpu_in_GiB", "relays"):
                component.get("args", {}).pop(own, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _below(kit: Path) -> Iterator[Path]:
    for folder in (kit / "local", kit / "startup"):
        yield folder
        yield from sorted(folder.rglob("*"))


def _writable(path: Path) -> bool:
    if os.geteuid() == 0:
        return bool(path.stat().st_mode & OTHERS_WRITE)
    return os.access(path, os.W_OK)
