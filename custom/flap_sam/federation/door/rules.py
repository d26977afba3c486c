# SPDX-License-Identifier: Apache-2.0
"""Whether a message may pass the hospital's door, judged from its envelope and from the line it came on.

A message says itself where it comes from, so that alone lets nothing pass: it must also have come on the line of that
party (the connection to the server that this process has opened itself, the one to its parent process, the listener
for its own children), and be on the list in `allowed`. A server that lies about an origin stays within that list.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from flap_sam.federation.door.allowed import (
    ADMIN,
    FRAME,
    ORDERS,
    REQUESTS,
    STREAM,
    STREAMS,
    AllowedTopic,
    Order,
    Party,
    Post,
)

SERVER = "server"
REQUEST, REPLY, RETURN = "req", "reply", "return"
JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
APP_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
LONGEST_NAME = 200


class Line(StrEnum):
    """On which of its connections a process has received a message."""

    SERVER = "the line to the server"
    PARENT = "the line to the parent process"
    CHILD = "the line of its children"
    OTHER = "a line of nobody known"


class Refused(Exception):  # noqa: N818 (a judgement, not a fault)
    """A message may not pass; the text says why, for the site's own audit log."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A message, unread.

    Args:
        me: the name of the receiving process in FLARE's network, as `hospital-a` or `hospital-a.<job>`.
        line, neighbour: the connection it came on, and the name of the process at its other end.
        kind: request, reply or return; origin, destination, channel, topic: what the message says of itself, which
            `judge` refuses where it is no text.
        inner_channel, inner_topic: the same of the stream that a frame belongs to.
        asked: of a reply or a return, whether this process waits for it, and from this origin.
        address: an address that the sender offers for a connection of its own.
    """

    me: str
    line: Line
    neighbour: str
    kind: str
    origin: str
    destination: str
    channel: str
    topic: str
    inner_channel: object = None
    inner_topic: object = None
    asked: bool = False
    address: object = None

    @property
    def for_me(self) -> bool:
        """Whether it ends here; else it is to be passed on."""
        return self.destination == self.me


@dataclass(frozen=True)
class Standing:
    """The process that a door stands before.

    Args:
        parent: the name of its parent process; of a parent process its own.
        job: the job's id; None for a parent process.
    """

    post: Post
    parent: str
    job: str | None

    @classmethod
    def of(cls, me: str, relays: Iterable[str]) -> "Standing":
        """From the name of a process, behind a relay or not.

        Raises:
            Refused: it is neither a hospital's parent process nor a job process.
        """
        relay = next((relay for relay in relays if me.startswith(f"{relay}.")), "")
        site, _, job = me.removeprefix(f"{relay}.").partition(".")
        if not job and site not in ("", SERVER):
            return cls(Post.PARENT, me, None)
        if site not in ("", SERVER) and JOB_ID.fullmatch(job):
            return cls(Post.JOB, me.removesuffix(f".{job}"), job)
        raise Refused("this process is neither a hospital's parent process nor its job process")

    def party(self, name: str) -> Party | None:
        """Who has this name; None for everybody that this process does not listen to, itself among them."""
        if name == SERVER:
            return Party.SERVER
        if self.job is None:
            return Party.JOB if _job_of(name, self.parent) else None
        if name == f"{SERVER}.{self.job}":
            return Party.SERVER_JOB
        return Party.PARENT if name == self.parent else None


def judge(envelope: Envelope, relays: tuple[str, ...] = ()) -> Party:
    """Who a message that may pass comes from.

    Args:
        relays: the processes between the server and this site, as the site itself names them.

    Raises:
        Refused: it may not pass.
    """
    for name in ("kind", "origin", "destination", "channel", "topic"):
        if not isinstance(value := getattr(envelope, name), str) or len(value) > LONGEST_NAME:
            raise Refused(f"its {name} is no name")
    if envelope.address is not None:
        raise Refused("it offers an address to connect to")
    standing = Standing.of(envelope.me, relays)
    if not envelope.for_me:
        return _passed_on(envelope, standing, relays)
    party = _on_its_line(envelope, standing, relays)
    if envelope.kind == REQUEST:
        _listed(envelope, standing.post, party)
    elif envelope.kind not in (REPLY, RETURN):
        raise Refused("it is neither a request nor an answer")
    elif not envelope.asked:
        raise Refused("it answers what this process has not asked, or asks no more")
    return party


def judge_order(party: Party, origin: str, topic: object, headers: Mapping[str, object]) -> Order:
    """The row of what an administrative message orders, once it is decoded.

    Args:
        topic, headers: of the message inside the envelope: the ones by which FLARE acts.

    Raises:
        Refused: it may not pass.
    """
    order = next((order for order in ORDERS if (order.party, order.topic) == (party, topic)), None)
    if order is None:
        raise Refused("nobody may order this here")
    job = headers.get("job_id")
    if (order.job or job is not None) and not (isinstance(job, str) and JOB_ID.fullmatch(job)):
        raise Refused("the job it names has no job's name")
    if party is Party.JOB and not origin.endswith(f".{job}"):
        raise Refused("it is about another job than its sender's")
    app = headers.get("app_name")
    if app is not None and not (isinstance(app, str) and APP_NAME.fullmatch(app)):
        raise Refused("the app it names has no app's name")
    if order.rights and not (headers.get("require_authz") == "true" and headers.get("admin_command") in order.rights):
        raise Refused("it does not let the site's own policy say whether its user may order this")
    return order


def _on_its_line(envelope: Envelope, standing: Standing, relays: tuple[str, ...]) -> Party:
    party = _party(envelope, standing)
    if (envelope.line, envelope.neighbour) not in _lines(party, envelope, standing, relays):
        raise Refused(f"it did not come on the line of {party}")
    return party


def _party(envelope: Envelope, standing: Standing) -> Party:
    party = standing.party(envelope.origin)
    if party is None:
        raise Refused("this process does not listen to its origin")
    return party


def _lines(party: Party, envelope: Envelope, standing: Standing, relays: tuple[str, ...]) -> set[tuple[Line, str]]:
    """On which lines, from which neighbours, a party's messages come."""
    if party is Party.JOB:
        return {(Line.CHILD, envelope.origin)}
    up = [standing.parent] if standing.post is Post.JOB else [r for r in relays if envelope.me.startswith(f"{r}.")]
    above = {(Line.PARENT, name) for name in up}
    return above if party is Party.PARENT else above | {(Line.SERVER, SERVER)}


