# SPDX-License-Identifier: Apache-2.0
"""A hospital's audit log, verified."""

from pathlib import Path

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.strict import parse
from flap_sam.gate.audit import Head, head_of


def verified(log: Path, head: Path | None) -> str:
    """What a whole log ends with; whoever keeps this line elsewhere can tell later that no line was taken out.

    Args:
        head: the file in which the gate keeps the log's head; None verifies the chain alone.

    Raises:
        FlapSamError: a line is not bound to the one before it, or the last line is not the one that the head knows.
    """
    try:
        found = head_of(log)
        kept = found if head is None else parse(Head, head.read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(
            f"Audit log {log} is not whole: {error}; keep it as it is, and compare it with a backup.", Reason.AUDIT
        ) from error
    if kept != found:
        raise FlapSamError(
            f"Audit log {log} is not whole: it ends with line {found.lines}, its head knows {kept.lines} lines or "
            "another last one; keep it as it is, and compare it with a backup.",
            Reason.AUDIT,
        )
    return f"{log} is whole: {found.lines} lines, the last of sha256 {found.sha256}"
