# SPDX-License-Identifier: Apache-2.0
"""The files of a job for FLARE that runs an experiment: configuration only, no code."""

import json
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.foundation.files import writing

META = Path("meta.json")
STUB = Path("app/custom/README")
STUB_TEXT = "Empty on purpose: the job carries no code. The folder lets the simulator load the installed package.\n"
FORMAT = {"format_version": 2, "tensor_download_chunk_size": 0}
SERVER = {
    **FORMAT,
    "server": {"task_request_interval": 0.5},
    "workflows": [
        {
            "id": "controller",
            "path": "flap_sam.federation.controller.FlapSamController",
            "args": {"experiment": "{experiment}", "run_policy": "{run_policy}"},
        }
    ],
    "components": [],
}
CLIENT = {
    **FORMAT,
    "executors": [
        {"tasks": ["train", "evaluate"], "executor": {"path": "flap_sam.federation.executor.FlapSamExecutor"}}
    ],
    "components": [],
}


def write(folder: Path, experiment: Experiment, policy: RunPolicy) -> Job:
    """The job of an experiment, written into a new folder, whose name is the job's. It has no demo.

    Raises:
        FlapSamError: the folder cannot be written.
    """
    run = {"experiment": json.loads(experiment.to_json()), "run_policy": dict(vars(policy))}
    meta = {"name": folder.name, "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
    with writing(folder):
        for path, content in ((SERVER_CONFIG, SERVER | run), (CLIENT_CONFIG, CLIENT), (META, meta)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(content, indent=2) + "\n")
        (folder / STUB).parent.mkdir()
        (folder / STUB).write_text(STUB_TEXT)
    return Job.read(folder)