def _passed_on(envelope: Envelope, standing: Standing, relays: tuple[str, ...]) -> Party:
    """A parent process passes messages on between the server and its own jobs, each job's to that job alone."""
    if standing.post is not Post.PARENT:
        raise Refused("it is for somebody else")
    job = _job_of(envelope.destination, standing.parent)
    if job and envelope.origin in (SERVER, f"{SERVER}.{job}"):
        below = Standing(Post.JOB, standing.parent, job)
        if (envelope.line, envelope.neighbour) not in _lines(Party.SERVER, envelope, standing, relays):
            raise Refused(f"it did not come on the line of {Party.SERVER}")
        party = _party(envelope, below)
        if envelope.kind == REQUEST:
            _listed(envelope, below.post, party)
        elif envelope.kind not in (REPLY, RETURN):
            raise Refused("it is neither a request nor an answer")
        return party
    job = _job_of(envelope.origin, standing.parent)
    if job and envelope.destination in (SERVER, f"{SERVER}.{job}"):
        return _on_its_line(envelope, standing, relays)
    raise Refused("it is for somebody else")


def _listed(envelope: Envelope, post: Post, party: Party) -> None:
    """Raise unless a request is on the list."""
    rows: Sequence[AllowedTopic] = REQUESTS
    channel, topic = envelope.channel, envelope.topic
    if channel == STREAM and topic == FRAME:
        if not isinstance(envelope.inner_channel, str) or not isinstance(envelope.inner_topic, str):
            raise Refused("its frame belongs to no stream")
        rows, channel, topic = STREAMS, envelope.inner_channel, envelope.inner_topic
    if not any(_covers(row, post, party, channel, topic) for row in rows):
        raise Refused(f"{party} may not send this to a {post}")


def _covers(row: AllowedTopic, post: Post, party: Party, channel: str, topic: str) -> bool:
    return (row.to, row.party, row.channel) == (post, party, channel) and fnmatchcase(topic, row.topic)


def _job_of(name: str, parent: str) -> str | None:
    """The job whose process has this name below a parent process."""
    job = name.removeprefix(f"{parent}.")
    return job if job != name and JOB_ID.fullmatch(job) else None


def is_order(envelope: Envelope) -> bool:
    """Whether FLARE will act by what is inside: `judge_order` must look at it too."""
    return envelope.for_me and envelope.kind == REQUEST and envelope.channel == ADMIN
