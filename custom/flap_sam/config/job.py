# SPDX-License-Identifier: Apache-2.0
"""A job's folder: what it trains and on which demo, and copies of it with other settings."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flap_sam.config.experiment import Experiment
from flap_sam.config.run_policy import RunPolicy
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import writing

SERVER_CONFIG = Path("app/config/config_fed_server.json")
CLIENT_CONFIG = Path("app/config/config_fed_client.json")


@dataclass(frozen=True)
class Job:
    """A job as its folder says it.

    Args:
        settings: of the experiment, as the job has them; policy: of its runs.
        demo: the phantom for sites without data; None where the job has none.
    """

    folder: Path
    settings: dict[str, object]
    policy: RunPolicy
    demo: str | None

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """Raises a FlapSamError where the folder holds no job of this project, or its policy is wrong."""
        server, client = _read(folder / SERVER_CONFIG), _read(folder / CLIENT_CONFIG)
        if "conduct" in server:
            raise FlapSamError(f"Job {folder} is of flap-sam 0.1: rename `conduct` in {SERVER_CONFIG} to `run_policy`.")
        try:
            settings = dict(server["experiment"])
            demo = client["executors"][0]["executor"].get("args", {}).get("demo")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise FlapSamError(f"Job {folder} has no {error} where its configuration names the experiment.") from error
        return cls(folder, settings, RunPolicy.from_dict(server.get("run_policy")), demo)

    @property
    def components(self) -> list[str]:
        """The classes of the components that the server builds for the job, by their paths."""
        found = _read(self.folder / SERVER_CONFIG).get("components") or []
        return [component.get("path", "") for component in found]

    def experiment(self, changes: Mapping[str, object] | None = None) -> Experiment:
        """The experiment, some of its settings changed."""
        return Experiment.from_dict({**self.settings, **(changes or {})})

    def changed(self, changes: Mapping[str, object]) -> "Job":
        """This job with some settings of the experiment changed; raises a FlapSamError where they may not be so."""
        self.experiment(changes)
        return replace(self, settings={**self.settings, **changes})

    def copy(self, folder: Path, changes: Mapping[str, object], policy: Mapping[str, Any] | None = None) -> Path:
        """A copy of the job with some settings changed, checked before anything is written.

        Args:
            changes: of the experiment; policy: of its runs.
        """
        self.experiment(changes)
        if policy:
            self.policy.changed(**policy)
        path = folder / SERVER_CONFIG
        config = _read(self.folder / SERVER_CONFIG)
        config["experiment"] = {**self.settings, **changes}
        if policy:
            config["run_policy"] = {**(config.get("run_policy") or {}), **policy}
        with writing(folder):
            shutil.copytree(self.folder, folder)
            path.write_text(json.dumps(config, indent=2) + "\n")
        return folder


def parsed(settings: list[str]) -> dict[str, object]:
    """`name=value` texts as settings."""
    return {name: value_of(text) for name, text in named(settings).items()}


def named(settings: list[str]) -> dict[str, str]:
    """`name=text` as texts by name."""
    pairs = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            raise FlapSamError(f"Setting {setting!r} is not understood; expected name=value.")
        pairs[name] = text
    return pairs


def values_of(text: str) -> list[object]:
    """Values between commas."""
    return [value_of(value) for value in text.split(",")]


def value_of(text: str) -> object:
    """A value as JSON where it is, else as the text it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FlapSamError(f"Job file {path} cannot be read ({error}); point to the folder of a job.") from error
    if not isinstance(found, dict):
        raise FlapSamError(
            f"Job file {path} holds {type(found).__name__}, expected an object of named settings; point to the folder "
            "of a job."
        )
    return found
