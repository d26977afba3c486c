# SPDX-License-Identifier: Apache-2.0
"""A knock at the door: one message that a run needs and one that nobody may send, to a cell on no network."""

import json
import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import Encoding, MessageHeaderKey
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs import FOBSContextKey
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.fed.utils.fed_utils import nvflare_fobs_initialize

from flap_sam.errors import FlapSamError
from flap_sam.federation.door import rules
from flap_sam.federation.door.allowed import ADMIN
from flap_sam.federation.door.keeper import Keeper, hang
from flap_sam.gate.audit import FILE_NAME, AuditLog

NEEDED = ("train.check_status", {"admin_command": "check_status", "require_authz": "true"})
REFUSED: tuple[str, dict[str, str]] = ("sys.shell", {})
HANDLE = "knock"


def knock(relays: tuple[str, ...]) -> None:
    """Find that a door with these relays lets a needed message through, stops another one, and writes it down.

    Raises:
        FlapSamError: it does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(Path(folder) / FILE_NAME, Path(folder))
        with _no_warnings():
            heard = _heard(Keeper(relays, log.write, Path(folder)), relays)
        written = json.dumps(list(log.entries()))
    if REFUSED[0] in heard:
        raise FlapSamError(f"The door stands open: {REFUSED[0]} from the server was heard behind it.")
    if NEEDED[0] not in heard:
        raise FlapSamError(f"The door lets nothing pass: {NEEDED[0]} from the server was not heard behind it.")
    if REFUSED[0] not in written:
        raise FlapSamError(f"The door does not say what it refuses: the audit log has no line about {REFUSED[0]}.")


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keeps the door's warning about the knock from whoever reads the check: it would look like an attack."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _heard(keeper: Keeper, relays: tuple[str, ...]) -> list[str]:
    """The orders that reach a cell behind the door, when the server sends both."""

    class Guarded(CoreCell):
        """A cell of its own class, so that no other cell of this process gets a door."""

    nvflare_fobs_initialize()
    hang(keeper, Guarded)
    above = relays[0] if relays else rules.SERVER
    name = f"knock-{uuid.uuid4().hex[:8]}"
    cell = Guarded(f"{above}.{name}" if relays else name, "tcp://localhost:1", secure=False, credentials={})
    heard: list[str] = []
    try:
        connector = SimpleNamespace(handle=HANDLE)
        cell.bb_ext_connector, cell.bb_int_connector = (None, connector) if relays else (connector, None)
        cell.register_request_cb(ADMIN, "*", lambda message: heard.append(message.payload.topic))
        connection = SimpleNamespace(connector=connector, get_conn_properties=dict)
        for topic, headers in (NEEDED, REFUSED):
            cell.process_message(Endpoint(above), connection, CoreCell.APP_ID, _order(cell, topic, headers))
    finally:
        CoreCell.ALL_CELLS.pop(cell.get_fqcn())
    return heard


def _order(cell: CoreCell, topic: str, headers: dict[str, str]) -> Message:
    order = AdminMessage(topic, "")
    order.set_headers(headers)
    envelope = {
        MessageHeaderKey.MSG_TYPE: rules.REQUEST,
        MessageHeaderKey.ORIGIN: rules.SERVER,
        MessageHeaderKey.DESTINATION: cell.get_fqcn(),
        MessageHeaderKey.CHANNEL: ADMIN,
        MessageHeaderKey.TOPIC: ADMIN,
        MessageHeaderKey.PAYLOAD_ENCODING: Encoding.FOBS,
    }
    return Message(envelope, fobs.dumps(order, fobs_ctx={FOBSContextKey.CORE_CELL: cell}))
