"""Where things lie at this site: data, checkpoint, device. The site's own; no server and no job can set it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from flap_sam.errors import FlapSamError

FILE_NAME = "flap_site.json"
ENVIRONMENT = {
    "data": "FLAP_SAM_DATA",
    "checkpoint": "FLAP_SAM_CHECKPOINT",
    "device": "FLAP_SAM_DEVICE",
    "state": "FLAP_SAM_STATE",
}
PATHS = ("data", "checkpoint", "state")
PRECISIONS = ("float32", "tf32", "bfloat16", "auto")
MEMORIES = ("normal", "low")
FLAGS = ("compile", "pictures")
NOT_TEXTS = ("processes", *FLAGS)
MOST_PROCESSES = 64
EXPECTED = {
    "precision": "one of " + ", ".join(PRECISIONS),
    "memory": "one of " + ", ".join(MEMORIES),
    "processes": f"1 to {MOST_PROCESSES}",
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """Settings of one site.

    Args:
        data: the store that `flap-sam prepare` made; None means that nothing is configured.
        name: the site's folder in the store; None means the name it has in the federation.
        checkpoint: SAM's weights, or `random` for weights drawn from the experiment's seed; None means the small SAM in
            the box, which is a `vit_tiny`: experiments that name another backbone are then refused.
        checkpoint_sha256: what the hash of the weights' file must be, the box's too; None means any.
        device: a torch device; None means a GPU where there is one, else the CPU.
        precision: of the network's arithmetic; "auto" is bfloat16 on a GPU that has it, else float32.
        memory: "low" trains a window at a time and computes much of its forward pass twice: the same numbers but for
            rounding, in a fraction of the memory and a quarter more time.
        compile: let torch.compile fuse the network's operations; the first steps then take minutes.
        processes: how many processes train together, one a GPU where `device` is None.
        state: where a run's state is kept between rounds, outside its run folder; None means `flap-sam` in the
            user's folder for state (XDG_STATE_HOME, or ~/.local/state).
        pictures: draw the best and the worst test cases into the site's run folder, which they never leave (see
            `training.pictures`); on the demo they are drawn in any case.
    """

    data: Path | None = None
    name: str | None = None
    checkpoint: Path | None = None
    checkpoint_sha256: str | None = None
    device: str | None = None
    precision: str = "float32"
    memory: str = "normal"
    compile: bool = False
    state: Path | None = None
    processes: int = 1
    pictures: bool = False

    @classmethod
    def read(cls, local: Path | None) -> "Site":
        """Settings from the environment, then from `flap_site.json` in the folder `local`."""
        settings = _read_file(local / FILE_NAME) if local is not None else {}
        settings |= {key: os.environ[name] for key, name in ENVIRONMENT.items() if os.environ.get(name)}
        return cls.from_plain(settings)

    @classmethod
    def from_plain(cls, settings: Mapping[str, str | int | bool | None]) -> "Site":
        """Settings as `flap_site.json` has them."""
        paths = {key: Path(settings[key]).expanduser() if settings.get(key) else None for key in PATHS}
        return cls(**(dict(settings) | paths))

    def __post_init__(self) -> None:
        for name, choices in (("precision", PRECISIONS), ("memory", MEMORIES)):
            if (value := getattr(self, name)) not in choices:
                raise FlapSamError(f"The site's {name} is {value!r}; expected one of {', '.join(choices)}.")
        for name in FLAGS:
            if type(value := getattr(self, name)) is not bool:
                raise FlapSamError(f"The site's {name} is {value!r}; expected true or false.")
        if type(self.processes) is not int or not 1 <= self.processes <= MOST_PROCESSES:
            raise FlapSamError(f"The site's processes are {self.processes!r}; expected 1 to {MOST_PROCESSES}.")
        if self.processes > 1 and self.device not in (None, "cpu"):
            raise FlapSamError(
                f"The site's {self.processes} processes cannot share the device {self.device!r}; leave `device` out, "
                "and each takes a GPU of its own."
            )

    @property
    def state_root(self) -> Path:
        """The folder that holds a folder for every run."""
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return self.state or Path(home) / "flap-sam"

    def shows_pictures(self, demo: bool) -> bool:
        """Whether test cases are drawn: drawn volumes are no patients."""
        return self.pictures or demo

    def torch_device(self) -> torch.device:
        """The device to compute on; asking for a GPU that is not there is an error, not a quiet CPU run."""
        wanted = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise FlapSamError(f"The site's device {wanted!r} cannot be used ({reason}); try cpu or cuda:0.") from error
        return device


def _read_file(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise FlapSamError(f"Site settings {path} cannot be read: {error}; expected a JSON object.") from error
    known = {field.name for field in fields(Site)}
    wrong = sorted(set(settings) - known) if isinstance(settings, dict) else ["a non-object"]
    if wrong:
        raise FlapSamError(f"Site settings {path} hold {wrong}; known are {', '.join(sorted(known))}.")
    texts = [value for name, value in settings.items() if name not in NOT_TEXTS]
    if any(value is not None and not isinstance(value, str) for value in texts):
        raise FlapSamError(
            f"Site settings {path} hold a value that is no text; every setting but {', '.join(NOT_TEXTS)} is a text or "
            "null."
        )
    return settings
