# SPDX-License-Identifier: Apache-2.0
"""What stands inside an administrative message: decoded only when it is plain, and a job's app and description."""

import os
from pathlib import Path

import msgpack
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.fuel.f3.cellnet.defs import Encoding, MessageHeaderKey
from nvflare.fuel.f3.cellnet.utils import decode_payload
from nvflare.fuel.f3.message import Message
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.class_loader import get_class_name
from nvflare.fuel.utils.fobs.fobs import FOBS_TYPE
from nvflare.fuel.utils.fobs.lobs import HEADER_LEN, HEADER_STRUCT, MARKER_MAIN
from nvflare.private.admin_defs import Message as AdminMessage
from nvflare.private.defs import RequestHeader, TrainingTopic

from flap_sam.federation.app_files import wrong_in_zip
from flap_sam.federation.door.rules import Refused

PLAIN = frozenset(map(get_class_name, (AdminMessage, FLContext, JobMetaKey, tuple)))
UNHEARD = (JobMetaKey.JOB_LAUNCHER_SPEC.value, JobMetaKey.STATS_POOL_CONFIG.value)


def opened(message: Message) -> AdminMessage:
    """The admin message inside. It is encoded anew: FLARE then acts by what the door has read, not by what was sent.

    Raises:
        Refused: it is encrypted, none, or names a class whose decoding does more than to build a plain value: FLARE
            fetches arrays from where the sender says, and writes what is attached to the temporary folder.
    """
    if message.get_header(MessageHeaderKey.ENCRYPTED):
        raise Refused("it is encrypted, so that the door cannot read what it orders")
    if message.get_header(MessageHeaderKey.PAYLOAD_ENCODING) != Encoding.FOBS:
        raise Refused("it is no administrative message")
    _check_plain(bytes(message.payload))
    decode_payload(message)
    order = message.payload
    if type(order) is not AdminMessage or not isinstance(order.headers, dict):
        raise Refused("it is no administrative message")
    message.payload = fobs.dumps(order)
    message.set_header(MessageHeaderKey.PAYLOAD_ENCODING, Encoding.FOBS)
    return order


def judge_job(order: AdminMessage, kit: Path) -> None:
    """Judge the description of a job that is deployed or started, and its app; of other orders nothing.

    FLARE starts a job by the id in its description, with that job's folder `custom` on the path from which Python
    imports, whatever the order's header said; an error while it deploys leaves behind what it has unpacked; and before
    it deploys it removes what the job's folder holds, a finished job's tables and logs too.

    Args:
        kit: holds a folder for every job that has been deployed here.

    Raises:
        Refused: it is about another job than the order, has settings that no job here needs, its app holds more than
            configuration, or the job has been deployed here before.
    """
    topic, headers = order.topic, order.headers
    if topic not in (TrainingTopic.DEPLOY, TrainingTopic.START_JOB):
        return
    meta = headers.get(RequestHeader.JOB_META)
    if not isinstance(meta, dict) or meta.get(JobMetaKey.JOB_ID.value) != headers.get(RequestHeader.JOB_ID):
        raise Refused("the job's description is about another job")
    if found := [key for key in UNHEARD if meta.get(key)]:
        raise Refused(f"the job's description has a {found[0]}, which no job here needs")
    if topic == TrainingTopic.DEPLOY and (wrong := wrong_in_zip(order.body)):
        raise Refused(f"the app may not come in: {wrong}")
    if topic == TrainingTopic.DEPLOY and os.path.lexists(kit / headers[RequestHeader.JOB_ID]):
        raise Refused("the job has been deployed here, and FLARE would remove its folder")


def _check_plain(payload: bytes) -> None:
    """Raise unless a payload is one section, and every class that it names is plain."""
    if len(payload) < HEADER_LEN:
        raise Refused("it is no administrative message")
    marker, _, size = HEADER_STRUCT.unpack_from(payload)
    if marker != MARKER_MAIN or size != len(payload) - HEADER_LEN:
        raise Refused("something is attached to it")
    kinds: list[object] = []

    def note(found: dict[object, object]) -> dict[object, object] | str:
        if FOBS_TYPE not in found:
            return found
        kinds.append(found[FOBS_TYPE])
        return str(found[FOBS_TYPE])  # a value of a class may be a key, as FLARE's names of a job's settings are

    try:
        msgpack.unpackb(payload[HEADER_LEN:], object_hook=note, strict_map_key=False)
    except (ValueError, TypeError) as error:
        raise Refused("it is no administrative message") from error
    if foreign := [kind for kind in kinds if kind not in PLAIN]:
        raise Refused(f"it holds a {str(foreign[0])[:60]}, which no order needs")
