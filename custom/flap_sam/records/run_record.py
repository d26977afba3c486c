"""`run.json`: how a run was conducted, when, by which versions and with which sites. Nothing private is in it."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from flap_sam import __version__
from flap_sam.errors import FlapSamError
from flap_sam.foundation import typed
from flap_sam.foundation.files import replacing
from flap_sam.sam.weights import Origin

RUN_RECORD = "run.json"
LOCAL, FEDERATED, CENTRALIZED = "local", "federated", "centralized"
SETTINGS = (LOCAL, FEDERATED, CENTRALIZED)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One job of a run; a run that was resumed has several.

    Args:
        started: UTC, as ISO 8601; first_round: with which it began.
        policy: as in the job; empty without a federation.
        sites: that were there at its start; versions: of the software that conducted it, by name.
    """

    started: str
    first_round: int
    policy: Mapping[str, object]
    sites: Sequence[str]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.started)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run.

    Args:
        run: its name; "" without a federation.
        setting: of `SETTINGS`.
        demo: the sites work on drawn volumes; weights: what they start from.
        attempts: its jobs, in their order.
    """

    run: str
    setting: str
    demo: bool
    weights: Origin
    attempts: Sequence[Attempt]

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS or not self.attempts:
            raise ValueError(f"its setting is {self.setting!r}, of {len(self.attempts)} jobs")

    def resumed(self, attempt: Attempt) -> "RunRecord":
        """The record of the run, one job later."""
        return replace(self, attempts=[*self.attempts, attempt])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Raises ValueError where it is not a record."""
        return typed.read(cls, text)

    def write(self, folder: Path) -> None:
        """Write it into a results folder."""
        with replacing(folder / RUN_RECORD) as stream:
            stream.write(self.to_json().encode())


def attempt(first_round: int, sites: Sequence[str], policy: Mapping[str, object]) -> Attempt:
    """A job that begins now, by the software that runs here."""
    versions = {"flap-sam": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in ("torch", "nvflare")}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Attempt(started=started, first_round=first_round, policy=policy, sites=sites, versions=versions)


def read(folder: Path) -> RunRecord:
    """The record in a results folder.

    Raises:
        FlapSamError: it is missing or damaged.
    """
    path = folder / RUN_RECORD
    try:
        return RunRecord.from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise FlapSamError(
            f"Run record {path} cannot be read ({error}); point to the folder of a run, or run it again."
        ) from error
