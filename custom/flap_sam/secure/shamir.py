# SPDX-License-Identifier: Apache-2.0
"""Secrets of 16 bytes in shares, of which a threshold restores them: Shamir's scheme over GF(2^128), by PyCryptodome.

`Crypto.Protocol.SecretSharing` restores something of whatever it is given. So all that it does not check is checked
here, but for the secret itself, which whoever restores it compares with what its owner has published.
"""

from collections.abc import Mapping

from flap_sam.errors import FlapSamError, Reason
from flap_sam.foundation.extras import require
from flap_sam.secure.keys import SEED


def split(secret: bytes, threshold: int, sites: int) -> list[bytes]:
    """The shares of a secret for sites 1, 2, ... in order, 16 bytes each.

    Raises:
        FlapSamError: the extra `masked` is not installed.
        ValueError: the secret has not 16 bytes, or not 1 <= threshold <= sites.
    """
    if len(secret) != SEED or not 1 <= threshold <= sites:
        raise ValueError(f"a secret of {len(secret)} bytes for {threshold} of {sites} sites")
    require("masked", "A secure sum", Reason.AGREEMENT)
    from Crypto.Protocol.SecretSharing import Shamir

    return [share for _, share in Shamir.split(threshold, sites, secret)]


def restore(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """What exactly `threshold` of the shares restore: those of the lowest places. It may be wrong: check it.

    Args:
        shares: by the place of the site that they were made for, from 1.

    Raises:
        FlapSamError: there are too few, or the extra `masked` is not installed.
        ValueError: a place or a share cannot be one.
    """
    if any(place < 1 or len(share) != SEED for place, share in shares.items()):
        raise ValueError("a share is at place 0, or has not 16 bytes")
    if threshold < 1 or len(shares) < threshold:
        raise FlapSamError(f"There are {len(shares)} shares of a secret; expected {threshold}.", Reason.LIST)
    require("masked", "A secure sum", Reason.AGREEMENT)
    from Crypto.Protocol.SecretSharing import Shamir

    return Shamir.combine(sorted(shares.items())[:threshold])
