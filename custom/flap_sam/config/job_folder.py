"""The folder of a job as FLARE takes it: configuration only, written from what it trains and how it is conducted."""

import json
from collections.abc import Mapping
from pathlib import Path

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.foundation.files import writing

SCOPE = "flap_sam"  # the privacy scope of the sites of a federation
META = Path("meta.json")
SERVER_CONFIG = Path("app/config/config_fed_server.json")
CLIENT_CONFIG = Path("app/config/config_fed_client.json")
STUB = Path("app/custom/README")
STUB_TEXT = "Empty on purpose: the job carries no code. The folder lets the simulator load the installed package.\n"

CONTROLLER = "flap_sam.federation.controller.FlapSamController"
EXECUTOR = "flap_sam.federation.executor.FlapSamExecutor"
TENSORBOARD = "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"


def write(
    folder: Path, experiment: Experiment, policy: RunPolicy, demo: str | None = None, submitted: bool = False
) -> None:
    """Write the folder, under whose name the job runs.

    Args:
        demo: the procedural source for sites without data; None where those are refused.
        submitted: it goes to a federation from startup kits, whose sites take it in their privacy scope alone.
    """
    with writing(folder):
        (folder / SERVER_CONFIG).parent.mkdir(parents=True)
        _write(folder / META, _meta(folder.name) | ({"scope": SCOPE} if submitted else {}))
        if not submitted:
            (folder / STUB).parent.mkdir()
            (folder / STUB).write_text(STUB_TEXT)
        _write(folder / SERVER_CONFIG, _server(experiment, policy))
        _write(folder / CLIENT_CONFIG, _client(demo))


def _meta(name: str) -> dict[str, object]:
    return {"name": name, "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}


def _server(experiment: Experiment, policy: RunPolicy) -> dict[str, object]:
    return {
        "format_version": 2,
        "tensor_download_chunk_size": 0,  # tensors travel within the message, where the gate sees them
        "server": {"task_request_interval": 0.5},
        "experiment": experiment.model_dump(mode="json"),
        "run_policy": policy.model_dump(mode="json"),
        "workflows": [
            {
                "id": "controller",
                "path": CONTROLLER,
                "args": {"experiment": "{experiment}", "run_policy": "{run_policy}"},
            }
        ],
        "components": [{"id": "tensorboard", "path": TENSORBOARD, "args": {"events": ["analytix_log_stats"]}}],
    }


def _client(demo: str | None) -> dict[str, object]:
    executor: dict[str, object] = {"path": EXECUTOR} | ({"args": {"demo": demo}} if demo else {})
    return {
        "format_version": 2,
        "tensor_download_chunk_size": 0,
        "executors": [{"tasks": ["train", "evaluate"], "executor": executor}],
        "components": [],
    }


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
