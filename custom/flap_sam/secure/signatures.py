# SPDX-License-Identifier: Apache-2.0
"""Signatures of sites: RSA-PSS with SHA-256 and a salt of exactly 32 bytes.

FLARE lets a server have any text signed that begins with the site's name, with the longest salt. The other salt, and
the zero byte that our strings begin with, keep such a signature from being one of these.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from flap_sam.errors import FlapSamError, Reason

SALT = 32
CERTIFICATE_FILE, KEY_FILE = "client.crt", "client.key"


class Identity(Protocol):
    """A site's certificate, DER, and what signs for it."""

    @property
    def certificate(self) -> bytes: ...

    def sign(self, text: bytes) -> bytes: ...


class Verifier(Protocol):
    """What knows a site's signatures, and its public key."""

    @property
    def public(self) -> bytes: ...

    def verify(self, signature: bytes, text: bytes) -> None: ...


@dataclass(frozen=True)
class KitIdentity:
    """The identity of a startup kit."""

    certificate: bytes
    key: RSAPrivateKey

    @classmethod
    def read(cls, startup: Path) -> "KitIdentity":
        """The identity in a kit's folder `startup`.

        Raises:
            FlapSamError: its certificate or key is missing or is none.
        """
        try:
            certificate = x509.load_pem_x509_certificate((startup / CERTIFICATE_FILE).read_bytes())
            key = load_pem_private_key((startup / KEY_FILE).read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise FlapSamError(
                f"The kit's certificate and key in {startup} cannot be used ({error}); masks need those of "
                "`nvflare provision`.",
                Reason.PEERS,
            ) from error
        if not isinstance(key, RSAPrivateKey):
            raise FlapSamError(f"The key {startup / KEY_FILE} is not RSA, as FLARE makes it.", Reason.PEERS)
        return cls(certificate.public_bytes(Encoding.DER), key)

    def sign(self, text: bytes) -> bytes:
        return self.key.sign(text, PSS(MGF1(SHA256()), SALT), SHA256())


@dataclass(frozen=True)
class RsaVerifier:
    """Verifies signatures of a site's public key.

    Args:
        site: whose key it is.
    """

    site: str
    key: RSAPublicKey

    @property
    def public(self) -> bytes:
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(self, signature: bytes, text: bytes) -> None:
        """Raise a FlapSamError where the signature is not of this key over this text, with a salt of 32 bytes."""
        try:
            self.key.verify(signature, text, PSS(MGF1(SHA256()), SALT), SHA256())
        except InvalidSignature as error:
            raise FlapSamError(
                f"A signature of {self.site} does not hold; expected one over the same exchange, sites and keys.",
                Reason.PEERS,
            ) from error


@dataclass(frozen=True)
class NoIdentity:
    """A simulated site: no certificate, and empty signatures."""

    @property
    def certificate(self) -> bytes:
        return b""

    def sign(self, text: bytes) -> bytes:
        return b""


@dataclass(frozen=True)
class NoVerifier:
    """Takes empty signatures alone, of a simulated site, whose name stands in for its key."""

    site: str

    @property
    def public(self) -> bytes:
        return self.site.encode()

    def verify(self, signature: bytes, text: bytes) -> None:
        if signature:
            raise FlapSamError(f"{self.site} signs in a simulation, which has no certificates.", Reason.PEERS)
