# SPDX-License-Identifier: Apache-2.0
"""What a site has agreed to: `flap_gate.json` in its FLARE `local/` folder. No job and no server can change it."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from flap_sam.config.experiment import FLOAT_DTYPES, Experiment
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.extras import require
from flap_sam.foundation.strict import StrictModel, parse
from flap_sam.wire.messages import METRICS

FILE_NAME = "flap_gate.json"
BLOCK: Final = "block"
CLIP: Final = "clip"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _experiment(found: object, handler: ValidatorFunctionWrapHandler) -> Experiment:
    try:
        experiment: Experiment = handler(found)
    except FlapSamError as error:
        raise ValueError(str(error)) from error
    return experiment


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError("one of " + ", ".join(METRICS))
    return name


class Privacy(StrictModel):
    """Differential privacy: all that depends on the site's data stays or leaves with noise (see `noise`).

    Args:
        clip: largest L2 norm of an update.
        noise_multiplier: standard deviation of the noise, in units of `clip`, up to 256 (see `noise`).
        epsilon, delta: the budget over all that the site ever releases.
        slices: number of training slices that the site's answers state. It stands here because the true number would
            tell something of the data; agree on a round one.
    """

    clip: Positive
    noise_multiplier: Annotated[float, Field(gt=0, le=256)]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1)]
    slices: Count


class Agreement(StrictModel):
    """Settings of the gate.

    Args:
        experiments: those the site takes part in, as their jobs name them.
        metrics: the numbers beside the tensors that may leave, names of `messages.METRICS`; none under `privacy`.
        largest_update: norm of an update (see `update`) up to which it leaves as it is; under `privacy`, `clip` takes
            its place.
        largest_payload: norm of the change that a payload from the server makes to the network as it started, up to
            which it comes in.
        runs: how many runs of each experiment the site takes part in. A run that a later job continues is one run; if
            it goes on to more rounds, it is one of either experiment, and both must be listed. A failure that the data
            may have a part in counts as an answer, here and below.
        repeats: how many rounds of a run may be answered a second time, when a later job continues a run whose last
            answer the server may have lost.
        evaluations: how many payloads a run may have scored on the test cases; a whole run asks for at most two, and
            again for them if it is resumed at its very end. A run of two experiments has this number twice.
        over: what happens beyond `largest_update`: "block" the update, or "clip" it to that norm.
        release_bits: the number of bits that each number of an update leaves with, rounded at random; None leaves
            them as they are.
        privacy: None means no noise.
        audit: the audit log; None means `flap_audit.jsonl` in the kit's folder.
    """

    experiments: tuple[Annotated[Experiment, WrapValidator(_experiment)], ...]
    metrics: tuple[Annotated[str, AfterValidator(_metric)], ...]
    largest_update: Positive
    largest_payload: Positive
    runs: Count
    repeats: Annotated[int, Field(ge=0)]
    evaluations: Annotated[int, Field(ge=0)]
    over: Literal["block", "clip"] = BLOCK
    release_bits: Annotated[int, Field(ge=2, le=16)] | None = None
    privacy: Privacy | None = None
    audit: Path | None = None

    @model_validator(mode="after")
    def _means_something(self) -> "Agreement":
        changed = self.over == CLIP or self.privacy or self.release_bits
        if changed and any(e.payload_dtype not in FLOAT_DTYPES for e in self.experiments):
            raise ValueError(
                "over clip, release_bits and privacy only with experiments whose payload_dtype is "
                + ", ".join(FLOAT_DTYPES)
                + "; one has int8"
            )
        if self.privacy and self.metrics:
            raise ValueError("metrics [] with privacy: a metric would tell of the data without noise")
        if self.privacy and self.release_bits:
            raise ValueError("release_bits null with privacy: the noise covers what rounding would")
        return self

    @classmethod
    def read(cls, local: Path) -> "Agreement":
        """The agreement in the folder `local`.

        Raises:
            FlapSamError: there is none, it is not one, it lists no experiment, or it asks for noise and the extra
                `privacy` is not installed.
        """
        path = local / FILE_NAME
        try:
            found = parse(cls, path.read_bytes())
        except FileNotFoundError as error:
            raise FlapSamError(
                f"There is no agreement {path}, so nothing passes; `flap-sam kit {local.parent}` lays one.",
                Reason.AGREEMENT,
            ) from error
        except (OSError, ValueError) as error:
            raise FlapSamError(
                f"Agreement {path} cannot be used, so nothing passes: {error}.", Reason.AGREEMENT
            ) from error
        if found.privacy:
            require("privacy", f"Agreement {path} asks for noise, whose budget", Reason.AGREEMENT)
        if not found.experiments:
            raise FlapSamError(
                f"Agreement {path} lists no experiment, so nothing passes; read a job, then agree to it with "
                f"`flap-sam kit {local.parent} --job JOB`.",
                Reason.NOT_AGREED,
            )
        return found

    def admits(self, experiment: Experiment) -> bool:
        """Whether this is one of the experiments agreed to."""
        return experiment in self.experiments

    @property
    def withheld(self) -> tuple[str, ...]:
        """The metrics that stay."""
        return tuple(name for name in METRICS if name not in self.metrics)
