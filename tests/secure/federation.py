# SPDX-License-Identifier: Apache-2.0
"""Secure sums in one process: sites with certificates as FLARE makes them, a server, and who drops out when."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from flap_sam.errors import FlapSamError
from flap_sam.secure.certificates import NoCertificates, Pinned, UnderRoot
from flap_sam.secure.held import Held
from flap_sam.secure.memory import Memory
from flap_sam.secure.messages import STEPS, Message
from flap_sam.secure.server import SecureSum
from flap_sam.secure.signatures import KitIdentity, NoIdentity
from flap_sam.secure.site import SecureSite
from flap_sam.secure.terms import UPDATE, Asked, Terms
from torch import Tensor

NAMES = tuple(f"hospital-{letter}" for letter in "abcdefg")
SERVER = "server.example"
BASE = hashlib.sha256(b"base").digest()
EXPERIMENT = hashlib.sha256(b"experiment").digest()
SIZE = 5
CAP = 1000


@cache
def private_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:  # noqa: ARG001
    """A key for a name; making one takes a tenth of a second."""
    return rsa.generate_private_key(65537, bits)


def certificate(
    name: str,
    key: rsa.RSAPrivateKey | None = None,
    role: str | None = None,
    is_authority: bool = False,
    days: tuple[int, int] = (-1, 360),
    issuer: str = "root",
) -> bytes:
    """A certificate as FLARE's provisioning makes it, DER."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "org")]
    if role:
        subject.append(x509.NameAttribute(NameOID.UNSTRUCTURED_NAME, role))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer), subject[1]]))
        .public_key((key or private_key(name)).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if is_authority:
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(private_key(issuer), SHA256()).public_bytes(Encoding.DER)


@cache
def site_certificate(name: str) -> bytes:
    return certificate(name)


@cache
def root() -> x509.Certificate:
    return x509.load_der_x509_certificate(certificate("root", is_authority=True))


def pins(names: tuple[str, ...]) -> dict[str, str]:
    return {name: hashlib.sha256(site_certificate(name)).hexdigest() for name in names}


@dataclass
class Book:
    """A gate's ledger, in memory."""

    memory: Memory = field(default_factory=Memory)
    releases: int = 0

    def read(self) -> Memory:
        return self.memory

    def write(self, memory: Memory, is_released: bool) -> None:
        self.memory = memory
        self.releases += is_released


class Clock:
    """Seconds that a test sets."""

    now = 1e9

    def __call__(self) -> float:
        return self.now


def terms(n: int, colluders: int = 1, least_sites: int | None = None) -> Terms:
    return Terms(EXPERIMENT, dict.fromkeys(NAMES[:n], CAP), colluders, least_sites or n)


class Hospital:
    """A site with its ledger, disk and clock."""

    def __init__(self, name: str, names: tuple[str, ...], folder: Path, has_certificates: bool = True) -> None:
        self.name, self.folder, self.book, self.clock = name, folder / name / "masking", Book(), Clock()
        self._identity = KitIdentity(site_certificate(name), private_key(name)) if has_certificates else NoIdentity()
        self._trust = Pinned(pins(names), SERVER) if has_certificates else NoCertificates()
        self.restart()

    def restart(self) -> None:
        """Its process ends and another begins; disk and ledger stay."""
        self.site = SecureSite(self.name, self._identity, self._trust, self.folder, self.clock)

    def hold(
        self,
        asked: Asked,
        vector: np.ndarray,
        base: bytes = BASE,
        questions: Mapping[str, Mapping[str, tuple[int, ...]]] | None = None,
    ) -> None:
        """Train: an update is held for the round."""
        self.site.hold(Held(asked.run, asked.round, base, questions or {UPDATE: {}}, lambda *_: vector))

    def answer(self, step: str, asked: Asked, message: Message) -> Message:
        return self.site.answer(step, asked, message, self.book)


class Federation:
    """Sites and a server.

    Args:
        n: how many sites.
        folder: where they keep their states.
    """

    def __init__(
        self, n: int, folder: Path, colluders: int = 1, least_sites: int | None = None, has_certificates: bool = True
    ) -> None:
        self.names = NAMES[:n]
        self.asked = Asked(terms(n, colluders, least_sites), "run", "job", 0)
        self.hospitals = {name: Hospital(name, self.names, folder, has_certificates) for name in self.names}
        self.trust = UnderRoot(root()) if has_certificates else NoCertificates()
        self.vectors = {
            name: np.random.default_rng(number).integers(2**32, size=SIZE, dtype=np.uint32)
            for number, name in enumerate(self.names)
        }

    def train(self, **held: object) -> None:
        for name, hospital in self.hospitals.items():
            hospital.hold(self.asked, self.vectors[name], **held)

    def server(
        self, exchange: str = UPDATE, sites: tuple[str, ...] | None = None, question: Mapping[str, Tensor] | None = None
    ) -> SecureSum:
        least = self.asked.terms.least_sites
        return SecureSum(self.asked, exchange, sites or self.names, least, SIZE, self.trust, question)

    def step(
        self, server: SecureSum, out: tuple[str, ...] = (), seen: Callable[[str, str, Message], None] | None = None
    ) -> None:
        """One step: all but some answer, and the step closes; raises what the server says at its end."""
        name = server.step
        for site, message in server.messages().items():
            if site not in out:
                answer = self.hospitals[site].answer(name, self.asked, message)
                if seen:
                    seen(name, site, answer)
                server.take(site, answer)
        server.close()

    def until(self, step: str, **server: object) -> SecureSum:
        """A server at a step, all sites having answered before."""
        self.train()
        made = self.server(**server)
        while made.step != step:
            self.step(made)
        return made

    def run(self, drops: Mapping[str, tuple[str, ...]] | None = None, **server: object) -> SecureSum:
        """All five steps; `drops` are those who are gone from a step on."""
        made, gone = self.server(**server), ()
        for name in STEPS:
            gone += (drops or {}).get(name, ())
            self.step(made, gone)
        return made

    def expected(self, sites: tuple[str, ...]) -> np.ndarray:
        """The sum of some sites' vectors, computed in whole numbers."""
        total = sum(self.vectors[site].astype(object) for site in sites)
        return np.array([number % 2**32 for number in total], np.uint32)


def refusal(call: Callable[[], object]) -> FlapSamError | None:
    """The refusal that a call ends in."""
    try:
        call()
    except FlapSamError as error:
        return error
    return None
