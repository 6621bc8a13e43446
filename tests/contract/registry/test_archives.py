"""A version leaves one registry as an archive and comes into another; hostile archives come into none."""

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from schemas.events import ModelRegistered, VersionAnnotated, VersionSigned
from schemas.manifest import MANIFEST_NAME, Manifest, content_digest
from services.kernel.artifacts import blob_key
from services.kernel.signatures import sign
from services.registry import audit
from services.registry.archives import archive
from services.registry.settings import RegistrySettings
from services.registry.tables import audit as audit_table
from tests.contract.registry.conftest import Registry, running
from tests.contract.registry.test_keys import granted
from tests.graphs import classifier

IMPORT = "/mlops/models/import"
TAR = {"Content-Type": "application/x-tar"}

Members = list[tuple[str, bytes]]


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[Registry]:
    """A second registry, on SQLite and a folder."""
    (tmp_path / "elsewhere").mkdir()
    async for registry in running(RegistrySettings(data_dir=tmp_path / "elsewhere")):
        yield registry


async def exported(registry: Registry, version: str, model_id: str = "threat-classifier") -> bytes:
    answer = await registry.client.get(f"/mlops/models/{model_id}/{version}/export")
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer.content


async def imported(registry: Registry, data: bytes) -> httpx.Response:
    return await registry.client.post(IMPORT, content=data, headers=TAR)


