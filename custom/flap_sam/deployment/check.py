# SPDX-License-Identifier: Apache-2.0
"""A hospital's own check of its kit, before it starts: is the policy in force, is what the site needs there."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flap_sam.config.site import Site
from flap_sam.data.store import SiteStore
from flap_sam.deployment.kit_content import no_code, whole
from flap_sam.deployment.policy_check import (
    AUTHORIZATION,
    PRIVACY,
    Look,
    as_shipped,
    is_service,
    not_writable,
    private,
    private_key,
)
from flap_sam.errors import FlapSamError
from flap_sam.federation.door.component import checked
from flap_sam.federation.door.knock import knock
from flap_sam.federation.gpus import WholeGpus
from flap_sam.federation.kits.policy import HOSPITAL, STARTUP_FILES, read
from flap_sam.federation.kits.resources import FILE_NAME as RESOURCES
from flap_sam.federation.kits.resources import gpus_of
from flap_sam.foundation.files import sha256
from flap_sam.foundation.strict import loads
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import RELEASED
from flap_sam.gate.ledger import FILE_NAME as LEDGER
from flap_sam.gate.ledger import held
from flap_sam.gate.places import Places
from flap_sam.sam.weights import NOTICES, weights_for
from flap_sam.training.participant import assign

DOOR = "flap_sam.federation.door.component.Door"
SECONDS = 5
OVERRULING = (
    "FLAP_SAM_",
    "NVFLARE_",
    "NVFL_",
    "FL_LOG_LEVEL",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "PYTHONPATH",
    "PYTHONHOME",
)
LARGEST_SANE_UPDATE, LARGEST_SANE_PAYLOAD = 1e3, 1e5


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at, whether it is as it must be, and what was found."""

    what: str
    good: bool
    found: str


def check(kit: Path) -> list[CheckResult]:
    """Look at everything that a hospital's kit needs.

    Raises:
        FlapSamError: the folder is no hospital's kit.
    """
    startup = kit / "startup" / STARTUP_FILES[HOSPITAL]
    if not startup.is_file():
        raise FlapSamError(f"{kit} is no hospital's kit: {startup} is missing; point to the folder above startup/.")
    client = _client(startup)
    if not is_service(kit):
        owner, group = kit.stat().st_uid, kit.stat().st_gid
        found = f"the kit belongs to user {owner}, group {group}; this is user {os.geteuid()}; check as the service"
        return [CheckResult("user", False, found)]
    local, name = kit / "local", client["client"]["fqsn"]
    return [
        _tried("installed", lambda: _installed()),
        _tried("gate", lambda: as_shipped(local, PRIVACY)),
        _tried("classes", lambda: as_shipped(local, RESOURCES)),
        _tried("door", lambda: _door(read(local / RESOURCES)["components"])),
        _tried("rights", lambda: as_shipped(local, AUTHORIZATION)),
        _tried("foreign code", lambda: no_code(kit)),
        _tried("kit", lambda: whole(kit)),
        _tried("environment", lambda: _environment()),
        _tried("policy", lambda: not_writable(kit)),
        _tried("agreement", lambda: _agreement(Agreement.read(local))),
        _tried("private files", lambda: private(*_own_files(Places(kit, local, name)))),
        _tried("ledger", lambda: _ledger(Places(kit, local, name))),
        _tried("audit log", lambda: _audit(Places(kit, local, name))),
        _tried("data", lambda: _data(Site.read(local), name)),
        _tried("checkpoint", lambda: _checkpoint(Site.read(local))),
        _tried("device", lambda: _device(Site.read(local), gpus_of(read(local / RESOURCES)))),
        _tried("private key", lambda: private_key(kit / "startup" / client["client"]["ssl_private_key"])),
        *_servers(client),
    ]


def agreement_of(kit: Path) -> Agreement | None:
    """What a hospital's kit agrees to; None where nothing passes."""
    try:
        return Agreement.read(kit / "local")
    except FlapSamError:
        return None


def _tried(what: str, look: Callable[[], Look]) -> CheckResult:
    try:
        return CheckResult(what, *look())
    except (FlapSamError, OSError, ValueError, KeyError, TypeError) as error:
        return CheckResult(what, False, str(error))


def _client(startup: Path) -> dict[str, Any]:
    """What the kit says of its server and its key."""
    try:
        found = loads(startup.read_bytes())
        for key in ("fqsn", "ssl_private_key"):
            found["client"][key] + ""
        for server in found["servers"]:
            server["service"]["target"] + ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FlapSamError(
            f"{startup} is not as `nvflare provision` made it ({error}); take it from the kit."
        ) from error
    return found


def _environment() -> Look:
    """A variable would overrule files of the kit, here or in the service, and the check would see another kit."""
    found = sorted(name for name in os.environ if name.startswith(OVERRULING))
    return not found, f"{found[0]} is set, which overrules the kit's files; unset it" if found else "overrules nothing"


def _installed() -> Look:
    return True, f"flap-sam {version('flap-sam')}, nvflare {version('nvflare')}, torch {version('torch')}"


