# SPDX-License-Identifier: Apache-2.0
"""The project's policies laid into the startup kits that `nvflare provision` made."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import FILE_NAME as SITE
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing, sha256
from flap_sam.gate.agreement import FILE_NAME as AGREEMENT

SERVER, HOSPITAL = "server", "site"
STARTUP_FILES = {SERVER: "fed_server.json", HOSPITAL: "fed_client.json"}
LOCK = "requirements.lock"
COMMUNICATION = "comm_config.json"  # FLARE takes the first that it finds below the kit: in the kit's own folder
OWN = (SITE, AGREEMENT)
POLICIES = Path(__file__).parent / "policies"


def kits_below(folder: Path) -> dict[Path, str]:
    """The kits of servers and hospitals in a folder, with their role; kits of persons need no policy.

    Raises:
        FlapSamError: there is none.
    """
    found = {
        kit: role
        for kit in sorted(folder.glob("*"))
        for role, file in STARTUP_FILES.items()
        if (kit / "startup" / file).is_file()
    }
    if not found:
        raise FlapSamError(f"No startup kit lies in {folder}; point to the prod_NN folder of `nvflare provision`.")
    return found


def lay(folder: Path, policies: Path, experiments: Sequence[Experiment], wheelhouse: Path | None) -> list[Path]:
    """Give every server's and hospital's kit its policy; returns the kits.

    What a hospital has filled into `flap_site.json` stays, and of its agreement all but the experiments.

    Args:
        policies: holds `server/` and `site/`, whose files go into the kits' `local/`, `comm_config.json` beside it.
        experiments: what the hospitals agree to.
        wheelhouse: wheels of the package and of all it needs; their hashes go into each kit as `requirements.lock`.
    """
    kits = kits_below(folder)
    lock = None if wheelhouse is None else locked(wheelhouse)
    for kit, role in kits.items():
        for file in _policy(policies / role):
            folder = kit if file.name == COMMUNICATION else kit / "local"
            if file.name not in OWN or not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        if role == HOSPITAL:
            _agree(kit / "local" / AGREEMENT, experiments)
        if lock is not None:
            with replacing(kit / LOCK) as stream:
                stream.write(lock.encode())
    return list(kits)


def locked(wheelhouse: Path) -> str:
    """Every wheel of a folder pinned by version and hash, for `pip install --require-hashes`."""
    wheels = sorted(wheelhouse.glob("*.whl"))
    if not any(wheel.name.startswith("flap_sam-") for wheel in wheels):
        raise FlapSamError(f"Wheelhouse {wheelhouse} holds no wheel of flap_sam; fill it with `pip wheel`.")
    lines = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        lines.append(f"{name}=={version} --hash=sha256:{sha256(wheel)}\n")
    return "".join(lines)


def _policy(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FlapSamError(f"No policy lies in {folder}; leave --policy out for the package's own.")
    return files


def _agree(path: Path, experiments: Sequence[Experiment]) -> None:
    agreement = json.loads(path.read_text()) | {"experiments": [dict(experiment) for experiment in experiments]}
    with replacing(path) as stream:
        stream.write((json.dumps(agreement, indent=2) + "\n").encode())