def members_of(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def tar_of(members: Members, change: Callable[[tarfile.TarInfo], None] | None = None) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if change is not None:
                change(member)
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return body.getvalue()


def consistent(members: Members, *, manifest: dict[str, Any] | None = None, **files: bytes) -> Members:
    """An archive whose files are others, and whose digests fit them: what only the checks of an upload can refuse."""
    found = dict(members)
    document = json.loads(found["model/manifest.json"]) | (manifest or {})
    for path, data in {name.replace("__", "."): data for name, data in files.items()}.items():
        found[f"model/{path}"] = data
        kept = [file for file in document["files"] if file["path"] != path]
        digest = hashlib.sha256(data).hexdigest()
        kept.append({"path": path, "size": len(data), "sha256": digest, "is_model": path == "model.onnx"})
        document["files"] = sorted(kept, key=lambda file: str(file["path"]))
    document["content_digest"] = content_digest(Manifest.model_validate(document).files)
    found["model/manifest.json"] = json.dumps(document).encode()
    record = json.loads(found["record.json"])
    record["manifest_digest"] = hashlib.sha256(found["model/manifest.json"]).hexdigest()
    record["content_digest"], record["model_id"] = document["content_digest"], document["model_id"]
    found["record.json"] = json.dumps(record).encode()
    order = ["record.json", "model/manifest.json", *(f"model/{file['path']}" for file in document["files"])]
    return [(name, found[name]) for name in order]


async def promoted(registry: Registry) -> str:
    """A version that has been to production, with files beside the graph, annotations and an alias."""
    answer = await registry.register(
        "threat-classifier",
        classifier(1),
        {"README.md": b"# Threats\n", "deep/er/facts.json": b"{}", "empty.txt": b""},
        metrics={"accuracy": 0.9},
        changes="the first",
        tags={"team": "soc", "old": "yes"},
    )
    assert answer.status_code == 201, answer.text
    version = str(answer.json()["version"])
    path = f"/mlops/models/threat-classifier/{version}"
    patch = {"description": "Grüße, ' \" \\", "tags": {"old": None, "new": "1"}}
    assert (await registry.client.patch(path, json=patch)).status_code == 200
    for stage in ("staging", "production"):
        assert (await registry.promote(version, stage)).status_code == 200
    return version


async def test_a_version_moves_with_everything_that_is_known_of_it(registry: Registry, elsewhere: Registry) -> None:
    version = await promoted(registry)
    data = await exported(registry, version)
    before = (await registry.client.get(f"/mlops/models/threat-classifier/{version}")).json()
    answer = await imported(elsewhere, data)
    assert answer.status_code == 201, answer.text
    assert answer.json()["origin"].startswith("imported; was production since 20")
    after = (await elsewhere.client.get(f"/mlops/models/threat-classifier/{version}")).json()
    moved = ("stage", "stage_since", "registered_at", "registered_by", "artifact", "aliases")
    assert {name: value for name, value in after.items() if name not in moved} == {
        name: value for name, value in before.items() if name not in moved
    }
    assert after["stage"] == "draft"
    assert (after["tags"], after["description"]) == ({"team": "soc", "new": "1"}, "Grüße, ' \" \\")
    manifests = [
        (await each.client.get(f"/mlops/models/threat-classifier/{version}/manifest")).content
        for each in (registry, elsewhere)
    ]
    assert manifests[0] == manifests[1]
    for file in after["files"]:
        blobs = [each.store.get_bytes(blob_key(file["sha256"])) for each in (registry, elsewhere)]
        assert blobs[0] == blobs[1]
    history = (await elsewhere.client.get("/mlops/models/threat-classifier/history")).json()["history"]
    assert [move["comment"] for move in history] == [answer.json()["origin"]]


async def test_where_it_was_before_is_in_the_audit_trail(registry: Registry, elsewhere: Registry) -> None:
    version = await promoted(registry)
    await imported(elsewhere, await exported(registry, version))

    def read(connection: Any) -> list[Any]:
        return list(connection.execute(audit_table.select().order_by(audit_table.c.seq)))

    rows = await elsewhere.service.db.read(read)
    (facts,) = [json.loads(row.facts) for row in rows if row.action == "model.imported"]
    assert facts["stage"] == "production"
    assert [move["to_stage"] for move in facts["history"]] == ["draft", "staging", "production"]
    assert facts["history"][2]["comment"] == "to production"
    assert await elsewhere.service.db.read(audit.broken_at) is None
    kinds = [type(event) for event in await elsewhere.events()]
    assert kinds == [ModelRegistered, VersionAnnotated]


async def test_the_same_state_is_the_same_archive_in_a_fixed_order(registry: Registry) -> None:
    version = await promoted(registry)
    first, second = [await exported(registry, version) for _ in range(2)]
    assert first == second
    assert [name for name, _ in members_of(first)] == [
        "record.json",
        "model/manifest.json",
        "model/README.md",
        "model/deep/er/facts.json",
        "model/empty.txt",
        "model/model.onnx",
    ]


async def test_the_same_archive_twice_is_one_version(registry: Registry, elsewhere: Registry) -> None:
    version = await promoted(registry)
    data = await exported(registry, version)
    for at_once in (1, 3):
        await asyncio.gather(*(imported(elsewhere, data) for _ in range(at_once)))
    again = await imported(elsewhere, data)
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert (await imported(registry, data)).json()["stage"] == "production"  # its own registry has it already
    assert len(await elsewhere.events(ModelRegistered)) == 1


async def test_another_content_under_the_number_is_a_conflict(registry: Registry, elsewhere: Registry) -> None:
    version = await promoted(registry)
    taken = await elsewhere.register("threat-classifier", classifier(2), version=version)
    assert taken.status_code == 201
    answer = await imported(elsewhere, await exported(registry, version))
    assert (answer.status_code, "versions never change" in answer.json()["detail"]) == (409, True)
    other = await elsewhere.register("threat-classifier", classifier(1), version="9.9.9")
    assert other.status_code == 201
    data = tar_of(consistent(members_of(await exported(elsewhere, "9.9.9"))))
    renamed = tar_of([(name, body.replace(b'"9.9.9"', b'"9.9.8"')) for name, body in members_of(data)])
    answer = await imported(elsewhere, renamed)
    assert (answer.status_code, "is version 9.9.9" in answer.json()["detail"]) == (409, True)


async def test_names_that_stand_twice_in_a_manifest_spoil_no_page(registry: Registry, elsewhere: Registry) -> None:
    """Its text is kept as it came. Of two values the last counts, whatever the first is."""
    found = dict(members_of(await exported(registry, await registry.version(1))))
    text = found["model/manifest.json"].decode()
    for name in ("lineage", "path", "files", "metrics"):
        text = text.replace(f'"{name}":', f'"{name}":null,"{name}":', 1)
    record = json.loads(found["record.json"]) | {"manifest_digest": hashlib.sha256(text.encode()).hexdigest()}
    found |= {"model/manifest.json": text.encode(), "record.json": json.dumps(record).encode()}
    answer = await imported(elsewhere, tar_of(list(found.items())))
    assert answer.status_code == 201, answer.text
    (shown,) = (await elsewhere.client.get("/mlops/models/threat-classifier")).json()["versions"]
    (before,) = (await registry.client.get("/mlops/models/threat-classifier")).json()["versions"]
    for name in ("lineage", "files", "metrics", "has_baseline"):
        assert shown[name] == before[name]


async def test_an_idempotency_key_answers_as_before(registry: Registry, elsewhere: Registry) -> None:
    data = await exported(registry, await promoted(registry))
    headers = {**TAR, "Idempotency-Key": "once"}
    answers = [await elsewhere.client.post(IMPORT, content=data, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json() == answers[1].json()


async def test_a_name_of_any_length_and_an_alias_as_the_version(registry: Registry, elsewhere: Registry) -> None:
    long = "/".join(["d" * 100] * 4) + "/facts.json"
    version = (await registry.register("m", None, {long: b"{}"})).json()["version"]
    put = await registry.client.put("/mlops/models/m/aliases/champion", json={"version": version})
    assert put.status_code < 300, put.text
    data = await exported(registry, "@champion", "m")
    assert json.loads(members_of(data)[0][1])["aliases"] == ["champion"]
    assert (await imported(elsewhere, data)).status_code == 201
    assert (await elsewhere.client.get(f"/mlops/models/m/{version}")).json()["aliases"] == []


class TestSigned:
    """Signatures travel with the version; the OpenSSF command line believes the unpacked folder."""

    @pytest.fixture
    def key(self, tmp_path: Path) -> tuple[Path, str]:
        private = ec.generate_private_key(ec.SECP256R1())
        path = tmp_path / "key.pem"
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        (tmp_path / "key.pub").write_text(public)
        return path, public

    async def signed(self, registry: Registry, key: tuple[Path, str]) -> str:
        version = await promoted(registry)
        path = f"/mlops/models/threat-classifier/{version}"
        trusted = await registry.client.post("/mlops/signers", json={"name": "soc", "public_key": key[1]})
        assert trusted.status_code == 201, trusted.text
        bundle = sign((await registry.client.get(f"{path}/manifest")).content, key[0])
        added = await registry.client.post(f"{path}/signatures", json=json.loads(bundle))
        assert added.status_code == 201, added.text
        return version

    async def test_the_command_line_of_openssf_verifies_the_unpacked_folder(
        self, registry: Registry, key: tuple[Path, str], tmp_path: Path
    ) -> None:
        data = await exported(registry, await self.signed(registry, key))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(tmp_path / "out", filter="data")
        command = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", "model"]
        command += ["--signature", "model.sig", "--public_key", str(tmp_path / "key.pub")]

        def verify() -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, cwd=tmp_path / "out", capture_output=True, text=True, check=False)

        good = await asyncio.to_thread(verify)
        assert good.returncode == 0, good.stderr
        (tmp_path / "out" / "model" / "README.md").write_text("# threats\n")
        assert (await asyncio.to_thread(verify)).returncode != 0

    async def test_the_signature_of_a_trusted_key_is_kept(
        self, registry: Registry, elsewhere: Registry, key: tuple[Path, str]
    ) -> None:
        data = await exported(registry, await self.signed(registry, key))
        stranger = await imported(elsewhere, data)
        assert (stranger.status_code, stranger.json()["signed_by"]) == (201, [])
        assert len(stranger.json()["unknown_keys"]) == 1
        await elsewhere.client.post("/mlops/signers", json={"name": "them", "public_key": key[1]})
        friend = await imported(elsewhere, data)
        assert (friend.status_code, friend.json()["signed_by"], friend.json()["unknown_keys"]) == (200, ["them"], [])
        assert len(await elsewhere.events(VersionSigned)) == 1

    async def test_a_signature_of_another_manifest_is_none_of_the_version_here(
        self, registry: Registry, elsewhere: Registry, key: tuple[Path, str]
    ) -> None:
        """The same record was registered here at another time: its manifest is not the one that was signed."""
        version = await self.signed(registry, key)
        data = await exported(registry, version)
        await elsewhere.client.post("/mlops/signers", json={"name": "them", "public_key": key[1]})
        assert await promoted(elsewhere) == version
        mine = (await elsewhere.client.get(f"/mlops/models/threat-classifier/{version}")).json()
        answer = await imported(elsewhere, data)
        assert (answer.status_code, answer.json()["signed_by"]) == (200, []), answer.text
        assert len(answer.json()["unknown_keys"]) == 1
        theirs = json.loads(members_of(data)[0][1])["manifest_digest"]
        assert answer.json()["manifest_digest"] == mine["manifest_digest"] != theirs
        path = f"/mlops/models/threat-classifier/{version}"
        assert (await elsewhere.client.get(f"{path}/signatures")).json()["signed_by"] == []
        assert (await elsewhere.client.post(f"{path}/verify")).json()["state"] == "ok"

    async def test_a_signature_under_the_name_of_another_key_is_refused(
        self, registry: Registry, elsewhere: Registry, key: tuple[Path, str]
    ) -> None:
        members = members_of(await exported(registry, await self.signed(registry, key)))
        bob = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = bob.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        trusted = await elsewhere.client.post("/mlops/signers", json={"name": "bob", "public_key": pem})
        lying = f"signatures/{trusted.json()['key_sha256']}.sig"
        forged = [(lying if name.startswith("signatures/") else name, data) for name, data in members]
        answer = await imported(elsewhere, tar_of(forged))
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-signature")
        await elsewhere.client.post("/mlops/signers", json={"name": "them", "public_key": key[1]})
        assert (await imported(elsewhere, tar_of(forged))).status_code == 422
        assert (await imported(elsewhere, tar_of(members))).json()["signed_by"] == ["them"]

    async def test_a_signature_that_does_not_hold_is_refused(
        self, registry: Registry, elsewhere: Registry, key: tuple[Path, str]
    ) -> None:
        members = members_of(await exported(registry, await self.signed(registry, key)))
        await elsewhere.client.post("/mlops/signers", json={"name": "them", "public_key": key[1]})
        forged = consistent(members, README__md=b"# something else\n")
        forged += [(name, data) for name, data in members if name.endswith(".sig")]
        answer = await imported(elsewhere, tar_of(forged))
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-signature")
        assert await elsewhere.events(ModelRegistered, VersionSigned) == []


class TestHostile:
    """Archives that mean harm: an answer below 500 with a sentence, and nothing is registered."""

    async def members(self, registry: Registry) -> Members:
        return members_of(await exported(registry, await promoted(registry)))

    async def refused(self, registry: Registry, data: bytes, says: str, status: int = 422) -> None:
        before = await registry.events()
        answer = await imported(registry, data)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["detail"], answer.json()["detail"]
        assert await registry.events() == before
        assert not list(registry.service.settings.data_dir.glob("registry-staging/*"))

    async def test_what_is_no_archive(self, elsewhere: Registry) -> None:
        await self.refused(elsewhere, b"", "cut off")
        await self.refused(elsewhere, b"PK\x03\x04" + bytes(1000), "not a tar archive")
        await self.refused(elsewhere, tar_of([]), "no record.json")
        await self.refused(elsewhere, tar_of([("record.json", b"{}")]), "record.json is not a version's record")
        await self.refused(elsewhere, tar_of([("record.json", b"[" * 100_000)]), "record.json is not")
        answer = await elsewhere.client.post(IMPORT, json={})
        assert answer.status_code == 415

    async def test_every_length_of_it(self, registry: Registry, elsewhere: Registry) -> None:
        data = tar_of(await self.members(registry))
        assert len(data) % 10240 == 0
        for length in (1, 511, 512, 1000, 5000, len(data) // 2, len(data) - 10240):
            answer = await imported(elsewhere, data[:length])
            assert (answer.status_code, answer.json()["code"]) in ((422, "invalid-input"), (422, "integrity-failed"))
        await self.refused(elsewhere, data + b"\1" * 512, "after its end")
        await self.refused(elsewhere, data + data, "after its end")
        assert (await imported(elsewhere, data + bytes(512))).status_code == 201

    async def test_every_flipped_byte_of_a_file(self, registry: Registry, elsewhere: Registry) -> None:
        members = await self.members(registry)
        for at, (name, data) in enumerate(members):
            if data and name != "record.json":
                flipped = bytes([data[0] ^ 1]) + data[1:]
                await self.refused(
                    elsewhere, tar_of([*members[:at], (name, flipped), *members[at + 1 :]]), "does not have the digest"
                )

    async def test_order_and_repetition(self, registry: Registry, elsewhere: Registry) -> None:
        members = await self.members(registry)
        await self.refused(elsewhere, tar_of([members[1], members[0], *members[2:]]), "record.json comes first")
        await self.refused(elsewhere, tar_of([members[0], *members[2:], members[1]]), "manifest.json comes second")
        await self.refused(elsewhere, tar_of([members[0], *members]), "twice")
        await self.refused(elsewhere, tar_of([*members, members[-1]]), "twice")
        await self.refused(elsewhere, tar_of(members[:-1]), "lacks model/model.onnx")
        answer = await imported(elsewhere, tar_of([*members[:2], *reversed(members[2:])]))
        assert answer.status_code == 201, answer.text

    @pytest.mark.parametrize(
        "name",
        [
            *("model/../../evil.json", "/etc/evil.json", "../evil.json", "model//evil.json", "model/.evil.json"),
            *("model/C:\\evil.json", "file:evil.json", "model/%2e%2e/evil.json", "model/\u202elnosj.json", "evil.json"),
            *("model/not-in-the-manifest.json", "signatures/../x.sig", "signatures/" + "A" * 64 + ".sig", "a" * 5000),
        ],
    )
    async def test_names(self, registry: Registry, elsewhere: Registry, name: str) -> None:
        members = await self.members(registry)
        answer = await imported(elsewhere, tar_of([*members, (name, b"{}")]))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), answer.text
        assert not list(elsewhere.service.settings.data_dir.rglob("*evil*"))

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"g"]
    )
    async def test_links_devices_and_sparse_files(self, registry: Registry, elsewhere: Registry, kind: bytes) -> None:
        members = await self.members(registry)

        def change(member: tarfile.TarInfo) -> None:
            if member.name == "model/README.md":
                member.type, member.linkname = kind, "/etc/passwd"

        await self.refused(elsewhere, tar_of(members, change), "README.md")

    @pytest.mark.parametrize(
        "headers", [{"GNU.sparse.realsize": "9" * 12}, {"size": "-1"}, {"size": "9" * 30}, {"path": "../x"}]
    )
    async def test_tricks_of_extended_headers(
        self, registry: Registry, elsewhere: Registry, headers: dict[str, str]
    ) -> None:
        members = await self.members(registry)

        def change(member: tarfile.TarInfo) -> None:
            if member.name == "model/README.md":
                member.pax_headers = headers

        answer = await imported(elsewhere, tar_of(members, change))
        assert answer.status_code == 422, answer.text

    async def test_sizes(self, registry: Registry, tmp_path: Path) -> None:
        members = await self.members(registry)
        (tmp_path / "small").mkdir()
        async for small in running(RegistrySettings(data_dir=tmp_path / "small", registry_max_upload_bytes=1024)):
            big = consistent(members, README__md=b"#" * 2000)
            await self.refused(small, tar_of(big), "TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES", 413)
            longer = [(name, data + b"#" if name.endswith("README.md") else data) for name, data in members]
            await self.refused(small, tar_of(longer), "10 in the manifest")
            record = bytes(archive.MAX_RECORD_BYTES + 1)
            await self.refused(small, tar_of([("record.json", record)]), "the limit is", 413)

    async def test_records_and_manifests_that_lie(self, registry: Registry, elsewhere: Registry) -> None:
        members = await self.members(registry)
        record = json.loads(members[0][1])
        for change, says in (
            ({"version": "1.0"}, "version"),
            ({"model_id": "../x"}, "model_id"),
            ({"model_id": "another"}, "is of model threat-classifier"),
            ({"manifest_digest": "0" * 64}, "does not have the digest"),
            ({"format_version": 2}, "upgrade"),
            ({"format": "zip"}, "format"),
            ({"description": "a\0b"}, "NUL"),
            ({"tags": {"a": "b" * 10_000}}, "tags"),
            ({"history": [{"to_stage": "heaven"}]}, "history"),
            ({"stage": "production; DROP TABLE"}, "stage"),
        ):
            lying = json.dumps(record | change).encode()
            await self.refused(elsewhere, tar_of([("record.json", lying), *members[1:]]), says)

    async def test_everything_of_an_upload_is_checked_again(self, registry: Registry, elsewhere: Registry) -> None:
        members = await self.members(registry)
        for files, says, status in (
            ({"model__onnx": b"\x80\x04pickle"}, "is a pickle", 415),
            ({"model__onnx": b"\x08\x09garbage"}, "not an ONNX model", 422),
            ({"README__md": b"\x1f\x8b"}, "gzip", 415),
            ({"model__keras": b"PK\x03\x04" + bytes(100)}, "model.keras", 422),
            ({"evil__pkl": b"anything"}, "nothing else", 415),
            ({"model__onnx": classifier(1, classes=4).SerializeToString()}, "probabilities", 422),
        ):
            await self.refused(elsewhere, tar_of(consistent(members, **files)), says, status)
        for manifest in ({"model_name": "a\0b"}, {"tags": {"": "x"}}, {"model_type": "x" * 200}):
            answer = await imported(elsewhere, tar_of(consistent(members, manifest=manifest)))
            assert answer.status_code == 422, answer.text
        for path in ("../evil.json", "/etc/passwd", MANIFEST_NAME, "a//b.json"):
            document = json.loads(members[1][1])
            document["files"].append({"path": path, "size": 2, "sha256": "0" * 64})
            data = json.dumps(document).encode()
            record = json.loads(members[0][1]) | {"manifest_digest": hashlib.sha256(data).hexdigest()}
            lying = [("record.json", json.dumps(record).encode()), ("model/manifest.json", data), *members[2:]]
            await self.refused(elsewhere, tar_of(lying), "manifest")


