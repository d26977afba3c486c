# SPDX-License-Identifier: Apache-2.0
"""What a site holds in memory of an exchange, until its masked vector is made, and never on a disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from flap_sam.secure.boxes import Shares
from flap_sam.secure.keys import Secrets
from flap_sam.secure.messages import KeysAnswer, RosterEntry
from flap_sam.secure.strings import Exchange

Vector = NDArray[np.uint32]


@dataclass(frozen=True)
class Held:
    """A clear update that the gate has checked and bounded, and holds in memory until it is masked.

    Args:
        base: digest of what the update is measured from.
        questions: the exchanges of this round in order, each with names and shapes of the tensors that the server
            asks with.
        vector: what the site puts into an exchange before masks, from the tensors asked with (see `ring`).
    """

    run: str
    round: int
    base: bytes
    questions: Mapping[str, Mapping[str, tuple[int, ...]]]
    vector: Callable[[str, Mapping[str, Tensor]], Vector]


@dataclass(frozen=True)
class Opened:
    """An exchange after the first step."""

    exchange: Exchange
    number: str
    sites: tuple[str, ...]
    secrets: Secrets
    answer: KeysAnswer
    asked_with: Mapping[str, Tensor]


@dataclass(frozen=True)
class Shared:
    """An exchange after the second step: who has keys, their digest R, and the site's own shares of its secrets."""

    opened: Opened
    roster: tuple[RosterEntry, ...]
    digest: bytes
    own: Shares

    @property
    def number(self) -> str:
        return self.opened.number


Kind = TypeVar("Kind", Opened, Shared)
