# SPDX-License-Identifier: Apache-2.0
"""Where things lie at this site: data, checkpoint, device. The site's own; no server and no job can set it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from flap_sam.errors import FlapSamError
from flap_sam.foundation.limits import Check
from flap_sam.foundation.names import is_name
from flap_sam.foundation.strict import StrictModel, checked, loads

if TYPE_CHECKING:
    import torch

FILE_NAME = "flap_site.json"
ENVIRONMENT = {
    "data": "FLAP_SAM_DATA",
    "checkpoint": "FLAP_SAM_CHECKPOINT",
    "device": "FLAP_SAM_DEVICE",
    "state": "FLAP_SAM_STATE",
    "payloads": "FLAP_SAM_PAYLOADS",
}


def _none_if_empty(found: object) -> object:
    return None if found == "" else found


def _path(found: object, info: ValidationInfo) -> object:
    """A path; the context names the settings that a file gives, for no process knows the folder it was written in."""
    if not isinstance(found, str):
        return found
    if not found:
        return None
    try:
        path = Path(found).expanduser()
    except RuntimeError as error:
        raise ValueError("a folder whose ~ is known here") from error
    is_random = info.field_name == "checkpoint" and found == "random"
    if info.field_name in (info.context or ()) and not path.is_absolute() and not is_random:
        raise ValueError("a path from the root, like /data/store")
    return path


def _is_sha256(found: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{64}", found) is not None


Name = Annotated[str, Check(is_name, "letters, digits, '.', '_', '-' and blanks")]
Sha256 = Annotated[str, Check(_is_sha256, "64 hexadecimal digits")]
EmptyIsNone = BeforeValidator(_none_if_empty)
PathOrNone = Annotated[Path | None, BeforeValidator(_path)]


def absolute_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold a relative path, made absolute: processes that inherit them may run in another folder."""
    given = {
        name: environment.get(name)
        for name in (ENVIRONMENT[key] for key in ("data", "checkpoint", "state", "payloads"))
    }
    paths = {name: Path(text).expanduser() for name, text in given.items() if text and text != "random"}
    return {name: str(path.absolute()) for name, path in paths.items() if not path.is_absolute()}


class Site(StrictModel):
    """Settings of one site.

    Args:
        data: the store that `flap-sam prepare` made; None means that nothing is configured.
        name: the site's folder in the store; None means the name it has in the federation.
        checkpoint: SAM's weights, or `random` for weights drawn from the experiment's seed; None means the bundled
            small SAM, which is a `vit_tiny`: experiments that name another backbone are then refused.
        checkpoint_sha256: what the hash of the weights' file must be, the bundled one's too; None means any.
        device: a torch device; None means a GPU where there is one, else the CPU.
        precision: of the network's arithmetic; "auto" is bfloat16 on a GPU that has it, else float32.
        memory: "low" trains a window at a time and computes much of its forward pass twice: the same numbers but for
            rounding, in a fraction of the memory and a quarter more time.
        threads: how many threads to compute with on the CPU; None means what OMP_NUM_THREADS says, else the site's
            share of the cores that the machine has free when the run begins. Results repeat to the bit with the same
            number only, so that a run keeps its own.
        compile: let torch.compile fuse the network's operations; the first steps then take minutes.
        state: where a run's state is kept between rounds, outside its run folder; None means `flap-sam` in the
            user's folder for state (XDG_STATE_HOME, or ~/.local/state).
        payloads: folder of payloads that a job may name as its `start`; a server reads it, a site never. None means
            that no job may.
        processes: how many processes train together, one a GPU where `device` is None.
        pictures: draw the best and the worst test cases into the site's run folder, which they never leave (see
            `records.pictures`); on the demo they are drawn in any case.
    """

    data: PathOrNone = None
    name: Annotated[Name | None, EmptyIsNone] = None
    checkpoint: PathOrNone = None
    checkpoint_sha256: Annotated[Sha256 | None, EmptyIsNone] = None
    device: Annotated[str | None, EmptyIsNone] = None
    precision: Literal["float32", "tf32", "bfloat16", "auto"] = "float32"
    memory: Literal["normal", "low"] = "normal"
    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    compile: bool = False
    state: PathOrNone = None
    payloads: PathOrNone = None
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    pictures: bool = False

    @classmethod
    def read(cls, local: Path | None) -> "Site":
        """Settings from the environment, then from `flap_site.json` in the folder `local`.

        Raises:
            FlapSamError: the file is there and cannot be read, or a setting is unknown or not as it may be.
        """
        path = None if local is None else local / FILE_NAME
        given = {key: os.environ[name] for key, name in ENVIRONMENT.items() if os.environ.get(name)}
        try:
            if path is None or not os.path.lexists(path):
                return checked(cls, given)
            settings = loads(path.read_bytes())
            if not isinstance(settings, dict):
                return checked(cls, settings)
            return checked(cls, settings | given, context=settings.keys() - given.keys())
        except (OSError, ValueError) as error:
            variables = ", ".join(ENVIRONMENT[key] for key in given)
            raise FlapSamError(
                f"The site's settings in {path or 'the environment'}{f' under {variables}' if given and path else ''} "
                f"cannot be used: {error}; correct them."
            ) from error

    @classmethod
    def from_plain(cls, settings: Mapping[str, str | int | bool | None], of_file: bool = False) -> "Site":
        """Settings as `flap_site.json` has them; `of_file` if they are to stand there, where paths begin at the root.

        Raises:
            FlapSamError: one is unknown, or not as it may be.
        """
        try:
            return checked(cls, dict(settings), context=settings.keys() if of_file else None)
        except ValueError as error:
            raise FlapSamError(f"The site's settings cannot be used: {error}; correct them.") from error

    def at(self, data: Path | None, name: str | None) -> "Site":
        """These settings with another store, and the site of that name in it; a FlapSamError where it can be none."""
        try:
            return self.changed(data=data, name=name)
        except ValueError as error:
            raise FlapSamError(f"The site's settings cannot be used: {error}; correct them.") from error

    def variables(self) -> dict[str, str]:
        """The settings as the environment has them, every path absolute.

        Raises:
            FlapSamError: one is set that the environment has no variable for.
        """
        given = {name: value for name, value in self if value != type(self).model_fields[name].default}
        if others := given.keys() - ENVIRONMENT.keys():
            raise FlapSamError(
                f"A site's {', '.join(sorted(others))} cannot be given to the processes of a simulation, only "
                f"{', '.join(ENVIRONMENT)}; leave it out."
            )
        found = {ENVIRONMENT[name]: str(value) for name, value in given.items()}
        return found | absolute_paths(found)

    @field_validator("processes")
    @classmethod
    def _a_device_each(cls, processes: int, beside: ValidationInfo) -> int:
        device = beside.data.get("device")
        if processes > 1 and device not in (None, "cpu"):
            raise ValueError(
                f"1 beside the device {device!r}, which processes cannot share; leave `device` out, and each takes a "
                "GPU of its own"
            )
        return processes

    @property
    def state_root(self) -> Path:
        """The folder that holds a folder for every run."""
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return self.state or Path(home) / "flap-sam"

    def shows_pictures(self, demo: bool) -> bool:
        """Whether test cases are drawn: drawn volumes are no patients."""
        return self.pictures or demo

    def torch_device(self) -> "torch.device":
        """The device to compute on; asking for a GPU that is not there is an error, not a quiet CPU run."""
        import torch  # here, as a hospital's parent process reads these settings too and should start without torch

        wanted = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise FlapSamError(f"The site's device {wanted!r} cannot be used ({reason}); try cpu or cuda:0.") from error
        return device
