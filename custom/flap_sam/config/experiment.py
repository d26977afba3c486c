"""What is trained: the one description that the server, every site and every payload share."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import get_args, get_origin

from flap_sam.config import strategies
from flap_sam.config.reads import READ_WITH, lack
from flap_sam.errors import FlapSamError, Reason

BACKBONES = ("vit_tiny", "vit_b", "vit_l", "vit_h")
METHODS = ("fullft", "attnft", "decft", "pdecft", "loraft", "loradecft", "flap_sam", "masam")
ADAPTERS = ("lora", "dora", "mole")
NORMALISATIONS = ("volume", "window")
AUGMENTATIONS = ("none", "paper")
STRATEGIES = tuple(strategies.OURS)
FACTOR_SPLITS = ("balanced", "paper")
ROBUST_RULES = ("none", "clip", "trimmed-mean", "median", "krum")
SERVER_OPTIMIZERS = ("none", "momentum", "adam", "yogi")
FLOAT_DTYPES = ("float32", "float16", "bfloat16")
PAYLOAD_DTYPES = (*FLOAT_DTYPES, "int8")
WINDOW_SLICES = 5

LIMITS = {
    "classes": (1, 255),
    "rank": (1, 1024),
    "experts": (1, 64),
    "prompt_grid": (0, 64),
    "rounds": (1, 100_000),
    "local_epochs": (1, 1000),
    "batch_size": (1, 4096),
    "max_epochs": (1, 1_000_000),
    "warmup_steps": (0, 10_000_000),
    "seed": (0, 2**63 - 1),
    "foreground_share": (0, 1),
    "weight_decay": (0, 1e3),
    "decay_power": (0, 1e3),
    "alpha": (1e-6, 1e6),
    "learning_rate": (1e-9, 1e3),
    "energy": (0.01, 1),
    "hostile_share": (0, 0.49),
    "proximal": (0, 1e3),
    "surface_tolerance": (0, 100),
}
LARGEST_SERVER_RATE = 1e3
LARGEST_IMAGE = 2048
CHOICES = {
    "backbone": ("auto", *BACKBONES),
    "method": METHODS,
    "adapter": ADAPTERS,
    "normalisation": NORMALISATIONS,
    "augmentation": AUGMENTATIONS,
    "strategy": STRATEGIES,
    "split": FACTOR_SPLITS,
    "robust": ROBUST_RULES,
    "server_optimizer": SERVER_OPTIMIZERS,
    "payload_dtype": PAYLOAD_DTYPES,
}
EXPECTED = {
    **{name: "one of " + ", ".join(choices) for name, choices in CHOICES.items()},
    **{name: f"{lowest} to {highest}" for name, (lowest, highest) in LIMITS.items()},
    "image_size": f"a multiple of 16 up to {LARGEST_IMAGE}, or null for the backbone's own",
    "ranks": "whole numbers from 1 to the experiment's rank",
    "server_learning_rate": f"above 0, up to {LARGEST_SERVER_RATE:g}, or null for the rule's own",
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One federated fine-tuning run; the job decides it, no site and no server can change it on the way.

    The defaults are the paper's (arXiv 2407.21739, section 3.2).

    What each setting may be stands in `EXPECTED`; `docs/reference/options.md` is made of it and of these lines. A
    setting that the others leave unread must have its default (see `reads`): one experiment has one name.

    Args:
        dataset: what the volumes are, in a word, for reports; of "kits19" `flap-sam predict` knows the intensities.
        classes: organs to segment, background not counted.
        backbone: SAM's image encoder; "auto" is the one the site's checkpoint holds, `vit_tiny` where there is none.
        image_size: pixels a side of a slice as the network sees it.
        method: which parts train.
        adapter: LoRA, DoRA, or a mixture of LoRA experts.
        rank: rank of the adapters.
        alpha: scale of the adapters, y = Wx + alpha B(Ax).
        experts: adapters a projection holds under `mole`.
        prompt_grid: foreground points a side in a regular grid of prompts; 0 means no prompts.
        normalisation: intensities stretched to [0, 1] over the "volume" or over each "window" of 5 slices.
        augmentation: "paper" augments every training window (see `data.augment`), "none" leaves them as stored.
        foreground_share: share of an epoch's windows centred on a slice with an organ; 0 takes every window once.
        rounds: federated rounds.
        local_epochs: passes over a site's training windows in a round.
        batch_size: windows a step.
        learning_rate: highest rate of AdamW.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up to the highest rate.
        max_epochs: local epochs after which the rate's decay ends.
        decay_power: exponent of the rate's decay.
        proximal: FedProx's mu, the pull towards the payload a round started from; 0 means none.
        strategy: what the server makes of the sites' adapters (see `lowrank.strategies`); another package may bring
            one (see `config.strategies`), which every party of the run then needs.
        split: how the SVD becomes two factors (see `lowrank.refactorise`).
        energy: share of the squared norm of the change that the rank must keep; less than 1 may lower the rank.
        ranks: rank of the sites that do not have `rank`, by the site's name in the federation.
        robust: rule against hostile or broken sites (see `lowrank.robust`).
        hostile_share: share of the sites that the rule withstands.
        server_optimizer: steps on the global change (see `lowrank.server_optimizer`).
        server_learning_rate: rate of the server's optimizer.
        payload_dtype: type of the numbers on the wire.
        surface_tolerance: in mm; more than 0 adds Hausdorff 95 and the surface Dice at it to the final evaluation.
        seed: start of every random number of the run.
    """

    dataset: str = "kits19"
    classes: int = 2
    backbone: str = "auto"
    image_size: int | None = None
    method: str = "flap_sam"
    adapter: str = "lora"
    rank: int = 32
    alpha: float = 1.0
    experts: int = 3
    prompt_grid: int = 0
    normalisation: str = "volume"
    augmentation: str = "paper"
    foreground_share: float = 0.0
    rounds: int = 100
    local_epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 8e-4
    weight_decay: float = 0.1
    warmup_steps: int = 250
    max_epochs: int = 200
    decay_power: float = 7.0
    proximal: float = 0.0
    strategy: str = "svd"
    split: str = "balanced"
    energy: float = 1.0
    ranks: dict[str, int] = field(default_factory=dict, hash=False)
    robust: str = "none"
    hostile_share: float = 0.2
    server_optimizer: str = "none"
    server_learning_rate: float | None = None
    payload_dtype: str = "float32"
    surface_tolerance: float = 0.0
    seed: int = 1234

    def __post_init__(self) -> None:
        _check_types(self)
        good = {name: getattr(self, name) in choices for name, choices in CHOICES.items()}
        good |= {name: lowest <= getattr(self, name) <= highest for name, (lowest, highest) in LIMITS.items()}
        size, rate = self.image_size, self.server_learning_rate
        good["image_size"] = size is None or (size % 16 == 0 and 16 <= size <= LARGEST_IMAGE)
        good["server_learning_rate"] = rate is None or 0 < rate <= LARGEST_SERVER_RATE
        good["strategy"] = strategies.is_known(self.strategy)
        good["ranks"] = all(type(rank) is int and 1 <= rank <= self.rank for rank in self.ranks.values())
        for name, accepted in good.items():
            if not accepted:
                here = "one of " + ", ".join(strategies.known()) if name == "strategy" else EXPECTED[name]
                _refuse(name, getattr(self, name), here)
        _check_read(self)

    @classmethod
    def from_dict(cls, settings: dict) -> "Experiment":
        """Read the experiment from a job's settings; an unknown key is an error, not a silent default."""
        if not isinstance(settings, dict):
            raise _public(f"The experiment is {type(settings).__name__}; expected an object of named settings.")
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise _public(f"The experiment has unknown settings {unknown}; known are {', '.join(known)}.")
        return cls(**settings)

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        try:
            settings = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise _public(
                f"The experiment is not JSON ({type(error).__name__}); expected an object of named settings."
            ) from error
        return cls.from_dict(settings)

    def to_json(self) -> str:
        """Canonical JSON: equal experiments give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def digest_but_rounds(self) -> str:
        """The same without `rounds`: what a run is of, however many rounds it goes on to."""
        settings = {name: value for name, value in asdict(self).items() if name != "rounds"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def is_longer(self, other: "Experiment") -> bool:
        """Whether this is another experiment with more rounds, and nothing else changed."""
        return self.rounds > other.rounds and replace(self, rounds=other.rounds) == other

    def changed(self, **changes: object) -> "Experiment":
        """This experiment with some settings changed; others that they leave unread have their defaults again."""
        settings = {entry.name: getattr(self, entry.name) for entry in fields(self)} | changes
        unread_now = {name: default for name, default in unread(settings).items() if name not in changes}
        return Experiment(**settings | unread_now)

    def at(self, site: str) -> "Experiment":
        """This experiment as the named site runs it: with its own rank."""
        return replace(self, rank=self.ranks.get(site, self.rank), ranks={}) if self.ranks else self

    def resolved(self, backbone: str, image_size: int) -> "Experiment":
        """This experiment with "auto" and None replaced by what a site found."""
        return replace(
            self,
            backbone=backbone if self.backbone == "auto" else self.backbone,
            image_size=self.image_size or image_size,
        )


def _check_types(experiment: Experiment) -> None:
    expected = {int: "a whole number", float: "a number", str: "a text", dict: "an object of numbers by name"}
    for entry in fields(experiment):
        value = getattr(experiment, entry.name)
        kinds = get_args(entry.type) if isinstance(entry.type, UnionType) else (entry.type,)
        if value is None and NoneType in kinds:
            continue
        kind = get_origin(kinds[0]) or kinds[0]
        accepted = (int, float) if kind is float else kind
        if isinstance(value, bool) or not isinstance(value, accepted):
            _refuse(entry.name, value, expected[kind])
        if kind is float:
            object.__setattr__(experiment, entry.name, float(value))  # 1 and 1.0 are one experiment, one digest


def unread(settings: Mapping[str, object]) -> dict[str, object]:
    """The defaults, by name, of the settings that nothing reads under these; one that is left out has its default."""
    whole = {**DEFAULTS, **settings}
    return {name: DEFAULTS[name] for name in READ_WITH if lack(name, whole)}


def _check_read(experiment: Experiment) -> None:
    """Refuse a setting that nothing reads, rather than pass over it in silence."""
    for name, default in unread(vars(experiment)).items():
        value = getattr(experiment, name)
        if value != default:
            other, values = lack(name, vars(experiment))
            raise _public(
                f"The experiment's {name} {value!r} needs {other} {' or '.join(map(repr, values))}, not "
                f"{getattr(experiment, other)!r}; leave {name} out or change {other}."
            )


def _refuse(name: str, found: object, expected: str) -> None:
    raise _public(f"The experiment's {name} is {found!r}; expected {expected}.")


def _public(message: str) -> FlapSamError:
    """The error of an experiment that is none."""
    return FlapSamError(message, Reason.EXPERIMENT)


DEFAULTS = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(Experiment)}
