# SPDX-License-Identifier: Apache-2.0
"""What is trained: the one description that the server, every site and every payload share."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from flap_sam.config import strategies
from flap_sam.config.reads import READ_WITH, lack
from flap_sam.config.settings import Settings
from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.limits import Check

Backbone = Literal["vit_tiny", "vit_b", "vit_l", "vit_h"]
Method = Literal["fullft", "attnft", "decft", "pdecft", "loraft", "loradecft", "flap_sam", "masam"]
Adapter = Literal["lora", "dora", "mole"]
Normalisation = Literal["volume", "window"]
RobustRule = Literal["none", "clip", "trimmed-mean", "median", "krum"]
ServerOptimizer = Literal["none", "momentum", "adam", "yogi"]
FloatDtype = Literal["float32", "float16", "bfloat16"]

BACKBONES: tuple[Backbone, ...] = get_args(Backbone)
METHODS: tuple[Method, ...] = get_args(Method)
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
NORMALISATIONS: tuple[Normalisation, ...] = get_args(Normalisation)
STRATEGIES = tuple(strategies.OURS)
ROBUST_RULES: tuple[RobustRule, ...] = get_args(RobustRule)
SERVER_OPTIMIZERS: tuple[ServerOptimizer, ...] = get_args(ServerOptimizer)
FLOAT_DTYPES: tuple[FloatDtype, ...] = get_args(FloatDtype)
WINDOW_SLICES = 5
ADDED = ("sketch_width",)
"""Settings that came later: experiments of before keep their JSON, and so their digest."""

Rank = Annotated[int, Field(ge=1, le=1024)]
Strategy = Annotated[
    str,
    Check(
        strategies.is_known,
        lambda: f"one of {', '.join(strategies.known())} (that of another package must be installed here)",
    ),
]
Share = Annotated[float, Field(ge=0, le=1)]
UpToThousand = Annotated[float, Field(ge=0, le=1000)]


class Experiment(Settings):
    """One federated fine-tuning run; the job decides it, no site and no server can change it on the way.

    The defaults are those of the paper's text (arXiv 2407.21739, section 3.2); `config.paper` has what its published
    code has otherwise.

    `docs/reference/options.md` is made of the fields and of these lines. A setting that the others leave unread must
    have its default (see `reads`): one experiment has one name.

    Args:
        dataset: what the volumes are, in a word, for reports; of "kits19" `flap-sam predict` knows the intensities.
        classes: organs to segment, background not counted.
        backbone: SAM's image encoder; "auto" is the one the site's checkpoint holds, `vit_tiny` where there is none.
        image_size: pixels a side of a slice as the network sees it; None means the backbone's own.
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
        sketch_width: columns of the sketches of a layer's summed change, at most its width; None means as many as the
            sum can have ranks, sites times rank, and ten more (see `lowrank.sketch`).
        ranks: rank of the sites that have one of their own, at most `rank`, by the site's name in the federation.
        robust: rule against hostile or broken sites (see `lowrank.robust`).
        hostile_share: share of the sites that the rule withstands.
        server_optimizer: steps on the global change (see `lowrank.server_optimizer`).
        server_learning_rate: rate of the server's optimizer; None means the rule's own.
        payload_dtype: type of the numbers on the wire.
        surface_tolerance: in mm; more than 0 adds Hausdorff 95 and the surface Dice at it to the final evaluation.
        seed: start of every random number of the run.
    """

    called: ClassVar[str] = "experiment"
    reason: ClassVar[Reason] = Reason.EXPERIMENT

    dataset: str = "kits19"
    classes: Annotated[int, Field(ge=1, le=255)] = 2
    backbone: Literal["auto", Backbone] = "auto"
    image_size: Annotated[int, Field(multiple_of=16, ge=16, le=2048)] | None = None
    method: Method = "flap_sam"
    adapter: Adapter = "lora"
    rank: Rank = 32
    alpha: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    experts: Annotated[int, Field(ge=1, le=64)] = 3
    prompt_grid: Annotated[int, Field(ge=0, le=64)] = 0
    normalisation: Normalisation = "volume"
    augmentation: Literal["none", "paper"] = "paper"
    foreground_share: Share = 0.0
    rounds: Annotated[int, Field(ge=1, le=100_000)] = 100
    local_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    learning_rate: Annotated[float, Field(ge=1e-9, le=1000)] = 8e-4
    weight_decay: UpToThousand = 0.1
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000)] = 250
    max_epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    decay_power: UpToThousand = 7.0
    proximal: UpToThousand = 0.0
    strategy: Strategy = "svd"
    split: Literal["balanced", "paper"] = "balanced"
    energy: Annotated[float, Field(ge=0.01, le=1)] = 1.0
    sketch_width: Annotated[int, Field(ge=1, le=65536)] | None = None
    ranks: dict[str, Rank] = {}
    robust: RobustRule = "none"
    hostile_share: Annotated[float, Field(ge=0, le=0.49)] = 0.2
    server_optimizer: ServerOptimizer = "none"
    server_learning_rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    payload_dtype: Literal[FloatDtype, "int8"] = "float32"
    surface_tolerance: Annotated[float, Field(ge=0, le=100)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 1234

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if any(rank > self.rank for rank in self.ranks.values()):
            raise self.refusal("ranks", self.ranks, f"each value 1 to {self.rank}, the experiment's rank")
        for name, default in unread(vars(self)).items():
            if (value := getattr(self, name)) != default:
                raise _unread_error(name, value, vars(self))
        if self.server_optimizer != "none" and strategies.traits(self.strategy).roles.take_turns:
            others = ", ".join(name for name, traits in strategies.OURS.items() if not traits.roles.take_turns)
            raise FlapSamError(
                f"The experiment's server_optimizer {self.server_optimizer!r} needs strategy {others}, not "
                f"{self.strategy!r}, whose factors stand in another basis every round; set server_optimizer to 'none'.",
                Reason.EXPERIMENT,
            )
        return self

    def __hash__(self) -> int:
        return hash(tuple(value for name, value in vars(self).items() if name != "ranks"))

    @classmethod
    def from_dict(cls, settings: object) -> Self:
        """Read the experiment from a job's settings; an unknown key is an error, not a silent default."""
        return cls.model_validate(settings)

    @classmethod
    def from_json(cls, text: str) -> Self:
        try:
            settings = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise FlapSamError(
                f"The experiment is not JSON ({type(error).__name__}); expected an object of named settings.",
                cls.reason,
            ) from error
        return cls.from_dict(settings)

    def to_json(self) -> str:
        """Canonical JSON: equal experiments give equal text."""
        return json.dumps(self._named(), sort_keys=True)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def digest_but_rounds(self) -> str:
        """The same without `rounds`: what a run is of, however many rounds it goes on to."""
        settings = {name: value for name, value in self._named().items() if name != "rounds"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _named(self) -> dict[str, object]:
        """The settings by which an experiment is known; one of `ADDED` is left out at its default."""
        return {name: value for name, value in self if name not in ADDED or value != DEFAULTS[name]}

    def is_longer(self, other: "Experiment") -> bool:
        """Whether this is another experiment with more rounds, and nothing else changed."""
        return self.rounds > other.rounds and self.changed(rounds=other.rounds) == other

    def changed(self, **fields: object) -> Self:
        """This experiment with some settings changed; others that they leave unread have their defaults again."""
        settings: dict[str, Any] = dict(self) | fields
        unread_now = {name: default for name, default in unread(settings).items() if name not in fields}
        return self.from_dict(settings | unread_now)

    def at(self, site: str) -> Self:
        """This experiment as the named site runs it: with its own rank."""
        return self.changed(rank=self.ranks.get(site, self.rank), ranks={}) if self.ranks else self

    def resolved(self, backbone: str, image_size: int | None) -> Self:
        """This experiment with "auto" and None replaced by what a site found."""
        return self.changed(
            backbone=backbone if self.backbone == "auto" else self.backbone,
            image_size=self.image_size or image_size,
        )

    @property
    def pixels(self) -> int:
        """Pixels a side of a slice; raises a ValueError where `image_size` is not resolved yet."""
        if self.image_size is None:
            raise ValueError("image_size is null, which each backbone resolves to its own")
        return self.image_size


def unread(settings: Mapping[str, object]) -> dict[str, object]:
    """The defaults, by name, of the settings that nothing reads under these; one that is left out has its default."""
    whole = {**DEFAULTS, **settings}
    return {name: DEFAULTS[name] for name in READ_WITH if lack(name, whole)}


def _unread_error(name: str, value: object, settings: Mapping[str, object]) -> FlapSamError:
    """The error of a setting that nothing reads, rather than to pass over it in silence."""
    other, values = lack(name, settings) or (name, ())
    return FlapSamError(
        f"The experiment's {name} {value!r} needs {other} {' or '.join(map(repr, values))}, not "
        f"{settings[other]!r}; leave {name} out or change {other}.",
        Reason.EXPERIMENT,
    )


DEFAULTS = {name: field.get_default(call_default_factory=True) for name, field in Experiment.model_fields.items()}