def _door(components: list[dict[str, Any]]) -> Look:
    doors = [component for component in components if isinstance(component, dict) and component.get("path") == DOOR]
    if len(doors) != 1:
        return False, f"{RESOURCES} lists {DOOR} {len(doors)} times; expected once, or the server reaches every command"
    knock(checked(**doors[0].get("args", {})))
    return True, "shut: it refused a knock, and wrote it down"


def _agreement(agreement: Agreement) -> Look:
    digests = ", ".join(experiment.digest()[:12] for experiment in agreement.experiments)
    noise = "no noise" if agreement.privacy is None else f"epsilon {agreement.privacy.epsilon:g}"
    limits = {"largest_update": LARGEST_SANE_UPDATE, "largest_payload": LARGEST_SANE_PAYLOAD}
    beyond = [name for name, largest in limits.items() if getattr(agreement, name) > largest]
    if beyond:
        return False, f"{beyond[0]} is above {limits[beyond[0]]:g}, which bounds nothing; take it from the audit log"
    return True, (
        f"experiments {digests}; updates up to norm {agreement.largest_update:g}, {agreement.runs} runs of "
        f"{agreement.evaluations} evaluations; {noise}"
    )


def _ledger(places: Places) -> Look:
    """It can be read and written, and knows at least the answers that the audit log tells of."""
    with held(places.folder, places.audit_log) as file:
        book = file.read()
        file.write(book)
    told = Counter(str(entry.get("run")) for entry in places.audit_log.entries() if RELEASED in entry)
    known = {name: run.answers + run.evaluations for name, run in book.runs.items()}
    missing = [name for name, count in told.items() if known.get(name, 0) < count]
    if missing:
        return False, f"it knows fewer answers of run {missing[0]} than the audit log; bring it back from a backup"
    return True, f"{sum(known.values())} answers in {len(known)} runs"


def _audit(places: Places) -> Look:
    """Its chain is whole, its last line is the last, and it can be written: the check leaves a line of its own."""
    log = places.audit_log
    if (log.path.exists() or log.head_path.exists()) and (wrong := log.verify()):
        return False, f"{log.path}: {wrong}"
    log.write({"direction": "none", "check": version("flap-sam")})
    norms = [entry["norm"] for entry in log.entries() if "norm" in entry]
    largest = f", largest norm {max(norms):.4g}" if norms else ""
    return True, f"{log.path} is whole and can be written{largest}"


def _own_files(places: Places) -> list[Path]:
    """What only the service may read: its log, its ledger, its state, and the tables of its cases."""
    root = places.site.state_root
    log = places.audit_log
    return [
        *(log.path, log.head_path, places.folder / LEDGER),
        *sorted(root.rglob("*.safetensors")),
        *sorted(places.kit.rglob("test_cases_round_*.csv")),
    ]


def _data(site: Site, name: str) -> Look:
    if site.data is None:
        return False, "none is configured in flap_site.json; a job with a demo would run on drawn volumes"
    store: SiteStore = assign(site, name, None).store
    return True, f"{store.training_slices} training slices, classes {', '.join(store.manifest.classes)}"


def _checkpoint(site: Site) -> Look:
    if notice := NOTICES.get(weights_for("auto", site.checkpoint).origin):
        return False, notice
    if site.checkpoint is None or site.checkpoint_sha256 is None:
        return False, "checkpoint_sha256 in flap_site.json does not pin it; set it to the hash that the lead names"
    if not site.checkpoint.is_file():
        return False, f"{site.checkpoint} is no file; correct checkpoint in flap_site.json"
    found = sha256(site.checkpoint)
    if found != (pinned := site.checkpoint_sha256.lower()):
        return False, (
            f"sha256 {found}, but checkpoint_sha256 in flap_site.json is {pinned}; use the weights of that hash, or "
            "ask the lead which are meant"
        )
    return True, f"sha256 {found}"


def _device(site: Site, gpus: int) -> Look:
    """Whether it can be used, and no job computes on a GPU that another job may have."""
    WholeGpus(gpus, 1)
    device = str(site.torch_device())
    if not gpus and device.startswith("cuda"):
        return False, f"jobs would share {device}; give it to one at a time, by `flap-sam kit` with --gpus"
    if gpus and device not in ("cuda", "cuda:0"):
        return False, f"jobs get GPUs, and device is {device}; set it to null: a job sees its own GPUs alone"
    if gpus and site.processes > gpus:
        return False, f"jobs get at most {gpus} GPUs, and processes is {site.processes}; a process needs its own"
    return True, f"{device}, {gpus} GPUs, each for one job at a time" if gpus else device


def _servers(client: dict[str, Any]) -> Iterator[CheckResult]:
    for server in client["servers"]:
        host, _, port = server["service"]["target"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), SECONDS).close()
            yield CheckResult("server", True, f"{host}:{port} answers")
        except OSError as error:
            found = f"{host}:{port}: {error}; ask the lead whether the server runs, then look at the firewall"
            yield CheckResult("server", False, found)
