# SPDX-License-Identifier: Apache-2.0
"""Signatures: of one key over one text, with a salt of 32 bytes; FLARE's own are refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key
from cryptography.x509 import load_der_x509_certificate
from flap_sam.errors import FlapSamError, Reason
from flap_sam.secure.signatures import KitIdentity, NoIdentity, RsaVerifier

from tests.secure.federation import NAMES, private_key, site_certificate

A, B = NAMES[:2]
IDENTITY = KitIdentity(site_certificate(A), private_key(A))
VERIFIER = RsaVerifier(A, private_key(A).public_key())
TEXT = b"\0text"


def test_a_signature_holds_over_its_text_and_of_its_key_alone():
    signature = IDENTITY.sign(TEXT)
    VERIFIER.verify(signature, TEXT)
    for verifier, found, text in [
        (VERIFIER, signature, b"\0other"),
        (VERIFIER, b"", TEXT),
        (VERIFIER, signature[:-1] + bytes([signature[-1] ^ 1]), TEXT),
        (RsaVerifier(B, private_key(B).public_key()), signature, TEXT),
    ]:
        with pytest.raises(FlapSamError, match="does not hold") as refusal:
            verifier.verify(found, text)
        assert refusal.value.reason is Reason.PEERS


@pytest.mark.parametrize(
    "padding", [PSS(MGF1(SHA256()), PSS.MAX_LENGTH), PSS(MGF1(SHA256()), 0), PSS(MGF1(SHA256()), 31), PKCS1v15()]
)
def test_another_salt_or_padding_is_refused(padding):
    """FLARE signs what a server asks with the longest salt (`nvflare.lighter.utils.sign_content`)."""
    signature = private_key(A).sign(TEXT, padding, SHA256())
    with pytest.raises(FlapSamError, match="does not hold"):
        VERIFIER.verify(signature, TEXT)


def test_an_identity_is_read_from_a_kit(tmp_path):
    (tmp_path / "client.crt").write_bytes(load_der_x509_certificate(site_certificate(A)).public_bytes(Encoding.PEM))
    key = private_key(A).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "client.key").write_bytes(key)
    read = KitIdentity.read(tmp_path)
    assert read.certificate == site_certificate(A)
    VERIFIER.verify(read.sign(TEXT), TEXT)
    assert load_der_public_key(VERIFIER.public) == private_key(A).public_key()


@pytest.mark.parametrize("missing", ["client.crt", "client.key"])
def test_a_kit_without_one_is_refused(tmp_path, missing):
    test_an_identity_is_read_from_a_kit(tmp_path)
    (tmp_path / missing).write_text("no key")
    with pytest.raises(FlapSamError, match="cannot be used"):
        KitIdentity.read(tmp_path)


def test_a_simulated_site_signs_nothing():
    assert NoIdentity().certificate == NoIdentity().sign(TEXT) == b""
