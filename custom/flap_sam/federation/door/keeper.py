# SPDX-License-Identifier: Apache-2.0
"""The door itself: a judgement in front of the one method through which FLARE's cells receive every message.

FLARE's connections hand a message to `CoreCell.process_message` (the interface `MessageReceiver`), and to nothing else:
requests, answers, bulk messages, frames of streams, messages to be passed on. The door stands in front of that method
in the class, before this process has made a cell, so that there is no message before it and no way around it. FLARE's
own filters were tried and are not enough:

- `add_incoming_request_filter` runs after the payload is decoded, and not at all on answers, on what is passed on, and
  on what a cell takes out of a bulk message with a filter of its own;
- `add_incoming_filter` runs before that, but a registry gives only the most specific list it has: whoever registers a
  filter on the same channel and topic takes the door out, and a component can add it only to a cell that exists, which
  may be connected by then; what such a filter raises is swallowed and turned into a reply.

What cannot be judged does not pass: an exception in here ends the message, not the door.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path

from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.connection import Connection
from nvflare.fuel.f3.endpoint import Endpoint
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.stream_const import StreamHeaderKey
from nvflare.fuel.utils.log_utils import get_obj_logger

from flap_sam.errors import FlapSamError
from flap_sam.federation.door import orders, rules
from flap_sam.federation.door.refusals import Refusals, printable
from flap_sam.federation.door.rules import Envelope, Line, Refused

RECEIVES = ("self", "endpoint", "connection", "app_id", "message")
NAMES = {
    "origin": MessageHeaderKey.ORIGIN,
    "destination": MessageHeaderKey.DESTINATION,
    "channel": MessageHeaderKey.CHANNEL,
    "topic": MessageHeaderKey.TOPIC,
    "inner_channel": StreamHeaderKey.CHANNEL,
    "inner_topic": StreamHeaderKey.TOPIC,
}


class Keeper:
    """Judges every message to the cells of this process, and writes down what it refuses.

    Args:
        relays: the names of the processes between the server and this site.
        write: appends an entry to the audit log, or raises.
        kit: holds a folder for every job that has been deployed here.
    """

    def __init__(self, relays: tuple[str, ...], write: Callable[[Mapping[str, object]], None], kit: Path) -> None:
        self._relays, self._kit = relays, kit
        self._refusals = Refusals(write)
        self._logger = get_obj_logger(self)

    def admits(self, cell: CoreCell, endpoint: Endpoint, connection: Connection, message: Message) -> bool:
        """Whether a message may reach the cell; never raises."""
        try:
            self._refusals.settle()
            envelope = envelope_of(cell, endpoint, connection, message)
            party = rules.judge(envelope, self._relays)
            if rules.is_order(envelope):
                order = orders.opened(message)
                try:
                    rules.judge_order(party, envelope.origin, order.topic, order.headers)
                    orders.judge_job(order, self._kit)
                except Refused as refused:
                    raise Refused(f"{refused}: {printable(order.topic)}") from refused
        except Exception as error:  # whatever it is: what the door cannot judge does not pass
            self._refuse(error, cell, endpoint, message)
            return False
        return True

    def _refuse(self, error: Exception, cell: CoreCell, endpoint: Endpoint, message: Message) -> None:
        reason = str(error) if isinstance(error, Refused) else f"the door failed with {type(error).__name__}"
        try:
            names = {"cell": cell.get_fqcn(), "neighbour": endpoint.name}
            found = {name: message.get_header(key) for name, key in NAMES.items()}
            names |= {name: value for name, value in found.items() if value is not None}
            if self._refusals.note(reason, **names):
                told = {name: printable(value) for name, value in names.items()}
                self._logger.warning(f"REFUSED at the door: {reason}: {told}")
        except Exception as unwritten:
            self._logger.error(f"The audit log cannot be written ({unwritten}): nothing passes the door until it can.")


def envelope_of(cell: CoreCell, endpoint: Endpoint, connection: Connection, message: Message) -> Envelope:
    """What the door judges a message by: its headers, the connection it came on, and what the cell waits for."""
    header = message.get_header
    return Envelope(
        me=cell.get_fqcn(),
        line=_line(cell, connection),
        neighbour=endpoint.name,
        kind=header(MessageHeaderKey.MSG_TYPE),
        origin=header(MessageHeaderKey.ORIGIN),
        destination=header(MessageHeaderKey.DESTINATION),
        channel=header(MessageHeaderKey.CHANNEL, ""),
        topic=header(MessageHeaderKey.TOPIC, ""),
        inner_channel=header(StreamHeaderKey.CHANNEL),
        inner_topic=header(StreamHeaderKey.TOPIC),
        asked=_is_asked(cell, message),
        address=header(MessageHeaderKey.CONN_URL),
    )


def hang(keeper: Keeper, cells: type[CoreCell]) -> None:
    """Set the keeper in front of every cell of a class: those there are and those to come.

    Raises:
        FlapSamError: this FLARE receives messages in another way than the door knows.
    """
    receive = getattr(cells, "process_message", None)
    if receive is None or tuple(inspect.signature(receive).parameters) != RECEIVES:
        raise FlapSamError("The door cannot be shut: FLARE has another CoreCell.process_message here than in 2.9.")

    @wraps(receive)
    def process_message(
        self: CoreCell, endpoint: Endpoint, connection: Connection, app_id: int, message: Message
    ) -> None:
        if keeper.admits(self, endpoint, connection, message):
            receive(self, endpoint, connection, app_id, message)

    cells.process_message = process_message


def _line(cell: CoreCell, connection: Connection | None) -> Line:
    """Which connection it is: by the connector that this process itself has set up, not by what the other end says."""
    handle = connection.connector.handle if connection is not None else None
    own = (
        (Line.SERVER, cell.bb_ext_connector),
        (Line.PARENT, cell.bb_int_connector),
        (Line.CHILD, cell.int_listener),
    )
    return next((line for line, connector in own if connector and connector.handle == handle), Line.OTHER)


def _is_asked(cell: CoreCell, message: Message) -> bool:
    """Whether this cell waits for every answer that a message says it is: of a reply, from its origin."""
    if message.get_header(MessageHeaderKey.MSG_TYPE) not in (rules.REPLY, rules.RETURN):
        return False
    numbers = message.get_header(MessageHeaderKey.REQ_ID)
    waiters = [cell.waiters.get(number) for number in ([numbers] if isinstance(numbers, str) else numbers or [])]
    if not waiters or not all(waiters):
        return False
    if message.get_header(MessageHeaderKey.MSG_TYPE) == rules.RETURN:
        return True
    return all(message.get_header(MessageHeaderKey.ORIGIN) in waiter.targets for waiter in waiters)
