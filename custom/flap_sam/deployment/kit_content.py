# SPDX-License-Identifier: Apache-2.0
"""Whether a hospital's kit holds what it must and nothing that FLARE would load beside.

FLARE merges every `*__resources.json` and `job_resources.json` of `local/` and `startup/` into its settings, lets
`startup/fed_client.json` win over `local/resources.json`, builds the classes that a log configuration names, and takes
the first `comm_config`, `resources` or `fed_client` that it finds anywhere in the kit, in the folders of old jobs too.
Its start script puts `/local/custom` on Python's path, and Python itself the folder it starts in, which is the kit.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flap_sam.federation.kits.policy import COMMUNICATION, HOSPITAL, POLICIES
from flap_sam.foundation.strict import loads

Look = tuple[bool, str]

LOG = "log_config.json"
DEFAULT = ".default"
POLICY = {path.name for path in (POLICIES / HOSPITAL).glob("*.json")} - {COMMUNICATION}
LOCAL = POLICY | {
    LOG,
    *(f"{name}{DEFAULT}" for name in ("authorization.json", "resources.json", LOG)),
    "privacy.json.sample",
}
RELAY = "relay__resources.json"
STARTUP = {"client.crt", "client.key", "fed_client.json", "rootCA.pem", "start.sh", "sub_start.sh", "stop_fl.sh"}
CLIENT_FILE = "fed_client.json"
CLIENT_KEYS = {"format_version", "servers", "client"}
LOGGERS = re.compile(r"nvflare\.fuel\.utils\.log_utils\.\w+|logging\.(StreamHandler|handlers\.RotatingFileHandler)")
SEARCHED = re.compile(r"(comm_config|resources|fed_client)\.(json|conf|yml)(\.default)?")
PLACES = {COMMUNICATION, "local/resources.json", f"local/resources.json{DEFAULT}", f"startup/{CLIENT_FILE}"}
CODE = {".py", ".pyc", ".pyd", ".so", ".pth"}
START_SCRIPTS_PATH = Path("/local/custom")


def whole(kit: Path) -> Look:
    """Whether `local/` and `startup/` hold a kit's files and no other, and say nothing that overrules the policy."""
    wrong = next(_wrong(kit), None)
    return wrong is None, wrong or "local/ and startup/ hold the files of a kit and no other"


def no_code(kit: Path) -> Look:
    """Whether the kit, with the folders of its old jobs, is free of what FLARE could import."""
    found = [path for path in _files(kit) if Path(path).suffix in CODE]
    if START_SCRIPTS_PATH.exists():
        return False, f"FLARE's start script loads code from {START_SCRIPTS_PATH}; remove that folder"
    return not found, f"the kit holds {', '.join(found[:3])}, which FLARE could load; take it out" if found else "none"


def _wrong(kit: Path) -> Iterator[str]:
    """What is wrong, a sentence each."""
    if links := [path for path in (kit / "local", kit / "startup") if path.is_symlink()]:
        yield f"{links[0].name}/ is a link; put the folder itself there"
    for path in _files(kit):
        folder, _, name = path.partition("/")
        if (kit / path).is_symlink() and (folder in ("local", "startup") or not name):
            yield f"{path} is a link; put the file itself there"
        expected = {"local": LOCAL | {RELAY}, "startup": STARTUP | {RELAY}}.get(folder)
        if expected is not None and name not in expected:
            yield f"{path} is no file of a kit, and FLARE may read it; take it out"
        if SEARCHED.fullmatch(Path(path).name) and path not in PLACES:
            yield f"{path} has a name that FLARE searches the kit for; take it out"
    shipped = POLICIES / HOSPITAL / COMMUNICATION
    if not (kit / COMMUNICATION).is_file() or _read(kit / COMMUNICATION) != _read(shipped):
        yield f"{COMMUNICATION} beside local/ is not the shipped one; run `flap-sam kit` again"
    if foreign := set(_read(kit / "startup" / CLIENT_FILE)) - CLIENT_KEYS:
        yield f"startup/{CLIENT_FILE} has {min(foreign)}, which would overrule the policy; take it out"
    for file in (kit / "local" / RELAY, kit / "startup" / RELAY):
        if file.is_file() and set(_read(file)) != {"relay_config"}:
            yield f"{file.relative_to(kit)} says more than relay_config; take the rest out"
    for file in (kit / "local" / LOG, kit / "local" / f"{LOG}{DEFAULT}"):
        if file.is_file() and (named := next(_unknown_loggers(_read(file)), None)):
            yield f"{file.relative_to(kit)} has FLARE build {named}; log to files with FLARE's own classes"


def _read(path: Path) -> dict[str, Any]:
    found = loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{path} is {json.dumps(found)[:50]}, expected names and values")
    return found


def _files(kit: Path) -> Iterator[str]:
    """Every file below a kit, links to folders among them; no link is followed."""
    for root, folders, files in os.walk(kit):
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from (str(Path(root, name).relative_to(kit)) for name in sorted(files + links))


def _unknown_loggers(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key in ("()", "class"):
            if key in node and not (isinstance(node[key], str) and LOGGERS.fullmatch(node[key])):
                yield str(node[key])[:100]
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from _unknown_loggers(entry)
