# SPDX-License-Identifier: Apache-2.0
"""What travels in the five steps beside the tensors: one entry, JSON of a strict model, read whole before it is used.

The steps are those of Bonawitz et al. 2017, figure 4: AdvertiseKeys, ShareKeys, MaskedInputCollection,
ConsistencyCheck and Unmasking. Bytes are lower-case hexadecimal text of exact length. Lists are in the order of the
sites' names, each once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Final, Literal, Protocol, TypeVar

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, PlainSerializer
from torch import Tensor

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.limits import Check
from flap_sam.foundation.names import is_name
from flap_sam.foundation.strict import StrictModel, parse
from flap_sam.secure import boxes, keys
from flap_sam.secure.strings import Card, PublicKeys
from flap_sam.secure.terms import MOST_SITES
from flap_sam.wire.messages import clean_reason

MASKING = "flap_sam_masking"
"""The entry that holds these messages as JSON."""

KEYS: Final = "keys"
SHARES: Final = "shares"
MASKED: Final = "masked"
CONSISTENCY: Final = "consistency"
UNMASK: Final = "unmask"
Step = Literal["keys", "shares", "masked", "consistency", "unmask"]
STEPS: tuple[Step, ...] = (KEYS, SHARES, MASKED, CONSISTENCY, UNMASK)

MASKED_TENSOR = "masked"
LARGEST_CERTIFICATE = 4096
SIGNATURE = (256, 512)
LONGEST = 16 * 2**20
"""Characters of an entry: the roster of 1000 sites with the largest certificates and signatures is shorter."""


@dataclass(frozen=True)
class Message:
    """A step's question or answer: the entry `MASKING` as text, and tensors."""

    text: object
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Named(Protocol):
    @property
    def site(self) -> str: ...


Listed = TypeVar("Listed", bound=Named)
Model = TypeVar("Model", bound=StrictModel)


def _unhex(found: object) -> object:
    if isinstance(found, str):
        if not re.fullmatch("(?:[0-9a-f]{2})*", found):
            raise ValueError("lower-case hexadecimal text")
        return bytes.fromhex(found)
    return found


def _in_order(found: tuple[str, ...]) -> tuple[str, ...]:
    if not are_in_order(found):
        raise ValueError("names in order, each once")
    return found


def _sites_in_order(found: tuple[Listed, ...]) -> tuple[Listed, ...]:
    if not are_in_order(entry.site for entry in found):
        raise ValueError("entries in the order of their sites' names, each once")
    return found


def are_in_order(names: Iterable[str]) -> bool:
    """Whether names are in the order of their UTF-8 bytes, which is that of their characters, each once."""
    return all(one < other for one, other in pairwise(names))


_HEX = (BeforeValidator(_unhex), PlainSerializer(bytes.hex, return_type=str))
Bytes32 = Annotated[bytes, *_HEX, Len(32, 32)]
Bytes16 = Annotated[bytes, *_HEX, Len(keys.SEED, keys.SEED)]
BoxBytes = Annotated[bytes, *_HEX, Len(boxes.SIZE, boxes.SIZE)]
CertificateBytes = Annotated[bytes, *_HEX, Len(0, LARGEST_CERTIFICATE)]
SignatureBytes = Annotated[
    bytes,
    *_HEX,
    Check(lambda found: not found or SIGNATURE[0] <= len(found) <= SIGNATURE[1], "256 to 512 bytes, or none"),
]
"""A simulation has neither certificates nor signatures; where there are any, an empty one is none that verifies."""
Name = Annotated[str, Len(1, 64), Check(is_name, "a site's name")]
Names = Annotated[tuple[Name, ...], Len(0, MOST_SITES), AfterValidator(_in_order)]
_LIST = (Len(0, MOST_SITES), AfterValidator(_sites_in_order))


class Part(StrictModel):
    """A message of one exchange."""

    exchange: Literal["update", "sketch-y", "sketch-z"]


class SiteKeys(StrictModel):
    """A site's keys, signed."""

    certificate: CertificateBytes
    share_key: Bytes32
    mask_key: Bytes32
    commitment: Bytes32
    signature: SignatureBytes

    @property
    def keys(self) -> PublicKeys:
        return PublicKeys(self.share_key, self.mask_key, self.commitment)


class RosterEntry(SiteKeys):
    """The keys of a site, under its name."""

    site: Name

    @property
    def card(self) -> Card:
        return Card(self.site, self.certificate, self.keys)


class SiteBox(StrictModel):
    """A box, and the site at its other end."""

    site: Name
    box: BoxBytes


class SiteSignature(StrictModel):
    """A site's signature."""

    site: Name
    signature: SignatureBytes


class SiteShare(StrictModel):
    """A share of one of a site's two seeds, null where its box did not open; never which of the two."""

    site: Name
    share: Bytes16 | None


class KeysTask(Part):
    """Step 1, down: the sites asked. For sketch-z, the tensors Q come with it."""

    sites: Names


class KeysAnswer(Part, SiteKeys):
    """Step 1, up.

    Args:
        base: digest of what the site's update is measured from.
    """

    base: Bytes32


class SharesTask(Part):
    """Step 2, down: the sites that have given keys, U1."""

    roster: Annotated[tuple[RosterEntry, ...], *_LIST]


class SharesAnswer(Part):
    """Step 2, up: a box for each other site of U1."""

    boxes: Annotated[tuple[SiteBox, ...], *_LIST]


class MaskedTask(Part):
    """Step 3, down, another for each site: the boxes for it, from the other sites of U2."""

    boxes: Annotated[tuple[SiteBox, ...], *_LIST]


class MaskedAnswer(Part):
    """Step 3, up, beside the masked vector: a signature over the sites between which it has masks."""

    signature: SignatureBytes


class ConsistencyTask(Part):
    """Step 4, down: the sites that are summed, U3, with their signatures of step 3."""

    survivors: Annotated[tuple[SiteSignature, ...], *_LIST]


class ConsistencyAnswer(Part):
    """Step 4, up: a signature over the list of U3."""

    signature: SignatureBytes


class UnmaskTask(Part):
    """Step 5, down: the signatures of step 4, of the sites U4."""

    signatures: Annotated[tuple[SiteSignature, ...], *_LIST]


class UnmaskAnswer(Part):
    """Step 5, up: for each site of U2 a share of b where it is in U3, else of m."""

    shares: Annotated[tuple[SiteShare, ...], *_LIST]


def read(kind: type[Model], message: Message, reason: Reason) -> Model:
    """A message's entry, checked whole.

    Raises:
        FlapSamError: with the given reason; it is none, or not of this kind.
    """
    if not isinstance(message.tensors, Mapping):
        raise FlapSamError("The tensors of a message of a secure sum have no names.", reason)
    if not isinstance(message.text, str) or len(message.text) > LONGEST:
        raise FlapSamError(
            f"A message of a secure sum is {type(message.text).__name__}; expected JSON of at most {LONGEST} "
            "characters.",
            reason,
        )
    try:
        return parse(kind, message.text)
    except ValueError as error:
        raise FlapSamError(clean_reason(f"A message of a secure sum is refused: {error}."), reason) from error


def written(model: StrictModel, tensors: Mapping[str, Tensor] | None = None) -> Message:
    """A message of a model and its tensors."""
    return Message(model.model_dump_json(), tensors or {})
