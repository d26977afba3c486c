# SPDX-License-Identifier: Apache-2.0
"""The copy of a job that is submitted: configuration only, in the privacy scope of the sites, and what it will run."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.job_files import EVERY_SITE, META, ONE_GPU, STUB, submission
from flap_sam.errors import FlapSamError
from flap_sam.foundation.strict import loads

META_KEYS = {"name", "resource_spec", "min_clients", "mandatory_clients", "deploy_map", "scope"}
OURS = re.compile(r"(flap_sam|nvflare)(\.\w+)+")


@dataclass(frozen=True)
class Staged:
    """A job ready to be submitted.

    Args:
        classes: what the server and the sites will build, by side.
    """

    folder: Path
    experiment: Experiment
    classes: dict[str, list[str]]


def stage(job: Path, out: Path, changes: Mapping[str, object], gpus: Mapping[str, int] = ONE_GPU) -> Staged:
    """Write the copy to submit.

    Args:
        gpus: that it asks for, see `job_files.submission`.

    Raises:
        FlapSamError: the job holds code or links, names classes of others, describes itself by what the sites refuse,
            or `out` is there already.
    """
    found = Job.read(job)
    experiment = found.experiment(dict(changes))
    _check_files(job)
    _check_meta(job / META)
    if out.exists():
        raise FlapSamError(f"{out} is there already; name a new folder for the staged job.")
    found.copy(out, dict(changes))
    shutil.rmtree(out / STUB.parent, ignore_errors=True)
    meta = json.loads((out / META).read_text()) | submission(gpus)
    (out / META).write_text(json.dumps(meta, indent=2) + "\n")
    sides = {"server": SERVER_CONFIG, "sites": CLIENT_CONFIG}
    return Staged(out, experiment, {side: _classes(out / path) for side, path in sides.items()})


def gpus_asked(texts: Sequence[str]) -> dict[str, int]:
    """GPUs by site, from texts as `1` for every site and `hospital-a=4` for one."""
    found = dict(ONE_GPU)
    for text in texts:
        site, _, number = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,2}", number):
            raise FlapSamError(f"--gpus {text!r} is not understood; expected a number from 1, or site=number.")
        found[site or EVERY_SITE] = int(number)
    return found


def _check_files(job: Path) -> None:
    files = {META, SERVER_CONFIG, CLIENT_CONFIG, STUB}
    folders = {parent for file in files for parent in file.parents}
    for path in sorted(job.rglob("*")):
        if path.is_symlink():
            raise FlapSamError(f"Job file {path} is a link; a job to submit holds plain files, copy what it points to.")
        if path.relative_to(job) not in (files if path.is_file() else folders):
            raise FlapSamError(
                f"Job file {path} is not configuration; the sites take no code from a job, so take it out and install "
                "it with the package."
            )


def _check_meta(path: Path) -> None:
    try:
        meta = loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(f"Job file {path} cannot be read ({error}); point to the folder of a job.") from error
    if not isinstance(meta, dict) or (foreign := set(meta) - META_KEYS):
        found = min(foreign) if isinstance(meta, dict) else "no names and values"
        raise FlapSamError(f"Job file {path} has {found}; a job here needs {', '.join(sorted(META_KEYS))} at most.")
    if meta.get("resource_spec"):
        raise FlapSamError(f"Job file {path} has a resource_spec; empty it, and name its GPUs with --gpus.")


def _classes(config: Path) -> list[str]:
    classes = sorted(set(_paths(json.loads(config.read_text()))))
    foreign = [path for path in classes if not OURS.fullmatch(path)]
    if foreign:
        raise FlapSamError(
            f"Job file {config} names {foreign[0]}; the sites build classes of flap_sam and nvflare only."
        )
    return classes


def _paths(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key in ("path", "class_path"):
            if isinstance(node.get(key), str):
                yield node[key]
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from _paths(entry)
