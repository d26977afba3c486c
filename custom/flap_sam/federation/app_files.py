# SPDX-License-Identifier: Apache-2.0
"""The files of a job's app: FLARE's two configurations and their signatures, and nothing that FLARE could load beside.

FLARE takes an app for one without code when it has no folder `custom`. But it also searches the whole kit, the apps of
jobs among it, for files of certain names: a `comm_config.json` names a folder from which it imports every module. So an
app holds known files alone.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from nvflare.apis.app_validation import AppValidator
from nvflare.lighter.tool_consts import NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE

CONFIGS = ("config_fed_server.json", "config_fed_client.json")
SIGNATURES = (NVFLARE_SIG_FILE, NVFLARE_SUBMITTER_CRT_FILE)
FILES = frozenset([*SIGNATURES, *(f"config/{name}" for name in (*CONFIGS, *SIGNATURES))])
MOST_BYTES = 4 << 20


def wrong_in_zip(app: object) -> str | None:
    """What an app in a zip holds that none may hold, in a clause; None where there is nothing. Nothing is unpacked.

    Args:
        app: bytes, as somebody sent them.
    """
    if not isinstance(app, bytes):
        return "it is no zip"
    try:
        with ZipFile(io.BytesIO(app)) as archive:
            entries = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        return f"it is no zip ({error})"
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        return "it holds a file twice"
    if sum(entry.file_size for entry in entries) > MOST_BYTES:
        return f"it holds more than {MOST_BYTES >> 20} MiB"
    return _wrong(name for name in names if name != "config/")


def wrong_in_folder(app: Path) -> str | None:
    """The same of an app in a folder."""
    return _wrong(str(path.relative_to(app)) for path in sorted(app.rglob("*")) if path != app / "config")


class ConfigurationOnly(AppValidator):
    """FLARE's check of an app before it runs it; a server lists it in its own `resources.json`."""

    def validate(self, app_folder: str) -> tuple[str, dict[str, object]]:
        wrong = wrong_in_folder(Path(app_folder))
        return f"the app is refused: {wrong}" if wrong else "", {}


def _wrong(names: Iterable[str]) -> str | None:
    foreign = next((name for name in names if name not in FILES), None)
    return None if foreign is None else f"it holds {foreign[:100]!r}, which is no configuration"
