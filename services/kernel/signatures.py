"""Signatures of model versions with the OpenSSF library `model-signing`, by elliptic-curve keys.

What is signed is the version as a folder: `manifest.json` and every file that it names. The library would hash the
folder's files; their SHA-256 are in the manifest already, so its own manifest is built from those, and neither signing
nor verifying reads a byte of the model (`models verify` and every load do that). The bundle is what
`model_signing sign key` writes, and `model_signing verify key` accepts it for an exported folder.

The curves are P-256, P-384 and P-521. Signing by an identity (Sigstore, OIDC) needs Sigstore's servers and is not
offered; neither are certificates and PKCS #11.

Sources: https://github.com/sigstore/model-transparency, the Sigstore bundle v0.3, in-toto Statement v1, DSSE v1.
"""

import hashlib
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from schemas.base import Document
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import read_manifest
from services.kernel.errors import InvalidInput

if TYPE_CHECKING:
    from model_signing.hashing import Config
    from model_signing.manifest import Manifest as SignedFiles

MAX_BUNDLE_BYTES = 1 << 20
FOLDER_NAME = "model"
"""Name of the signed folder; informative, a signature holds under any."""
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


class BadSignature(InvalidInput):
    """The signature does not hold for this version, or by this key."""

    code = "bad-signature"


class _PublicKey(Document):
    hint: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Material(Document):
    public_key: _PublicKey


class _Envelope(Document):
    payload: str
    payload_type: str
    signatures: list[dict[str, Any]] = Field(min_length=1, max_length=1)


class _Bundle(Document):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


def public_key_of(pem: bytes) -> tuple[str, str]:
    """A public key in PEM, written anew, and the SHA-256 (hex) of its DER (SubjectPublicKeyInfo).

    Raises `InvalidInput` for what is no public key on one of the three curves, a private key above all.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise InvalidInput("this is a private key, which must stay with its owner: give the public one")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("public_key: not a public key in PEM (-----BEGIN PUBLIC KEY-----)") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise InvalidInput("public_key: give an elliptic-curve key on P-256, P-384 or P-521")
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return text, hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def hint_of(public_key: str) -> str:
    """How a bundle names its key: the SHA-256 (hex) of the PEM."""
    return hashlib.sha256(public_key.encode()).hexdigest()


def hint_in(bundle: bytes) -> str:
    """The hint of the key that made `bundle`. Raises `BadSignature` unless it is a bundle made with a key."""
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise BadSignature(f"the signature has more than {MAX_BUNDLE_BYTES} bytes")
    try:
        return _Bundle.model_validate_json(bundle).verification_material.public_key.hint
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the document"
        raise BadSignature(
            f"this is no signature made with a key by model-signing 1.1 or later (wrong: {where}): use "
            "`trimtab models sign`, or `model_signing sign key`"
        ) from error


def sign(manifest: bytes, private_key: Path, password: str | None = None) -> bytes:
    """The bundle for the version with these `manifest.json` bytes. The private key is read here and goes nowhere.

    Raises `InvalidInput` for a key that can't be used, and `IntegrityFailed` for a manifest that is none.
    """
    from model_signing import signing

    _refuse_unusable(private_key, password)
    hashed = _digests(manifest)
    try:
        # the library declares `str` and hands it to what takes `bytes`
        secret: Any = password.encode() if password else None
        config: signing.Config = signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=private_key, password=secret)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{private_key} can't sign ({error})") from error
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.sig"
        config.set_hashing_config(hashed).sign(FOLDER_NAME, target)
        return target.read_bytes()


def _refuse_unusable(private_key: Path, password: str | None) -> None:
    """Raise `InvalidInput` that says what is wrong with the key, which the library does not."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.read_bytes(), password.encode() if password else None)
    except OSError as error:
        raise InvalidInput(f"{private_key} can't be read ({error.strerror})") from error
    except TypeError as error:
        what = "is encrypted: set its password in TRIMTAB_SIGNING_PASSWORD"
        if password:
            what = "is not encrypted: leave out the password, TRIMTAB_SIGNING_PASSWORD"
        raise InvalidInput(f"{private_key} {what}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "is no private key in PEM"
        if password:
            what += ", or TRIMTAB_SIGNING_PASSWORD is not its password"
        raise InvalidInput(f"{private_key} {what}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise InvalidInput(f"{private_key} can't sign: give an elliptic-curve key on P-256, P-384 or P-521")


def check(bundle: bytes, manifest: bytes, public_key: str) -> None:
    """Raise `BadSignature` unless `bundle` signs the version with these `manifest.json` bytes by this key."""
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    hint_in(bundle)
    hashed = _digests(manifest)
    with tempfile.TemporaryDirectory() as folder:
        key, signature = Path(folder) / "key.pub", Path(folder) / "model.sig"
        key.write_text(public_key)
        signature.write_bytes(bundle)
        try:
            config: verifying.Config = verifying.Config()  # type: ignore[no-untyped-call]
            config.use_elliptic_key_verifier(public_key=key).set_hashing_config(hashed)
            config.verify(Path(FOLDER_NAME), signature)
        except InvalidSignature as error:
            raise BadSignature("the signature was not made by this key, or it was changed since") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadSignature(f"the signature does not hold: {_why(error)}") from error


def _digests(manifest: bytes) -> "Config":
    """A hashing configuration of the library that knows the digests instead of reading files."""
    from model_signing import hashing
    from model_signing._hashing.hashing import Digest
    from model_signing.manifest import FileManifestItem, Manifest, SerializationType

    digests = {file.path: file.sha256 for file in read_manifest(manifest).files}
    digests[MANIFEST_NAME] = hashlib.sha256(manifest).hexdigest()

    class Known(hashing.Config):
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> "SignedFiles":
            items = [
                FileManifestItem(path=PurePosixPath(path), digest=Digest("sha256", bytes.fromhex(digest)))
                for path, digest in digests.items()
            ]
            kind = SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
            return Manifest(FOLDER_NAME, items, kind)

    return Known()  # type: ignore[no-untyped-call]


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    if text.startswith("Signature mismatch"):
        return "it is of other files than this version's"
    return text.rstrip(". ")[:300]
