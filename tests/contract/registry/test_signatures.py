"""Signatures by OpenSSF model-signing: ours hold for its own command, its hold for us, and nothing else is accepted."""

import asyncio
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from schemas.events import SignerChanged, VersionSigned
from services.kernel.errors import InvalidInput
from services.kernel.signatures import sign
from services.registry import audit
from services.registry.keeping import signing
from tests.contract.registry.conftest import Registry
from tests.graphs import classifier

MODEL = "threat-classifier"

CURVES: list[ec.EllipticCurve] = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


class Person:
    """Somebody with a key pair."""

    def __init__(self, folder: Path, name: str, curve: ec.EllipticCurve | None = None, password: str = "") -> None:
        key = ec.generate_private_key(curve or ec.SECP256R1())
        self.name = name
        self.private_key = folder / f"{name}.pem"
        self.public_key = folder / f"{name}.pub"
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        self.private_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        self.public_key.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    async def is_trusted(self, registry: Registry) -> str:
        """Become a trusted signer; the key's digest."""
        document = {"name": self.name, "public_key": self.public_key.read_text()}
        answer = await registry.client.post("/mlops/signers", json=document)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key_sha256"])


@pytest.fixture
def ada(tmp_path: Path) -> Person:
    return Person(tmp_path, "ada")


async def registered(registry: Registry, seed: int = 1) -> str:
    answer = await registry.register(graph=classifier(seed), files={"notes.md": b"of all"})
    assert answer.status_code == 201, answer.text
    return f"/mlops/models/{MODEL}/{answer.json()['version']}"


async def manifest(registry: Registry, path: str) -> bytes:
    return (await registry.client.get(f"{path}/manifest")).content


async def signed(registry: Registry, path: str, person: Person, password: str | None = None) -> dict[str, Any]:
    bundle = sign(await manifest(registry, path), person.private_key, password)
    return dict(json.loads(bundle))


async def add(registry: Registry, path: str, bundle: dict[str, Any]) -> httpx.Response:
    return await registry.client.post(f"{path}/signatures", json=bundle)


