# SPDX-License-Identifier: Apache-2.0
"""A job's folder in FLARE's simulation environment, in a workspace that nothing is lost from."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import copytree

from nvflare.apis.storage import META_JSON
from nvflare.recipe import SimEnv

from flap_sam.errors import FlapSamError
from flap_sam.federation.configured_job import ConfiguredJob
from flap_sam.federation.console import quiet_config
from flap_sam.foundation.files import writing
from flap_sam.foundation.lock import locked
from flap_sam.foundation.own_folder import MARK, mark_own, require_own
from flap_sam.records.results import results_below

KEPT_BY_FLARE = ("local", "startup")
WORKSPACE_MARK = Path("local") / MARK
BREAKING = re.compile(r"""[\s'"\\#]""")
REASON = re.compile("FATAL_SYSTEM_ERROR received: (.+)")


def simulate(
    job: Path,
    workspaces: Path,
    sites: int,
    threads: int,
    clears: Sequence[Path] = (),
    variables: Mapping[str, str] | None = None,
) -> Path:
    """Run a job with so many sites, some of them at a time.

    Args:
        variables: the environment of FLARE's processes; None means this process's.
        clears: temporary folders of this process, which are removed where it is killed; the job's, say.

    Returns:
        The workspace: the folder of the job's name in `workspaces`. FLARE empties it first but for its `local` and
        `startup`.

    Raises:
        FlapSamError: the run failed, or cannot be started there; the workspace is in use, holds the results of a
            finished run, or was not made here.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "log_config.json"
        with writing(logs):
            logs.write_text(json.dumps(quiet_config()))
        environment = SimEnv(
            num_clients=sites, num_threads=threads, log_config=str(logs), workspace_root=str(workspaces.absolute())
        )
        workspace = Path(environment.get_job_result(job.name))
        if (workspace / META_JSON).exists():
            raise FlapSamError(f"{workspace} is a job, and would be emptied for the simulation; choose another folder.")
        if BREAKING.search(str(workspace)):
            raise FlapSamError(
                f"FLARE cannot simulate in {workspace}: its commands break at blanks, quotes and the like; choose "
                "another folder."
            )
        with locked(workspace.with_name(f".{workspace.name}.lock"), str(workspace)) as held:
            try:
                made = ConfiguredJob(job.name, partial(copytree, job), [held], [*clears, Path(folder)], variables)
            except ValueError as error:
                raise FlapSamError(f"FLARE does not take job {job}: {error}; rename its folder.") from error
            _claim(workspace)
            try:
                with writing(workspace):
                    environment.deploy(made)
            except RuntimeError as error:
                raise FlapSamError(f"The simulation failed: {_reason(workspace) or error}") from error
    return workspace


def _claim(workspace: Path) -> None:
    """See that nothing is lost where FLARE empties a workspace, and mark it as one that this command has made."""
    require_own(workspace, WORKSPACE_MARK, KEPT_BY_FLARE)
    if results_below(workspace):
        raise FlapSamError(
            f"{workspace} holds the results of a finished run, which another would delete; choose another folder for "
            "workspaces, or move it away."
        )
    mark_own(workspace, WORKSPACE_MARK)


def _reason(workspace: Path) -> str | None:
    """The sentence with which the server ended the run."""
    log = workspace / "server" / "error_log.txt"
    found = REASON.search(log.read_text()) if log.exists() else None
    return found and found[1]
