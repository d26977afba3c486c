"""The site's audit log as the door writes it: the gate's, in the same file.

A parent process has no torch, which takes 4 s and half a gigabyte and which the gate's modules import. So they are
imported only when there is something to write, and the one setting that is needed before is read here.
"""

import json
from collections.abc import Mapping
from pathlib import Path

AGREEMENT, AUDIT_LOG = Path("local/flap_gate.json"), "flap_audit.jsonl"


def audit_log(kit: Path) -> Path:
    """Where a kit's audit log is; an agreement that cannot be read leaves it in the kit, as it does for the gate."""
    try:
        own = json.loads((kit / AGREEMENT).read_text())["audit"]
    except (OSError, ValueError, KeyError, TypeError):
        own = None
    return Path(own).expanduser() if isinstance(own, str) else kit / AUDIT_LOG


def write(log: Path, entry: Mapping[str, object]) -> None:
    """Append an entry, bound to the line before it.

    Raises:
        OSError: it cannot be written.
    """
    from flap_sam.federation.gate import audit

    audit.write(log, entry)
