"""A private key that can't sign is refused with a sentence that says why."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from services.kernel.errors import InvalidInput
from services.kernel.signatures import sign

PLAIN, LOCKED = NoEncryption(), BestAvailableEncryption(b"secret")
CURVE = ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    ("pem", "password", "sentence"),
    [
        (_pem(rsa.generate_private_key(65537, 2048), PLAIN), None, "give an elliptic-curve key on P-256"),
        (_pem(ec.generate_private_key(ec.SECP256K1()), PLAIN), None, "give an elliptic-curve key on P-256"),
        (_pem(CURVE, LOCKED), None, "is encrypted: set its password in TRIMTAB_SIGNING_PASSWORD$"),
        (_pem(CURVE, LOCKED), "", "is encrypted: set its password in TRIMTAB_SIGNING_PASSWORD$"),
        (_pem(CURVE, LOCKED), "wrong", "or TRIMTAB_SIGNING_PASSWORD is not its password$"),
        (_pem(CURVE, PLAIN), "secret", "is not encrypted: leave out the password"),
        (b"no key", None, "is no private key in PEM$"),
    ],
)
def test_the_sentence_says_why(tmp_path: Path, pem: bytes, password: str | None, sentence: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    with pytest.raises(InvalidInput, match=sentence):
        sign(b"", path, password)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        sign(b"", tmp_path / "nothing", None)
