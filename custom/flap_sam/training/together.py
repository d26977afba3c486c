# SPDX-License-Identifier: Apache-2.0
"""A round trained by several processes, one a GPU, that torchrun starts for it."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.children import child
from flap_sam.foundation.files import replacing
from flap_sam.foundation.strict import StrictModel, parse
from flap_sam.training.progress import Say, silent
from flap_sam.training.trainer import LocalResult

TASK, RECEIVED, PROGRESS, SENT, RESULT, ERROR = (
    "task.json",
    "received.safetensors",
    "progress.txt",
    "sent.safetensors",
    "result.json",
    "error.json",
)
CHECK_SECONDS = 0.2
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
LAST_CHARACTERS = 2000


class Share(StrictModel):
    """All that a process needs to take part in a round.

    Args:
        experiment: the job's, as JSON.
        site: settings of the site, as `flap_site.json` has them.
        stores: the data to work on, each its folder and the site in it; demo: they are only the demo.
        name: of the site in the federation; run, round: which to train.
        parent: the process that waits; without it the others stop.
    """

    experiment: str
    site: dict[str, str | int | bool | None]
    stores: list[list[str]]
    demo: bool
    name: str
    run: str
    round: int
    parent: int

    @classmethod
    def read(cls, folder: Path) -> "Share":
        return parse(cls, (folder / TASK).read_bytes())


class Failure(StrictModel):
    """Why a process could not do its part; see `FlapSamError`."""

    message: str
    reason: Reason


def train_together(
    task: Share,
    received: Mapping[str, Tensor],
    processes: int,
    stopped: Callable[[], bool],
    say: Say = silent,
    held: Sequence[int] = (),
) -> tuple[dict[str, Tensor], LocalResult]:
    """Train a round in so many processes: the tensors as they travel, and how it went.

    Args:
        held: descriptors of locks, which are held until the last of the processes has ended.

    Raises:
        FlapSamError: a process could not do its part, or the round was stopped.
    """
    with tempfile.TemporaryDirectory(prefix="flap-sam-") as name:
        folder = Path(name)
        with replacing(folder / TASK) as stream:
            stream.write(task.to_json().encode())
        with replacing(folder / RECEIVED) as stream:
            stream.write(save({n: t.cpu().contiguous() for n, t in received.items()}))
        _run(folder, processes, stopped, say, held)
        return load_file(folder / SENT), parse(LocalResult, (folder / RESULT).read_bytes())


def _run(folder: Path, processes: int, stopped: Callable[[], bool], say: Say, held: Sequence[int]) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with (folder / "log").open("wb") as log:
        words = [*command, "-m", "flap_sam.training.worker", str(folder)]
        with child(words, [folder], env=os.environ | LOOPBACK, stdout=log, stderr=log, pass_fds=held) as team:
            while team.poll() is None:
                if stopped():
                    raise FlapSamError("The round was stopped.", Reason.ABORTED)
                time.sleep(CHECK_SECONDS)
                if (told := folder / PROGRESS).exists():
                    say(told.read_text())
                    told.unlink()
    if (folder / ERROR).exists():
        failure = parse(Failure, (folder / ERROR).read_bytes())
        raise FlapSamError(failure.message, failure.reason)
    if team.returncode:
        last = (folder / "log").read_text(errors="replace")[-LAST_CHARACTERS:]
        raise FlapSamError(f"The site's {processes} processes ended with status {team.returncode}: {last}")
