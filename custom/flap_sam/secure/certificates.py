# SPDX-License-Identifier: Apache-2.0
"""Whose certificates are accepted: by a site those that it pins, by the server those that the project's root issued.

FLARE's certificates do not say whether they are a server's or a client's; an administrator's has its role in
`unstructuredName`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.signatures import NoVerifier, RsaVerifier, Verifier

KEY_BITS = (2048, 4096)


class Trust(Protocol):
    """Decides whose certificates are accepted."""

    def verifier(self, name: str, certificate: bytes) -> Verifier:
        """What verifies a site's signatures; raises a FlapSamError where its certificate is not accepted."""
        ...


def _today() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Pinned:
    """A site's trust: certificates that were compared out of band.

    Args:
        peers: SHA-256 of each site's certificate, DER, in hexadecimal, by the site's name, its own included.
        server: the server's name in the site's own kit.
        now: the time.
    """

    peers: Mapping[str, str]
    server: str
    now: Callable[[], datetime] = _today

    def verifier(self, name: str, certificate: bytes) -> Verifier:
        if self.peers.get(name) != hashlib.sha256(certificate).hexdigest():
            raise _refused(name, "its SHA-256 is not the one under this name in the agreement's peers")
        if name == self.server:
            raise _refused(name, "the name is the server's")
        return RsaVerifier(name, _key(name, _read(name, certificate), self.now()))


@dataclass(frozen=True)
class UnderRoot:
    """The server's trust: certificates of the project's root.

    Args:
        root: its certificate.
        now: the time.
    """

    root: x509.Certificate
    now: Callable[[], datetime] = _today

    def verifier(self, name: str, certificate: bytes) -> Verifier:
        found = _read(name, certificate)
        try:
            found.verify_directly_issued_by(self.root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise _refused(name, "the project's root has not issued it") from error
        return RsaVerifier(name, _key(name, found, self.now()))


@dataclass(frozen=True)
class NoCertificates:
    """The trust of a simulation, which has no certificates: it shows that sums are right, not that they are secret."""

    def verifier(self, name: str, certificate: bytes) -> Verifier:
        if certificate:
            raise _refused(name, "a simulation has none")
        return NoVerifier(name)


def verifiers(trust: Trust, certificates: Mapping[str, bytes]) -> dict[str, Verifier]:
    """What verifies the signatures of sites, by name; raises a FlapSamError where two of them have one public key."""
    found = {name: trust.verifier(name, certificate) for name, certificate in certificates.items()}
    if len({verifier.public for verifier in found.values()}) < len(found):
        raise FlapSamError(
            "Two sites' certificates have one public key; expected a startup kit of its own for each.", Reason.PEERS
        )
    return found


def _read(name: str, certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise _refused(name, "it is none") from error


def _key(name: str, found: x509.Certificate, now: datetime) -> RSAPublicKey:
    """The public key of a certificate that can be a site's."""
    try:
        names = [attribute.value for attribute in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        roles = found.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)
        key, is_authority = found.public_key(), _is_authority(found)
    except (ValueError, x509.DuplicateExtension) as error:
        raise _refused(name, "it cannot be read") from error
    if names != [name]:
        raise _refused(name, "its common name is another")
    if roles:
        raise _refused(name, "it has a role, as an administrator's")
    if is_authority:
        raise _refused(name, "it is an authority's")
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise _refused(name, f"it is valid from {found.not_valid_before_utc} to {found.not_valid_after_utc}")
    if not isinstance(key, RSAPublicKey) or not KEY_BITS[0] <= key.key_size <= KEY_BITS[1]:
        raise _refused(name, f"its key is not RSA of {KEY_BITS[0]} to {KEY_BITS[1]} bits")
    return key


def _is_authority(found: x509.Certificate) -> bool:
    try:
        return found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _refused(name: str, why: str) -> FlapSamError:
    return FlapSamError(f"The certificate of {name} is not accepted: {why}.", Reason.PEERS)
