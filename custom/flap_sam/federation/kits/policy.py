# SPDX-License-Identifier: Apache-2.0
"""The package's policies in a startup kit, and the wheels that it pins."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from flap_sam.config.site import FILE_NAME as SITE
from flap_sam.errors import FlapSamError
from flap_sam.federation.kits import resources
from flap_sam.foundation.files import replacing, sha256
from flap_sam.foundation.strict import loads
from flap_sam.gate.agreement import FILE_NAME as AGREEMENT

SERVER, HOSPITAL = "server", "site"
STARTUP_FILES = {SERVER: "fed_server.json", HOSPITAL: "fed_client.json"}
LOCK = "requirements.lock"
COMMUNICATION = "comm_config.json"  # FLARE takes the first that it finds below the kit: in the kit's own folder
OWN = (SITE, AGREEMENT)
POLICIES = Path(__file__).parent / "policies"


def role_of(kit: Path) -> str | None:
    """Whose kit it is, a server's or a hospital's; None where it is neither's."""
    return next((role for role, file in STARTUP_FILES.items() if (kit / "startup" / file).is_file()), None)


def lay(kit: Path, role: str, policies: Path = POLICIES, lock: str | None = None) -> None:
    """Lay the policies of a role into a kit.

    What a hospital has filled into `flap_site.json` and `flap_gate.json` stays, and of `resources.json` what is the
    site's own.

    Args:
        policies: holds `server/` and `site/`, whose files go into the kit's `local/`, `comm_config.json` beside it.
        lock: the text of the kit's `requirements.lock`; None leaves that file alone.

    Raises:
        FlapSamError: there is no policy, or the kit's `resources.json` cannot be read.
    """
    files = sorted((policies / role).glob("*.json"))
    if not files:
        raise FlapSamError(f"No policy lies in {policies / role}; leave --policy out for the package's own.")
    for file in files:
        place = (kit if file.name == COMMUNICATION else kit / "local") / file.name
        if file.name == resources.FILE_NAME and place.exists():
            before = read(place)
            if (renewed := resources.with_own(read(file), before)) != before:
                write_json(place, renewed)
        elif file.name not in OWN or not place.exists():
            write(place, file.read_bytes())
    if lock is not None:
        write(kit / LOCK, lock.encode())


def locked(wheelhouse: Path) -> str:
    """Every wheel of a folder pinned by version and hash, for `pip install --require-hashes`."""
    wheels = sorted(wheelhouse.glob("*.whl"))
    if not any(wheel.name.startswith("flap_sam-") for wheel in wheels):
        raise FlapSamError(f"Wheelhouse {wheelhouse.absolute()} holds no wheel of flap_sam; fill it with `pip wheel`.")
    lines = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        lines.append(f"{name}=={version} --hash=sha256:{sha256(wheel)}\n")
    return "".join(lines)


def read(path: Path) -> dict[str, Any]:
    """What a file of a kit's `local/` says.

    Raises:
        FlapSamError: it is not there, or says no names and values.
    """
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(f"{path} cannot be read ({error}); take it out, and run `flap-sam kit` again.") from error
    if not isinstance(found, dict):
        raise FlapSamError(f"{path} is no object of names and values; take it out, and run `flap-sam kit` again.")
    return found


def write(path: Path, content: bytes) -> None:
    """Write a file of a kit whole, with the owner and the rights of the one that it replaces.

    In an installed kit these files are root's, and the service's group reads them.
    """
    before = path.stat() if path.is_file() else None
    with replacing(path) as stream:
        stream.write(content)
        if before:
            os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))


def write_json(path: Path, said: dict[str, Any]) -> None:
    """Write a JSON file of a kit, as `write` does."""
    write(path, (json.dumps(said, indent=2) + "\n").encode())
