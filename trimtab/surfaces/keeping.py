"""Verifying, signing and collecting garbage, as methods of the clients."""

import hashlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from services.kernel.errors import IntegrityFailed
from trimtab.calls import Call, get, part, post
from trimtab.errors import InvalidInput
from trimtab.surfaces.sender import Answer, Sender


class Keeping(Sender[Answer]):
    """What is kept, and whether it is what it should be."""

    def verify(self, model_id: str, version: str) -> Answer:
        """Have every byte of a version read and hashed; `state` is `ok`, `bad` or `dropped`.

        That takes as long as reading takes (about 3 s a gigabyte): give the client a `timeout_seconds` for it.
        """
        return self.send(post(f"{_version(model_id, version)}/verify"))

    def verify_audit(self) -> Answer:
        """Check the chain of the audit trail: `broken_at` is its first bad row, or None. Needs the scope `admin`."""
        return self.send(post("/mlops/audit/verify"))

    def signatures(self, model_id: str, version: str) -> Answer:
        """The signatures of a version with their bundles, and the names of those that are valid now."""
        return self.send(get(f"{_version(model_id, version)}/signatures"))

    def sign(self, model_id: str, version: str, private_key: str | Path, *, password: str | None = None) -> Answer:
        """Sign a version with an elliptic-curve private key (PEM), and give the signature to the registry.

        The key is read on this machine and never leaves it. What is signed are the digests in the version's manifest,
        which is fetched and checked; no model is downloaded.
        """
        return self.follow(_sign(model_id, version, Path(private_key), password))

    def add_signature(self, model_id: str, version: str, bundle: str | Path | Mapping[str, Any]) -> Answer:
        """Give the registry a signature that `model_signing sign key` made: the bundle, or the path of its file."""
        document = dict(bundle) if isinstance(bundle, Mapping) else _read_bundle(Path(bundle))
        return self.send(post(f"{_version(model_id, version)}/signatures", document))

    def signers(self) -> Answer:
        """The public keys whose signatures are trusted, and those that were."""
        return self.send(get("/mlops/signers"))

    def trust_signer(self, name: str, public_key: str | Path) -> Answer:
        """Trust a public key, given as PEM or as the path of a file; needs the scope `admin`."""
        given = str(public_key)
        pem = given if "-----BEGIN" in given else _read_text(Path(given))
        return self.send(post("/mlops/signers", {"name": name, "public_key": pem}))

    def revoke_signer(self, key_sha256: str) -> Answer:
        """Trust a key no more; every signature that it made counts no more. Needs the scope `admin`."""
        return self.send(Call("DELETE", f"/mlops/signers/{part(key_sha256)}"))

    def collect(self, *, dry_run: bool = False) -> Answer:
        """Apply the retention policies, and remove what no version names; needs the scope `admin`.

        With `dry_run` the answer says what would be done.
        """
        return self.send(post("/mlops/garbage", {"dry_run": dry_run}))


def _sign(model_id: str, version: str, private_key: Path, password: str | None) -> Generator[Call, Any, Any]:
    from services.kernel.signatures import sign

    found = yield get(_version(model_id, version))
    manifest = yield get(f"{_version(model_id, found['version'])}/manifest")
    data = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()  # as the registry keeps it
    if hashlib.sha256(data).hexdigest() != found["manifest_digest"]:
        raise IntegrityFailed(
            f"the manifest of {model_id} {found['version']} does not have the digest of its record: `trimtab models "
            "verify` says more"
        )
    bundle = json.loads(sign(data, private_key, password))
    return (yield post(f"{_version(model_id, found['version'])}/signatures", bundle))


def _read_bundle(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path} is no signature bundle: it is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} is no signature bundle")
    return document


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}") from error


def _version(model_id: str, version: str) -> str:
    return f"/mlops/models/{part(model_id)}/{part(version)}"
