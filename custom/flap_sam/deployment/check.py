"""A hospital's own check of its kit, before it starts: is the policy in force, is what the site needs there."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flap_sam.data.store import SiteStore
from flap_sam.deployment.kit import HOSPITAL, STARTUP_FILES
from flap_sam.errors import FlapSamError
from flap_sam.federation.door.component import checked
from flap_sam.federation.door.knock import knock
from flap_sam.federation.door.log import audit_log
from flap_sam.federation.gate.agreement import Agreement
from flap_sam.files import sha256
from flap_sam.sam.weights import NOTICES, weights_for
from flap_sam.site import Site
from flap_sam.training.participant import assign

GATE = "flap_sam.federation.gate.component.Gate"
DOOR = "flap_sam.federation.door.component.Door"
EXECUTOR = "flap_sam.federation.executor.FlapSamExecutor"
SECONDS = 5
PRIVATE = 0o077


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, whether it is as it must be, and what was found."""

    what: str
    good: bool
    found: str


def check(kit: Path) -> list[Finding]:
    """Look at everything that a hospital's kit needs.

    Raises:
        FlapSamError: the folder is no hospital's kit.
    """
    startup = kit / "startup" / STARTUP_FILES[HOSPITAL]
    if not startup.is_file():
        raise FlapSamError(f"{kit} is no hospital's kit: {startup} is missing; point to the folder above startup/.")
    client = json.loads(startup.read_text())
    local, name = kit / "local", client["client"]["fqsn"]
    return [
        _tried("installed", lambda: _installed()),
        _tried("gate", lambda: _gate(_json(local / "privacy.json"))),
        _tried("classes", lambda: _classes(_json(local / "resources.json"))),
        _tried("door", lambda: _door(_json(local / "resources.json"), audit_log(kit))),
        _tried("rights", lambda: _rights(_json(local / "authorization.json"))),
        _tried("agreement", lambda: _agreement(Agreement.read(local))),
        _tried("data", lambda: _data(Site.read(local), name)),
        _tried("checkpoint", lambda: _checkpoint(Site.read(local))),
        _tried("device", lambda: (True, str(Site.read(local).torch_device()))),
        _tried("private key", lambda: _private(kit / "startup" / client["client"]["ssl_private_key"])),
        *_servers(client),
    ]


def _tried(what: str, look: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        return Finding(what, *look())
    except (FlapSamError, OSError, ValueError, KeyError, TypeError) as error:
        return Finding(what, False, str(error))


def _json(path: Path) -> dict:
    if not path.is_file():
        raise FlapSamError(f"{path} is missing; `flap-sam kit` lays it into the kit.")
    return json.loads(path.read_text())


def _installed() -> tuple[bool, str]:
    return True, f"flap-sam {version('flap-sam')}, nvflare {version('nvflare')}, torch {version('torch')}"


def _gate(privacy: dict) -> tuple[bool, str]:
    if GATE not in [component.get("path") for component in privacy.get("components", [])]:
        return False, f"privacy.json does not list {GATE}: jobs would run without it"
    if not privacy.get("scopes"):
        return False, "privacy.json has no scope: FLARE ignores a policy without one, the gate too"
    if privacy.get("default_scope"):
        return False, "privacy.json has a default scope: jobs that name none would run"
    return True, "in force"


def _classes(resources: dict) -> tuple[bool, str]:
    allowed = resources.get("class_allow_list")
    if allowed != [EXECUTOR] or resources.get("class_list_enforcement_mode") != "enforce":
        return False, f"jobs may build {allowed}; expected {EXECUTOR} alone, enforced"
    if resources.get("allow_log_streaming") is not False:
        return False, "log files may leave the site; set allow_log_streaming to false"
    return True, "jobs may build the executor alone; no log leaves"


def _door(resources: dict, log: Path) -> tuple[bool, str]:
    doors = [component for component in resources.get("components", []) if component.get("path") == DOOR]
    if len(doors) != 1:
        return (
            False,
            f"resources.json lists {len(doors)} times {DOOR}; expected once, or the server reaches every command",
        )
    there = next(path for path in (log, *log.parents) if path.exists())
    if there.is_file() != (there == log) or not os.access(there, os.W_OK):
        return False, f"{log} cannot be written, and the door lets nothing pass without it"
    knock(checked(**doors[0].get("args", {})))
    return True, "shut: it refused a knock, and wrote it down"


def _rights(policy: dict) -> tuple[bool, str]:
    too_much = [
        f"{role}: {right}"
        for role, rights in policy["permissions"].items()
        for right in ("byoc", "shell_commands")
        if (rights if isinstance(rights, str) else rights.get(right, "none")) != "none"
    ]
    return not too_much, ", ".join(too_much) or "no custom code, no shell"


def _agreement(agreement: Agreement) -> tuple[bool, str]:
    digests = [experiment.digest()[:12] for experiment in agreement.experiments]
    noise = "no noise" if agreement.privacy is None else f"epsilon {agreement.privacy.epsilon:g}"
    return bool(digests), f"experiments {', '.join(digests) or 'none, so nothing may leave'}; {noise}"


def _data(site: Site, name: str) -> tuple[bool, str]:
    if site.data is None:
        return False, "none is configured in flap_site.json; a job with a demo would run on drawn volumes"
    store: SiteStore = assign(site, name, None).store
    return True, f"{store.training_slices} training slices, classes {', '.join(store.manifest.classes)}"


def _checkpoint(site: Site) -> tuple[bool, str]:
    if notice := NOTICES.get(weights_for("auto", site.checkpoint).origin):
        return False, notice
    if site.checkpoint_sha256 is None:
        return False, "checkpoint_sha256 in flap_site.json does not pin it"
    found = sha256(site.checkpoint)
    return found == site.checkpoint_sha256.lower(), f"sha256 {found}"


def _private(key: Path) -> tuple[bool, str]:
    mode = key.stat().st_mode & 0o777
    return not mode & PRIVATE, f"{oct(mode)[2:]}" + ("" if not mode & PRIVATE else ": others can read it, chmod 600")


def _servers(client: dict) -> Iterator[Finding]:
    for server in client["servers"]:
        host, _, port = server["service"]["target"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), SECONDS).close()
            yield Finding("server", True, f"{host}:{port} answers")
        except OSError as error:
            yield Finding("server", False, f"{host}:{port}: {error}; see the runbook's firewall table")
