# SPDX-License-Identifier: Apache-2.0
"""Where a site keeps what its gate and its door rest on."""

from dataclasses import dataclass
from pathlib import Path

from flap_sam.config.site import Site
from flap_sam.errors import FlapSamError
from flap_sam.gate.agreement import Agreement
from flap_sam.gate.audit import FILE_NAME, AuditLog


@dataclass(frozen=True)
class Places:
    """The places of one site.

    Args:
        kit: the kit's folder; local: its `local/`, with the agreement and the site's settings.
        name: of the site in the federation.
    """

    kit: Path
    local: Path
    name: str

    @property
    def site(self) -> Site:
        return Site.read(self.local)

    @property
    def folder(self) -> Path:
        """Holds the ledger and the head of the audit log; the gate alone writes there."""
        return self.site.state_root / "gate" / self.name

    @property
    def audit_log(self) -> AuditLog:
        """The log that the agreement names, or the kit's own where there is no agreement that can be read."""
        try:
            own = Agreement.read(self.local).audit
        except FlapSamError:
            own = None
        return AuditLog(own.expanduser() if own else self.kit / FILE_NAME, self.folder)
