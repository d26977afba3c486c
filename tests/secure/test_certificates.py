# SPDX-License-Identifier: Apache-2.0
"""Whose certificates are accepted: the pinned ones of sites, and by the server those of the root."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.certificates import NoCertificates, Pinned, UnderRoot, verifiers

from tests.secure.federation import NAMES, SERVER, certificate, pins, private_key, root, site_certificate

A, B = NAMES[:2]


def pinned(name: str, found: bytes) -> Pinned:
    return Pinned({name: hashlib.sha256(found).hexdigest()}, SERVER)


BAD = {
    "an administrator's": (A, lambda: certificate(A, role="lead"), "has a role"),
    "an authority's": (A, lambda: certificate(A, is_authority=True), "authority"),
    "the server's": (SERVER, lambda: certificate(SERVER, private_key(A)), "the server's"),
    "of another name": (A, lambda: certificate(B), "common name is another"),
    "over": (A, lambda: certificate(A, days=(-9, -1)), "valid from"),
    "not yet valid": (A, lambda: certificate(A, days=(1, 9)), "valid from"),
    "of a short key": (A, lambda: certificate(A, private_key("short", 1024)), "not RSA of 2048"),
    "of another kind of key": (A, lambda: certificate(A, ec.generate_private_key(ec.SECP256R1())), "not RSA"),
    "none": (A, lambda: b"no certificate", "it is none"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_certificate_that_is_pinned_must_be_a_sites_too(bad):
    name, make, why = BAD[bad]
    found = make()
    with pytest.raises(FlapSamError, match=why) as refusal:
        pinned(name, found).verifier(name, found)
    assert refusal.value.reason is Reason.PEERS


def test_a_site_accepts_what_it_pins_under_that_name_alone():
    trust = Pinned(pins((A, B)), SERVER)
    assert trust.verifier(A, site_certificate(A)).public != trust.verifier(B, site_certificate(B)).public
    minted = certificate(A, private_key("the server's own"))
    for name, found in [(A, site_certificate(B)), (A, minted), (A, b""), ("hospital-z", site_certificate(A))]:
        with pytest.raises(FlapSamError, match="not the one under this name"):
            trust.verifier(name, found)


def test_two_sites_with_one_public_key_are_refused():
    twin = certificate(B, private_key(A))
    trust = Pinned(pins((A,)) | {B: hashlib.sha256(twin).hexdigest()}, SERVER)
    with pytest.raises(FlapSamError, match="one public key"):
        verifiers(trust, {A: site_certificate(A), B: twin})


def test_the_server_accepts_what_the_root_has_issued():
    trust = UnderRoot(root())
    assert trust.verifier(A, site_certificate(A)).public
    for found, why in [
        (certificate(A, issuer="another root"), "has not issued it"),
        (certificate(A, role="lead"), "has a role"),
        (b"", "it is none"),
    ]:
        with pytest.raises(FlapSamError, match=why):
            trust.verifier(A, found)


def test_a_simulation_takes_neither_certificates_nor_signatures():
    with pytest.raises(FlapSamError, match="a simulation has none"):
        NoCertificates().verifier(A, site_certificate(A))
    found = NoCertificates().verifier(A, b"")
    found.verify(b"", b"text")
    with pytest.raises(FlapSamError, match="signs in a simulation"):
        found.verify(b"signature", b"text")
