"""What a site has agreed to: `flap_gate.json` in its FLARE `local/` folder. No job and no server can change it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from flap_sam.errors import FlapSamError
from flap_sam.experiment import Experiment
from flap_sam.federation.messages import METRICS
from flap_sam.training.quantise import FLOATS

FILE_NAME = "flap_gate.json"
BLOCK, CLIP = "block", "clip"


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Gaussian noise on every update that leaves (see `noise`).

    Args:
        clip: largest L2 norm of an update; noise_multiplier: standard deviation of the noise, in units of `clip`.
        epsilon, delta: the budget over all that the site ever releases.
    """

    clip: float
    noise_multiplier: float
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) not in (int, float) or not 0 < value < float("inf"):
                raise _refused(f"privacy.{field.name} is {value!r}", "a number above 0")
        if self.delta >= 1:
            raise _refused(f"privacy.delta is {self.delta}", "less than 1, such as 1e-5")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Settings of the gate.

    Args:
        experiments: those the site takes part in, as their jobs name them.
        metrics: the numbers beside the tensors that may leave, names of `messages.METRICS`.
        largest_update: the norm of an update (see `update`) up to which it leaves as it is.
        over: what happens beyond: "block" it, or "clip" it to that norm.
        privacy: None means no noise.
        audit: the audit log; None means `flap_audit.jsonl` in the kit's folder.
    """

    experiments: tuple[Experiment, ...]
    metrics: tuple[str, ...]
    largest_update: float
    over: str = BLOCK
    privacy: Privacy | None = None
    audit: Path | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown:
            raise _refused(f"metrics are {unknown}", "some of " + ", ".join(METRICS))
        if type(self.largest_update) not in (int, float) or not 0 < self.largest_update < float("inf"):
            raise _refused(f"largest_update is {self.largest_update!r}", "a number above 0")
        if self.over not in (BLOCK, CLIP):
            raise _refused(f"over is {self.over!r}", f"{BLOCK} or {CLIP}")
        changed = self.over == CLIP or self.privacy is not None
        if changed and any(e.payload_dtype not in FLOATS for e in self.experiments):
            raise _refused(
                "an int8 experiment is to be clipped or noised", "payload_dtype float32, float16 or bfloat16"
            )

    @classmethod
    def read(cls, local: Path) -> "Agreement":
        """The agreement in the folder `local`.

        Raises:
            FlapSamError: there is none, or it is not one.
        """
        path = local / FILE_NAME
        if not path.is_file():
            raise FlapSamError(
                f"There is no agreement {path}, so nothing may leave; `flap-sam kit` lays one into the kit.",
                public="the site has no agreement, so nothing leaves it",
            )
        try:
            found = json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise _refused(f"it cannot be read ({error})", "a JSON object") from error
        return cls(**_settings(found))

    def admits(self, experiment: Experiment) -> bool:
        """Whether this is one of the experiments agreed to."""
        return experiment in self.experiments

    @property
    def withheld(self) -> tuple[str, ...]:
        """The metrics that stay."""
        return tuple(name for name in METRICS if name not in self.metrics)


def _settings(found: object) -> dict:
    names = {field.name for field in fields(Agreement)}
    needed = {"experiments", "metrics", "largest_update"}
    if not isinstance(found, Mapping) or not needed <= set(found) <= names:
        told = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise _refused(f"its entries are {told}", f"{sorted(needed)} and perhaps {sorted(names - needed)}")
    settings = dict(found)
    for name in ("experiments", "metrics"):
        if not isinstance(settings[name], list):
            raise _refused(f"{name} is {type(settings[name]).__name__}", "a list")
        settings[name] = tuple(settings[name])
    settings["experiments"] = tuple(Experiment.from_dict(e) for e in settings["experiments"])
    if settings.get("privacy") is not None:
        settings["privacy"] = _privacy(settings["privacy"])
    if settings.get("audit") is not None:
        settings["audit"] = Path(str(settings["audit"])).expanduser()
    return settings


def _privacy(found: object) -> Privacy:
    names = {field.name for field in fields(Privacy)}
    if not isinstance(found, Mapping) or set(found) != names:
        raise _refused(f"privacy is {found!r}", f"an object of {sorted(names)}, or null")
    return Privacy(**found)


def _refused(found: str, expected: str) -> FlapSamError:
    return FlapSamError(
        f"The agreement {FILE_NAME} cannot be used: {found}; expected {expected}.",
        public="the site's agreement cannot be used, so nothing leaves it",
    )
