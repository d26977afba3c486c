# SPDX-License-Identifier: Apache-2.0
"""The files of a job for FLARE that runs an experiment: configuration only, no code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.job import CLIENT_CONFIG, SERVER_CONFIG, Job
from flap_sam.config.run_policy import RunPolicy
from flap_sam.foundation.files import writing

SCOPE = "flap_sam"  # the privacy scope of the sites of a federation
EVERY_SITE = "@default"  # FLARE's word for the sites that a resource_spec does not name
ONE_GPU = {EVERY_SITE: 1}
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
}
EXECUTOR = "flap_sam.federation.executor.FlapSamExecutor"
TENSORBOARD = {
    "id": "tensorboard",
    "path": "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver",
    "args": {"events": ["analytix_log_stats"]},
}
"""The component by which a server keeps the figures of the rounds for TensorBoard; it needs the extra of that name."""
METRICS = {
    "id": "metrics_artifact_writer",
    "path": "nvflare.app_common.widgets.metrics_artifact_writer.MetricsArtifactWriter",
    "args": {},
}
"""The component that writes the metrics of the rounds as FLARE's own tools read them."""


def write(
    folder: Path,
    experiment: Experiment,
    policy: RunPolicy,
    *,
    demo: str | None = None,
    components: Sequence[Mapping[str, object]] = (),
    submitted: bool = False,
    gpus: Mapping[str, int] = ONE_GPU,
) -> Job:
    """The job of an experiment, written into a new folder, whose name is the job's.

    Args:
        demo: the phantom that sites without data draw; None where those are refused.
        components: of FLARE's, which the server builds beside our own.
        submitted: it goes to a federation of startup kits, whose sites take it in their privacy scope alone.
        gpus: of a submitted job, see `submission`.

    Raises:
        FlapSamError: the folder cannot be written.
    """
    contents = {
        SERVER_CONFIG: SERVER
        | {
            "experiment": experiment.model_dump(mode="json"),
            "run_policy": policy.model_dump(mode="json"),
            "components": [*components],
        },
        CLIENT_CONFIG: _client(demo),
        META: _meta(folder.name) | (submission(gpus) if submitted else {}),
    }
    with writing(folder):
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(json.dumps(content, indent=2) + "\n")
        if not submitted:
            (folder / STUB).parent.mkdir()
            (folder / STUB).write_text(STUB_TEXT)
    return Job.read(folder)


def submission(gpus: Mapping[str, int]) -> dict[str, object]:
    """What a job says of itself to the sites of a federation: their privacy scope, and the GPUs that it asks for.

    Args:
        gpus: by site, `EVERY_SITE` for those that are not named; a site gives at least one and at most what it has.
    """
    return {"scope": SCOPE, "resource_spec": {site: {"num_of_gpus": number} for site, number in gpus.items()}}


def _meta(name: str) -> dict[str, object]:
    return {"name": name, "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}


def _client(demo: str | None) -> dict[str, object]:
    executor: dict[str, object] = {"path": EXECUTOR} | ({"args": {"demo": demo}} if demo else {})
    return {**FORMAT, "executors": [{"tasks": ["train", "evaluate"], "executor": executor}], "components": []}
