# SPDX-License-Identifier: Apache-2.0
"""`run.json`: how a run was conducted, when, by which versions and with which sites. Nothing private is in it."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field

from flap_sam import __version__
from flap_sam.errors import FlapSamError
from flap_sam.foundation.files import replacing
from flap_sam.foundation.strict import Count, StrictModel, parse
from flap_sam.sam.weights import Origin

RUN_RECORD = "run.json"
LOCAL: Final = "local"
FEDERATED: Final = "federated"
CENTRALIZED: Final = "centralized"
Setting = Literal["local", "federated", "centralized"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)


def _time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("a time as ISO 8601 has it") from error
    return text


class Attempt(StrictModel):
    """One job of a run; a run that was resumed has several.

    Args:
        started: UTC, as ISO 8601; first_round: with which it began.
        policy: as in the job; empty without a federation.
        sites: that were there at its start; versions: of the software that conducted it, by name.
    """

    started: Annotated[str, AfterValidator(_time)]
    first_round: Count
    policy: Mapping[str, object]
    sites: Sequence[str]
    versions: Mapping[str, str]


class RunRecord(StrictModel):
    """A run.

    Args:
        run: its name; "" without a federation.
        setting: of `SETTINGS`.
        demo: the sites work on drawn volumes; weights: what they start from.
        attempts: its jobs, in their order.
    """

    version: Literal[2] = 2
    run: str
    setting: Setting
    demo: bool
    weights: Origin
    attempts: Annotated[Sequence[Attempt], Field(min_length=1)]

    def resumed(self, attempt: Attempt) -> "RunRecord":
        """The record of the run, one job later."""
        return self.changed(attempts=[*self.attempts, attempt])

    def write(self, folder: Path) -> None:
        """Write it into a results folder."""
        with replacing(folder / RUN_RECORD) as stream:
            stream.write(self.to_json().encode())


def attempt(first_round: int, sites: Sequence[str], policy: Mapping[str, object]) -> Attempt:
    """A job that begins now, by the software that runs here."""
    versions = {"flap-sam": __version__, "python": platform.python_version()}
    versions |= {name: version_of(name) for name in ("torch", "nvflare")}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Attempt(started=started, first_round=first_round, policy=policy, sites=sites, versions=versions)


def read(folder: Path) -> RunRecord:
    """The record in a results folder.

    Raises:
        FlapSamError: it is missing or damaged.
    """
    path = folder / RUN_RECORD
    try:
        return parse(RunRecord, path.read_bytes())
    except (OSError, ValueError) as error:
        raise FlapSamError(
            f"Run record {path} cannot be read ({error}); point to the folder of a run, or run it again."
        ) from error