async def exported(registry: Registry, path: str, folder: Path) -> Path:
    """The version's archive, unpacked."""
    answer = await registry.client.get(f"{path}/export")
    assert answer.status_code == 200, answer.text
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def model_signing(*arguments: str | Path) -> int:
    """The library's own command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "model_signing", *map(str, arguments)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


async def test_a_signature_is_checked_kept_and_told(registry: Registry, ada: Person) -> None:
    path = await registered(registry)
    key_sha256 = await ada.is_trusted(registry)
    answer = await add(registry, path, await signed(registry, path, ada))
    assert answer.status_code == 201, answer.text
    found = (await registry.client.get(f"{path}/signatures")).json()
    assert found["signed_by"] == ["ada"]
    (one,) = found["signatures"]
    assert (one["signer"], one["key_sha256"], one["state"]) == ("ada", key_sha256, "valid")
    (event,) = await registry.events(VersionSigned)
    assert (event.signer, event.key_sha256) == ("ada", key_sha256)
    verdict = (await registry.client.post(f"{path}/verify")).json()
    assert verdict["state"] == "ok"
    assert [(each["signer"], each["state"]) for each in verdict["signatures"]] == [("ada", "valid")]
    version = path.rsplit("/", 1)[-1]
    assert await registry.service.db.read(lambda c: signing.signed_by(c, MODEL, version)) == ["ada"]
    assert await registry.service.db.read(audit.broken_at) is None


async def test_the_same_signature_again_changes_nothing(registry: Registry, ada: Person) -> None:
    path = await registered(registry)
    await ada.is_trusted(registry)
    bundle = await signed(registry, path, ada)
    assert (await add(registry, path, bundle)).status_code == 201
    assert (await add(registry, path, bundle)).status_code == 200
    assert (await add(registry, path, await signed(registry, path, ada))).status_code == 201, "a newer one replaces it"
    assert len((await registry.client.get(f"{path}/signatures")).json()["signatures"]) == 1


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
async def test_the_librarys_command_verifies_ours_and_refuses_a_flipped_byte(
    registry: Registry, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    person = Person(tmp_path, "ada", curve)
    path = await registered(registry)
    await person.is_trusted(registry)
    assert (await add(registry, path, await signed(registry, path, person))).status_code == 201
    folder = await exported(registry, path, tmp_path / "exported")
    check = ("verify", "key", folder / "model", "--signature", folder / "model.sig", "--public_key", person.public_key)
    assert await model_signing(*check) == 0
    model = folder / "model" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert await model_signing(*check) == 1
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    (folder / "model" / "more.md").write_text("not signed")
    assert await model_signing(*check) == 1


async def test_a_signature_by_the_librarys_command_is_accepted(registry: Registry, ada: Person, tmp_path: Path) -> None:
    path = await registered(registry)
    await ada.is_trusted(registry)
    folder = await exported(registry, path, tmp_path / "exported")
    target = tmp_path / "theirs.sig"
    made = await model_signing("sign", "key", folder / "model", "--signature", target, "--private_key", ada.private_key)
    assert made == 0
    answer = await add(registry, path, json.loads(target.read_text()))
    assert answer.status_code == 201, answer.text
    assert answer.json()["signed_by"] == ["ada"]


async def test_an_encrypted_key_signs_with_its_password(registry: Registry, tmp_path: Path) -> None:
    person = Person(tmp_path, "ada", password="correct horse")
    path = await registered(registry)
    await person.is_trusted(registry)
    answer = await add(registry, path, await signed(registry, path, person, "correct horse"))
    assert answer.status_code == 201
    for wrong in (None, "battery staple"):
        with pytest.raises(InvalidInput, match="password"):
            await signed(registry, path, person, wrong)


async def test_a_key_that_nobody_trusts_is_refused(registry: Registry, ada: Person) -> None:
    path = await registered(registry)
    answer = await add(registry, path, await signed(registry, path, ada))
    assert answer.status_code == 422
    assert "trimtab signers add" in answer.json()["detail"]


async def test_a_signature_of_something_else_is_refused(registry: Registry, ada: Person) -> None:
    one, other = await registered(registry, 1), await registered(registry, 2)
    await ada.is_trusted(registry)
    answer = await add(registry, other, await signed(registry, one, ada))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-signature")
    assert "other files" in answer.json()["detail"]


async def test_a_signature_that_leaves_a_file_out_is_refused(registry: Registry, ada: Person, tmp_path: Path) -> None:
    path = await registered(registry)
    await ada.is_trusted(registry)
    folder = await exported(registry, path, tmp_path / "exported")
    target = tmp_path / "partial.sig"
    left_out = ("--ignore-paths", folder / "model" / "model.onnx")
    arguments = ("--signature", target, "--private_key", ada.private_key, *left_out)
    assert await model_signing("sign", "key", folder / "model", *arguments) == 0
    answer = await add(registry, path, json.loads(target.read_text()))
    assert answer.status_code == 422
    assert "other files" in answer.json()["detail"]


def payload(bundle: dict[str, Any]) -> None:
    text = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]


def signature(bundle: dict[str, Any]) -> None:
    sig = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]


def kind(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def media_type(bundle: dict[str, Any]) -> None:
    bundle["mediaType"] = "application/json"


def hint(bundle: dict[str, Any]) -> None:
    del bundle["verificationMaterial"]["publicKey"]["hint"]


def no_signature(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def two_signatures(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def not_base64(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = "\u00e9\u00e9"


def nothing(bundle: dict[str, Any]) -> None:
    bundle.clear()


def wrong_types(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = {"a": 1}


@pytest.mark.parametrize(
    "tamper",
    [payload, signature, kind, media_type, hint, no_signature, two_signatures, not_base64, nothing, wrong_types],
)
async def test_a_bundle_that_was_tampered_with_is_refused(
    registry: Registry, ada: Person, tamper: Callable[[dict[str, Any]], None]
) -> None:
    path = await registered(registry)
    await ada.is_trusted(registry)
    bundle = await signed(registry, path, ada)
    tamper(bundle)
    answer = await add(registry, path, bundle)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-signature"), answer.text
    assert (await registry.client.get(f"{path}/signatures")).json()["signatures"] == []


async def test_a_revoked_signer(registry: Registry, ada: Person, tmp_path: Path) -> None:
    path = await registered(registry)
    key_sha256 = await ada.is_trusted(registry)
    bundle = await signed(registry, path, ada)
    await add(registry, path, bundle)
    assert (await registry.client.delete(f"/mlops/signers/{key_sha256}")).status_code == 200
    found = (await registry.client.get(f"{path}/signatures")).json()
    assert found["signed_by"] == []
    assert found["signatures"][0]["state"] == "revoked"
    verdict = (await registry.client.post(f"{path}/verify")).json()
    assert (verdict["state"], verdict["signatures"][0]["state"]) == ("ok", "revoked")
    refused = await add(registry, path, bundle)
    assert refused.status_code == 422
    assert "revoked" in refused.json()["detail"]
    again = {"name": "ada", "public_key": ada.public_key.read_text()}
    assert (await registry.client.post("/mlops/signers", json=again)).status_code == 409
    newer = Person(tmp_path / "..", "ada-new")
    document = {"name": "ada", "public_key": newer.public_key.read_text()}
    assert (await registry.client.post("/mlops/signers", json=document)).status_code == 201, "with a new key"
    listed = (await registry.client.get("/mlops/signers")).json()["signers"]
    assert [each["revoked_at"] is None for each in listed] == [False, True]


async def test_whom_we_trust_is_told(registry: Registry, ada: Person) -> None:
    key_sha256 = await ada.is_trusted(registry)
    again = {"name": "ada", "public_key": ada.public_key.read_text()}
    assert (await registry.client.post("/mlops/signers", json=again)).status_code == 200
    for _ in range(2):
        assert (await registry.client.delete(f"/mlops/signers/{key_sha256}")).status_code == 200
    events = await registry.events(SignerChanged)
    assert [(event.key, event.signer, event.key_sha256, event.trusted) for event in events] == [
        ("*", "ada", key_sha256, True),
        ("*", "ada", key_sha256, False),
    ], "each once, however often it was asked for"


async def test_who_can_be_a_signer(registry: Registry, ada: Person) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    odd_curve = ec.generate_private_key(ec.SECP256K1()).public_key()
    for pem, says in (
        (ada.private_key.read_text(), "private"),
        ("not a key", "PEM"),
        (rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "P-256"),
        (odd_curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), "P-256"),
    ):
        answer = await registry.client.post("/mlops/signers", json={"name": "eve", "public_key": pem})
        assert answer.status_code == 422
        assert says in answer.json()["detail"]
    await ada.is_trusted(registry)
    again = {"name": "ada", "public_key": ada.public_key.read_text()}
    assert (await registry.client.post("/mlops/signers", json=again)).status_code == 200
    other = {**again, "name": "eve"}
    assert (await registry.client.post("/mlops/signers", json=other)).status_code == 409
    assert (await registry.client.delete("/mlops/signers/nobody")).status_code == 404


async def test_only_signed_to_production(registry: Registry, ada: Person) -> None:
    policy = {"production": {"require_signature": True}}
    version = await registry.version(1, "staging")
    path = f"/mlops/models/{MODEL}/{version}"
    assert (await registry.client.put(f"/mlops/models/{MODEL}/policy", json=policy)).status_code == 200
    refused = await registry.promote(version, "production")
    assert refused.status_code == 409
    assert "trimtab models sign" in refused.json()["detail"]
    key_sha256 = await ada.is_trusted(registry)
    await add(registry, path, await signed(registry, path, ada))
    await registry.client.delete(f"/mlops/signers/{key_sha256}")
    assert (await registry.promote(version, "production")).status_code == 409, "her key was revoked"
