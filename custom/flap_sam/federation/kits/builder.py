# SPDX-License-Identifier: Apache-2.0
"""The builder that `nvflare provision` runs by its name in `project.yml`."""

from pathlib import Path

from nvflare.lighter.constants import ProvFileName
from nvflare.lighter.entity import Project
from nvflare.lighter.spec import Builder, ProvisionContext

from flap_sam.errors import FlapSamError
from flap_sam.federation.kits.policy import HOSPITAL, SERVER, STARTUP_FILES, lay, locked, role_of


class PolicyBuilder(Builder):
    """Lays into the kits of the server and the hospitals what binds them: rights, classes, the gate, the door.

    A hospital's agreement is empty, so that nothing passes until the hospital itself fills it.

    In `project.yml` it stands behind FLARE's own builders of files and before the one that signs what they have made.

    Args:
        wheelhouse: folder of the wheels that each kit pins by hash in its `requirements.lock`; from the folder that
            `nvflare provision` runs in, unless it is absolute. None means that nothing is pinned.
    """

    def __init__(self, wheelhouse: str | None = None) -> None:
        self._wheelhouse = wheelhouse

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Lay the policies.

        Raises:
            FlapSamError: the wheelhouse has no wheel of this package, or the builder stands in the wrong place.
        """
        lock = locked(Path(self._wheelhouse)) if self._wheelhouse else None
        for participant, role in [(project.get_server(), SERVER), *((one, HOSPITAL) for one in project.get_clients())]:
            kit = Path(ctx.get_ws_dir(participant))
            if role_of(kit) != role:
                told = f"{kit.name} has no {STARTUP_FILES[role]} yet; name it behind StaticFileBuilder"
                raise FlapSamError(f"PolicyBuilder stands too early in the project's builders: {told}.")
            if next(kit.rglob(ProvFileName.SIGNATURE_JSON), None):
                told = f"{kit.name} is signed already; name it before SignatureBuilder"
                raise FlapSamError(f"PolicyBuilder stands too late in the project's builders: {told}.")
            lay(kit, role, lock=lock)
