# SPDX-License-Identifier: Apache-2.0
"""The door as a FLARE component. A site lists it first in its own `resources.json`, where no job can reach it.

FLARE builds the components of that file in the parent process and again in every job process, before the process makes
its cell. So the door stands before the first connection; a site whose door cannot be shut does not start. (A launcher
that fetches the workspace into a container opens a cell for that before it reads the file; the policy's does not.)
"""

import json
from collections.abc import Sequence
from pathlib import Path

from nvflare.apis.fl_component import FLComponent
from nvflare.fuel.f3.cellnet.core_cell import CoreCell

from flap_sam.errors import FlapSamError
from flap_sam.federation.door.keeper import Keeper, hang
from flap_sam.gate.places import Places

KIT_FILE = Path("startup/fed_client.json")


class Door(FLComponent):
    """Lets only those messages into this process that a run needs; see `allowed`.

    Args:
        relays: names of the relays between the server and this site, where a federation has them.

    Raises:
        FlapSamError: it cannot be shut, or cannot write the audit log.
    """

    def __init__(self, relays: Sequence[str] = ()) -> None:
        super().__init__()
        kit = Path.cwd()  # both processes of a kit run there
        if not (kit / KIT_FILE).is_file():
            raise FlapSamError(f"The door finds no kit: {kit / KIT_FILE} is missing; start the kit by its start.sh.")
        places = Places(kit, kit / "local", json.loads((kit / KIT_FILE).read_text())["client"]["fqsn"])
        places.audit_log.write({"direction": "in", "door": "shut"})
        hang(Keeper(checked(relays), lambda entry: places.audit_log.write(entry), kit), CoreCell)


def checked(relays: Sequence[str]) -> tuple[str, ...]:
    """The names of relays.

    Raises:
        FlapSamError: they are none.
    """
    if isinstance(relays, str) or not all(isinstance(name, str) and name for name in relays):
        raise FlapSamError(f"The door's relays are {relays!r}; expected a list of names, [] without relays.")
    return tuple(relays)
