# SPDX-License-Identifier: Apache-2.0
"""One of the processes that train a round together; torchrun starts it."""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from flap_sam.config.experiment import Experiment
from flap_sam.config.site import Site
from flap_sam.data.store import SiteStore
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.training.participant import Assignment, Participant
from flap_sam.training.progress import silent
from flap_sam.training.team import Team
from flap_sam.training.together import ERROR, PROGRESS, RECEIVED, RESULT, SENT, Failure, Share


def main(folder: Path) -> None:
    """Take part; the first process leaves what the round came to in the folder."""
    task = Share.read(folder)
    site = _own_device(Site.from_plain(task.site))
    torch.distributed.init_process_group("nccl" if site.torch_device().type == "cuda" else "gloo")
    team = Team(torch.distributed.get_rank(), torch.distributed.get_world_size())
    assignment = Assignment(tuple(SiteStore.open(Path(folder), name) for folder, name in task.stores), task.demo)
    experiment = Experiment.from_json(task.experiment)
    participant = Participant(experiment, site, assignment, task.name, task.run, team)
    participant.restore_before(task.round)
    if received := load_file(folder / RECEIVED):
        participant.receive(received)
    tensors, result = participant.train(
        task.round,
        stopped=lambda: os.getppid() == 1 or not _lives(task.parent),
        say=partial(_say, folder / PROGRESS) if team.rank == 0 else silent,
    )
    if team.rank == 0:
        _write(folder / SENT, save(tensors))
        _write(folder / RESULT, result.to_json().encode())
    torch.distributed.destroy_process_group()


def _own_device(site: Site) -> Site:
    """A GPU for each process where the site has GPUs and names no other device."""
    if site.device is None and torch.cuda.is_available():
        return site.changed(processes=1, device=f"cuda:{os.environ['LOCAL_RANK']}")
    return site.changed(processes=1)


def _say(path: Path, text: str) -> None:
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as stream:
        stream.write(content)


def _lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    try:
        main(where)
    except FlapSamError as error:
        _write(where / ERROR, Failure(message=str(error), reason=error.reason).to_json().encode())
        sys.exit(1)
