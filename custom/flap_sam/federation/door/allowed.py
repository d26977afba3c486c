# SPDX-License-Identifier: Apache-2.0
"""The list of what may come through the door. What is not on it is refused.

Three tables: requests, streams (what FLARE cuts into frames, by the channel and topic inside the frames) and
administration (what the admin channel carries, by the topic inside the message: that of the envelope is ignored there,
as FLARE ignores it). Answers are on none of them: they pass when this site has asked (see `rules.judge`).
"""

from dataclasses import dataclass
from enum import StrEnum


class Post(StrEnum):
    """Which of a hospital's processes a door stands before."""

    PARENT = "parent process"
    JOB = "job process"


class Party(StrEnum):
    """Who a message says it is from, as far as a hospital listens to anyone at all."""

    SERVER = "the server"
    SERVER_JOB = "the server's process of the job"
    PARENT = "the hospital's own parent process"
    JOB = "the hospital's own job process"


ADMIN, COMMAND, AUX, CELLNET = "admin", "client_command", "aux_communication", "cellnet.channel"
DOWNLOAD, RETURN_ONLY = "download_service__", "return_only"
STREAM, FRAME, ACK, ERROR = "sm__STREAM", "sm__DATA", "sm__ACK", "sm__ERROR"


@dataclass(frozen=True)
class AllowedTopic:
    """One thing that a party may send to a process.

    Args:
        topic: exact, or with `*` for what follows.
    """

    to: Post
    party: Party
    channel: str
    topic: str


@dataclass(frozen=True)
class Order:
    """One thing that the admin channel may carry.

    Args:
        topic: of the admin message, not of its envelope.
        job: whether it must name a job.
        rights: commands one of which the message must ask the site's own `authorization.json` for; empty where FLARE
            never asks.
    """

    party: Party
    topic: str
    job: bool
    rights: frozenset[str] = frozenset()


REQUESTS = (
    # the server and this site's job processes bring administration; ORDERS says which
    AllowedTopic(Post.PARENT, Party.SERVER, ADMIN, "*"),
    AllowedTopic(Post.PARENT, Party.JOB, ADMIN, "*"),
    # the parent process ends a job that the server or the hospital aborted
    AllowedTopic(Post.JOB, Party.PARENT, COMMAND, "abort"),
    # a process that stops says so to those it is connected to; FLARE takes it for the connection it came on
    AllowedTopic(Post.PARENT, Party.SERVER, CELLNET, "bye"),
    AllowedTopic(Post.PARENT, Party.JOB, CELLNET, "bye"),
    AllowedTopic(Post.JOB, Party.SERVER, CELLNET, "bye"),
    AllowedTopic(Post.JOB, Party.PARENT, CELLNET, "bye"),
    # receipts for frames that this site has sent: its requests for tasks, its results
    AllowedTopic(Post.JOB, Party.SERVER_JOB, STREAM, ACK),
    AllowedTopic(Post.JOB, Party.SERVER_JOB, STREAM, ERROR),
)

STREAMS = (
    # answers to this site's requests for a task, with the task, and to its results
    AllowedTopic(Post.JOB, Party.SERVER_JOB, RETURN_ONLY, "server_command:get_task"),
    AllowedTopic(Post.JOB, Party.SERVER_JOB, RETURN_ONLY, "server_command:submit_update"),
    # answers to what a job process asks beside them: first contact, heartbeat, whether its task still stands
    AllowedTopic(Post.JOB, Party.SERVER_JOB, RETURN_ONLY, "aux_communication:*"),
    # answers with pieces of a task's tensors, where a task is fetched piece by piece
    AllowedTopic(Post.JOB, Party.SERVER_JOB, RETURN_ONLY, "download_service__:*"),
    # the server fetches a result's tensors piece by piece: only those that the result has named, by secret references
    AllowedTopic(Post.JOB, Party.SERVER_JOB, DOWNLOAD, "download_service__download"),
    # the run has ended
    AllowedTopic(Post.JOB, Party.SERVER_JOB, AUX, "__end_run__"),
)

ORDERS = (
    # whether a job's resources are free here, and that they are not needed after all
    Order(Party.SERVER, "scheduler.check_resource", job=True),
    Order(Party.SERVER, "scheduler.cancel_resource", job=False),
    # a job's configuration; the site's own policy says who may submit
    Order(Party.SERVER, "train.deploy", job=True, rights=frozenset({"submit_job"})),
    # a deployed job starts, or stops before its end
    Order(Party.SERVER, "train.start_job", job=True),
    Order(Party.SERVER, "train.abort", job=True),
    # `check_status client`: which jobs run here
    Order(Party.SERVER, "train.check_status", job=False, rights=frozenset({"check_status", "admin_check_status"})),
    # `report_version`, `nvflare system version`
    Order(Party.SERVER, "sys.report_version", job=False, rights=frozenset({"report_version"})),
    # `show_scopes`: the names of the site's privacy scopes
    Order(Party.SERVER, "train.get_scopes", job=False, rights=frozenset({"show_scopes"})),
    # a job process tells its own parent that it has started or ended
    Order(Party.JOB, "train.notify_job_status", job=True),
)