async def test_a_damaged_file_never_leaves_whole(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    version = await promoted(registry)
    found = (await registry.client.get(f"/mlops/models/threat-classifier/{version}")).json()
    (graph,) = [file for file in found["files"] if file["path"] == "model.onnx"]
    registry.store.put_bytes(blob_key(graph["sha256"]), bytes(graph["size"]))
    with pytest.raises(AssertionError):  # httpx's, when it is not whole
        await registry.client.get(f"/mlops/models/threat-classifier/{version}/export")
    assert [line.message for line in caplog.records if line.levelname == "ERROR"] == ["answer_broke_off"]
    registry.store.put_bytes(blob_key(graph["sha256"]), b"short")
    answer = await registry.client.get(f"/mlops/models/threat-classifier/{version}/export")
    assert (answer.status_code, answer.json()["code"]) == (422, "integrity-failed")
    registry.store.delete(blob_key(graph["sha256"]))
    answer = await registry.client.get(f"/mlops/models/threat-classifier/{version}/export")
    assert (answer.status_code, answer.json()["code"]) == (422, "integrity-failed")


async def test_an_archive_repairs_what_it_holds(registry: Registry) -> None:
    version = await promoted(registry)
    path = f"/mlops/models/threat-classifier/{version}"
    found = (await registry.client.get(path)).json()
    data = await exported(registry, version)
    for file in found["files"]:
        registry.store.put_bytes(blob_key(file["sha256"]), bytes(file["size"]))
    registry.store.put_bytes(f"{found['artifact']}/manifest.json", b"{}")
    assert (await registry.client.post(f"{path}/verify")).json()["state"] == "bad"
    assert (await imported(registry, data)).status_code == 200
    assert (await registry.client.post(f"{path}/verify")).json()["state"] == "ok"


async def test_what_is_not_there_is_not_exported(registry: Registry) -> None:
    await registry.register("m")
    for path in ("m/9.9.9", "nobody/1.0.0"):
        assert (await registry.client.get(f"/mlops/models/{path}/export")).status_code == 404


async def test_a_key_moves_only_what_it_may(registry: Registry, tmp_path: Path) -> None:
    data = await exported(registry, await promoted(registry))
    (tmp_path / "guarded").mkdir()
    settings = RegistrySettings(data_dir=tmp_path / "guarded", auth="keys", internal_key="internal-secret")
    async for guarded in running(settings):
        guarded.client.headers["Authorization"] = "Bearer internal-secret"
        assert (await imported(guarded, data)).status_code == 201
        for scopes, prefixes, may_export, may_import in (
            (["read"], [], True, False),
            (["write"], ["threat-"], True, True),
            (["write"], ["other-"], False, False),
            (["predict"], [], False, False),
            (["deploy"], ["threat-"], True, False),
        ):
            key = await granted(guarded, *scopes, prefixes=tuple(prefixes))
            version = json.loads(members_of(data)[0][1])["version"]
            path = f"/mlops/models/threat-classifier/{version}/export"
            answer = await guarded.client.get(path, headers=key)
            assert (answer.status_code == 200) is may_export, answer.text
            answer = await guarded.client.post(IMPORT, content=data, headers={**TAR, **key})
            assert answer.status_code == (200 if may_import else 403), answer.text
