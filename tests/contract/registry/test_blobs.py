"""Blobs: in pieces, gone on with after a cut, never poisoned by another; versions by digest and as tar archives."""

import asyncio
import hashlib
import io
import json
import os
import pickle
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.events import ModelRegistered
from services.kernel.artifacts import blob_key
from services.kernel.auth import Principal
from services.kernel.errors import Unavailable
from services.registry.arrivals.blobs import NamedBlob, bring, within_reach
from services.registry.arrivals.incoming import Received
from services.registry.arrivals.room import Room
from services.registry.model import parse_version
from services.registry.settings import RegistrySettings
from services.registry.tables import condemned
from services.registry.untrusted.inspections import EXPECTED_BYTES
from tests.contract.registry.conftest import Registry
from tests.graphs import classifier

GRAPH = classifier().SerializeToString()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settings_of(registry: Registry) -> RegistrySettings:
    settings = registry.service.settings
    assert isinstance(settings, RegistrySettings)
    return settings


async def put(
    registry: Registry, data: bytes, offset: int = 0, end: int | None = None, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Send `data[offset:end]` as part of the blob `data`."""
    return await registry.client.put(
        f"/mlops/blobs/{sha256(data)}",
        content=data[offset:end],
        headers={
            "Upload-Offset": str(offset),
            "Upload-Length": str(len(data)),
            "Content-Type": "application/octet-stream",
            **(headers or {}),
        },
    )


async def progress(registry: Registry, data: bytes) -> tuple[int, bool]:
    answer = await registry.client.head(f"/mlops/blobs/{sha256(data)}")
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"]), answer.headers["upload-complete"] == "?1"


async def register(
    registry: Registry, files: dict[str, bytes], headers: dict[str, str] | None = None, **metadata: Any
) -> httpx.Response:
    """Register by digest."""
    named = [{"path": name, "size": len(data), "sha256": sha256(data)} for name, data in files.items()]
    return await registry.client.post(
        "/mlops/models", json={"metadata": {"model_id": "m", **metadata}, "files": named}, headers=headers
    )


def tar(files: dict[str, bytes], **metadata: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in {"metadata.json": json.dumps({"model_id": "m", **metadata}).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), time.time()
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


async def send_tar(registry: Registry, body: bytes) -> httpx.Response:
    return await registry.client.post("/mlops/models", content=body, headers={"Content-Type": "application/x-tar"})


def unfinished(registry: Registry) -> list[str]:
    return [path.name for path in settings_of(registry).uploads_dir.glob("pieces/*/*.part")]


class TestByDigest:
    """The files first, then the version that names them."""

    async def test_what_is_missing_is_told_sent_and_registered(self, registry: Registry) -> None:
        files = {"net.onnx": GRAPH, "notes/README.md": b"hello"}
        asked = await register(registry, files)
        assert (asked.status_code, asked.json()["code"]) == (409, "missing-blobs")
        assert asked.json()["missing"] == [
            {"path": name, "size": len(data), "sha256": sha256(data), "received": 0} for name, data in files.items()
        ]
        assert list(registry.store.list()) == []
        assert await registry.events() == []
        for data in files.values():
            sent = await put(registry, data)
            assert (sent.status_code, sent.json()["complete"]) == (201, True)
        assert list(registry.store.list("models")) == []
        answer = await register(registry, files, metrics={"accuracy": 0.9})
        assert answer.status_code == 201, answer.text
        assert {file["path"] for file in answer.json()["files"]} == {"model.onnx", "notes/README.md"}
        assert unfinished(registry) == []
        again = await register(registry, files, metrics={"accuracy": 0.9})
        assert (again.status_code, again.json()) == (200, answer.json())

    async def test_only_what_is_missing_is_asked_for(self, registry: Registry) -> None:
        assert (await register(registry, {"model.onnx": GRAPH})).status_code == 409
        assert (await registry.register("m")).status_code == 201
        asked = await register(registry, {"model.onnx": GRAPH, "notes.txt": b"new"}, version="2.0.0")
        assert [blob["path"] for blob in asked.json()["missing"]] == ["notes.txt"]
        await put(registry, b"new")
        assert (await register(registry, {"model.onnx": GRAPH, "notes.txt": b"new"})).status_code == 201

    async def test_all_three_ways_make_the_same_version(self, registry: Registry) -> None:
        about: dict[str, Any] = {"created_at": "2026-01-01T00:00:00Z", "metrics": {"accuracy": 0.9}, "changes": "none"}
        by_form = await registry.register("m", **about)
        by_tar = await send_tar(registry, tar({"model.onnx": GRAPH}, **about))
        by_digest = await register(registry, {"model.onnx": GRAPH}, **about)
        assert [answer.status_code for answer in (by_form, by_tar, by_digest)] == [201, 200, 200]
        assert by_form.json() == by_tar.json() == by_digest.json()
        version = by_form.json()
        assert version["artifact"] == f"models/m/{version['manifest_digest']}"
        assert registry.store.exists(f"{version['artifact']}/manifest.json")
        assert len(await registry.events(ModelRegistered)) == 1

    async def test_content_is_checked_by_name_whatever_was_sent_before(self, registry: Registry) -> None:
        evil = pickle.dumps(print)
        for data in (GRAPH, evil, b"{}", b"not json"):
            assert (await put(registry, data)).status_code == 201
        for name, data, status in (
            ("weights.keras", evil, 415),
            ("notes.txt", evil, 415),
            ("baseline.json", b"not json", 415),
            ("notes.pkl", b"{}", 415),
            ("other.onnx", b"{}", 415),
        ):
            answer = await register(registry, {"model.onnx": GRAPH, name: data})
            assert answer.status_code == status, (name, answer.text)
        refused = await register(registry, {"model.onnx": evil})
        assert refused.status_code == 415
        assert list(registry.store.list("models")) == []
        assert (await register(registry, {"model.onnx": GRAPH, "baseline.json": b"{}"})).status_code == 201

    async def test_names_and_sizes_that_may_not_be(self, registry: Registry) -> None:
        await put(registry, GRAPH)
        for name in ("../x.txt", "/etc/x.txt", "a//b.txt", "manifest.json", "a\\b.txt", ".x.txt", "x" * 600):
            answer = await register(registry, {"model.onnx": GRAPH, name: b"x"})
            assert answer.status_code == 422, (name, answer.text)
        assert (await register(registry, {"notes.txt": b"x"})).status_code in (409, 422)
        for files in (
            [],
            [{"path": "model.onnx", "size": 1, "sha256": "x"}],
            [{"path": "model.onnx", "size": -1, "sha256": "0" * 64}],
            [{"path": "a.txt", "size": 1, "sha256": "0" * 64}] * 2,
            [{"path": f"{size}.txt", "size": size, "sha256": "0" * 64} for size in (1, 2)],
            [{"path": path, "size": 1, "sha256": "0" * 64} for path in ("a.txt", "a.txt/b.txt")],
            [{"path": "model.onnx", "size": settings_of(registry).registry_max_upload_bytes + 1, "sha256": "0" * 64}],
        ):
            answer = await registry.client.post("/mlops/models", json={"metadata": {"model_id": "m"}, "files": files})
            assert answer.status_code in (413, 422), answer.text
            assert answer.json()["detail"]

    async def test_a_wrong_size_is_not_the_blob(self, registry: Registry) -> None:
        await put(registry, GRAPH)
        files = [{"path": "model.onnx", "size": len(GRAPH) - 1, "sha256": sha256(GRAPH)}]
        answer = await registry.client.post("/mlops/models", json={"metadata": {"model_id": "m"}, "files": files})
        assert (answer.status_code, answer.json()["code"]) == (409, "missing-blobs")

    async def test_idempotency_key(self, registry: Registry) -> None:
        await put(registry, GRAPH)
        key = {"Idempotency-Key": "one"}
        first = await register(registry, {"model.onnx": GRAPH}, key)
        again = await register(registry, {"model.onnx": GRAPH}, key)
        other = await register(registry, {"model.onnx": GRAPH}, key, metrics={"accuracy": 1.0})
        assert [answer.status_code for answer in (first, again, other)] == [201, 200, 409]
        assert first.json() == again.json()

    async def test_fifty_at_once_leave_no_gap(self, registry: Registry) -> None:
        await put(registry, GRAPH)
        answers = await asyncio.gather(
            *(register(registry, {"model.onnx": GRAPH}, metrics={"run": float(number)}) for number in range(50))
        )
        assert [answer.status_code for answer in answers] == [201] * 50
        versions = sorted((answer.json()["version"] for answer in answers), key=parse_version)
        today = versions[0].rpartition(".")[2]
        assert versions == [f"1.{minor}.{today}" for minor in range(50)]

    async def test_what_is_being_collected_is_asked_for_later(self, registry: Registry) -> None:
        """The collection of garbage has claimed the bytes: they may be gone at any moment, so nothing may name them."""
        await put(registry, GRAPH)
        claim = {"key": blob_key(sha256(GRAPH)), "size_bytes": len(GRAPH), "at": 0.0, "claimed_at": time.time()}
        await registry.service.db.write(lambda connection: connection.execute(condemned.insert().values(claim)))
        for answer in (await register(registry, {"model.onnx": GRAPH}), await registry.register("m")):
            assert (answer.status_code, answer.json()["code"]) == (503, "being-collected")
            assert "retry-after" in answer.headers
        assert list(registry.store.list("models")) == []
        await registry.service.db.write(lambda connection: connection.execute(condemned.delete()))
        assert (await register(registry, {"model.onnx": GRAPH})).status_code == 201

    async def test_what_vanishes_between_check_and_use_is_asked_for_later(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        gone = Received("model.onnx", tmp_path / "version" / "model.onnx", 1, "0" * 64)
        with pytest.raises(Unavailable, match="send the version again"):
            await asyncio.to_thread(bring, registry.store, [gone])


class TestPieces:
    """A blob in more than one request."""

    async def test_it_goes_on_where_it_broke_off(self, registry: Registry) -> None:
        data = os.urandom(3000)
        first = await put(registry, data, 0, 1000)
        assert (first.status_code, first.json()["received"], first.json()["complete"]) == (200, 1000, False)
        assert first.headers["upload-offset"] == "1000"
        assert await progress(registry, data) == (1000, False)
        for wrong in (0, 500, 2000):
            refused = await put(registry, data, wrong)
            assert (refused.status_code, refused.json()["code"]) == (409, "wrong-offset")
            assert refused.json()["offset"] == 1000
        assert (await put(registry, data, 1000, 2000)).status_code == 200
        assert not registry.store.exists(blob_key(sha256(data)))
        assert (await put(registry, data, 2000)).status_code == 201
        assert await progress(registry, data) == (3000, True)
        assert registry.store.get_bytes(blob_key(sha256(data))) == data
        assert unfinished(registry) == []

    async def test_wrong_bytes_are_thrown_away(self, registry: Registry) -> None:
        data = os.urandom(2000)
        await put(registry, data, 0, 1000)
        answer = await registry.client.put(
            f"/mlops/blobs/{sha256(data)}",
            content=bytes(1000),
            headers={"Upload-Offset": "1000", "Upload-Length": "2000"},
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "integrity-failed")
        assert await progress(registry, data) == (0, False)
        assert list(registry.store.list()) == []
        assert (await put(registry, data)).status_code == 201

    async def test_an_empty_blob(self, registry: Registry) -> None:
        assert (await put(registry, b"")).status_code == 201
        assert registry.store.get_bytes(blob_key(sha256(b""))) == b""

    async def test_the_same_again(self, registry: Registry) -> None:
        assert [(await put(registry, GRAPH)).status_code for _ in range(2)] == [201, 201]
        assert len(list(registry.store.list("blobs"))) == 1

    async def test_lengths_that_do_not_fit(self, registry: Registry) -> None:
        data = os.urandom(2000)
        longer = await put(registry, data, 0, 2000, headers={"Upload-Length": "1999"})
        assert longer.status_code == 413
        await put(registry, data, 0, 1000)
        assert (await put(registry, data, 1000, None, headers={"Upload-Length": "3000"})).status_code == 422
        assert (await put(registry, data, 1000, None, headers={"Upload-Length": "10"})).status_code == 422
        for header, text in (("Upload-Offset", "-1"), ("Upload-Length", "x"), ("Upload-Length", "9" * 30)):
            assert (await put(registry, data, headers={header: text})).status_code == 422
        beyond = str(settings_of(registry).registry_max_upload_bytes + 1)
        assert (await put(registry, data, headers={"Upload-Length": beyond})).status_code == 413
        assert (await registry.client.put("/mlops/blobs/xyz", content=b"")).status_code == 422

    async def test_two_writers(self, registry: Registry) -> None:
        data = os.urandom(2000)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield data[:1000]
            begun.set()
            await go_on.wait()
            yield data[1000:]

        url = f"/mlops/blobs/{sha256(data)}"
        parts = registry.service.state["parts"]
        anyone = Principal("anyone", frozenset())
        first = asyncio.create_task(parts.blobs.receive(anyone, sha256(data), 0, 2000, slowly(), 30.0))
        await begun.wait()
        second = await put(registry, data)
        assert (second.status_code, second.json()["code"]) == (409, "being-written")
        go_on.set()
        assert await first == 2000
        assert (await registry.client.head(url)).headers["upload-complete"] == "?1"

    async def test_a_silent_sender_is_not_waited_for(self, registry: Registry) -> None:
        data = os.urandom(2000)

        async def silent() -> AsyncIterator[bytes]:
            yield data[:1000]
            await asyncio.Event().wait()

        parts = registry.service.state["parts"]
        anyone = Principal("anyone", frozenset())
        with pytest.raises(Unavailable, match="go on where"):
            await parts.blobs.receive(anyone, sha256(data), 0, 2000, silent(), 0.05)
        assert await progress(registry, data) == (1000, False)

    async def test_another_principal_neither_sees_nor_disturbs_it(self, registry: Registry) -> None:
        data = os.urandom(2000)
        parts = registry.service.state["parts"]

        async def body(*blocks: bytes) -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

        mallory = Principal("mallory", frozenset())
        assert await parts.blobs.receive(mallory, sha256(data), 0, 2000, body(bytes(1500)), 30.0) == 1500
        assert await progress(registry, data) == (0, False)
        assert (await put(registry, data, 0, 1000)).status_code == 200
        assert (await put(registry, data, 1000)).status_code == 201

    async def test_a_digest_alone_gives_nobody_anothers_file(self, registry: Registry) -> None:
        """A key that is bound to some models names what it has sent, or what these models hold."""
        assert (await registry.register("secret-1")).status_code == 201
        parts = registry.service.state["parts"]
        blob = NamedBlob(path="model.onnx", size=len(GRAPH), sha256=sha256(GRAPH))

        async def missing(*prefixes: str, name: str = "bound") -> list[NamedBlob]:
            principal = Principal(name, frozenset(), prefixes)
            reach = await parts.db.read(lambda connection: within_reach(connection, principal, [blob.sha256]))
            found: list[NamedBlob] = await asyncio.to_thread(parts.blobs.find, principal, [blob], reach)
            return found

        async def body() -> AsyncIterator[bytes]:
            yield GRAPH

        assert await missing() == []
        assert await missing("secret-") == []
        assert await missing("other-") == [blob]
        await parts.blobs.receive(Principal("bound", frozenset(), ("other-",)), blob.sha256, 0, blob.size, body(), 30.0)
        assert await missing("other-") == []
        assert await missing("other-", name="another") == [blob]

    async def test_a_process_waits_for_what_is_large_alone(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected: list[int] = []

        async def expect() -> None:
            expected.append(size)

        monkeypatch.setattr(registry.service.state["parts"].inspector, "expect", expect)
        for name in ("1" * 64, f"named/{'2' * 64}"):
            for size in (1000, EXPECTED_BYTES):
                headers = {"Upload-Length": str(size)}
                sent = await registry.client.put(f"/mlops/blobs/{name[:-1]}{size % 7}", content=b"x", headers=headers)
                assert sent.status_code == 200
        assert expected == [EXPECTED_BYTES, EXPECTED_BYTES]

    async def test_forgotten_pieces_are_removed(self, registry: Registry) -> None:
        old, young = os.urandom(2000), os.urandom(2000)
        for data in (old, young):
            await put(registry, data, 0, 1000)
        [path] = settings_of(registry).uploads_dir.glob(f"pieces/*/{sha256(old)}*")
        os.utime(path, (0, 0))
        assert registry.service.state["parts"].blobs.partials.sweep() == 1
        assert (await progress(registry, old), await progress(registry, young)) == ((0, False), (1000, False))


class TestTar:
    """A version as one archive."""

    async def test_it_is_registered(self, registry: Registry) -> None:
        answer = await send_tar(registry, tar({"net.onnx": GRAPH, "notes/README.md": b"hello"}, version="1.2.3"))
        assert answer.status_code == 201, answer.text
        assert answer.json()["version"] == "1.2.3"
        assert {file["path"] for file in answer.json()["files"]} == {"model.onnx", "notes/README.md"}

    async def test_refused(self, registry: Registry) -> None:
        whole = tar({"model.onnx": GRAPH})
        without = io.BytesIO()
        with tarfile.open(fileobj=without, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("model.onnx"))
        for body, says in (
            (b"", "cut off"),
            (whole[:2000], "cut off"),
            (without.getvalue(), "metadata.json"),
            (tar({"model.onnx": GRAPH, "../x.txt": b"x"}), "cannot be in a storage key"),
            (tar({"model.onnx": GRAPH, "manifest.json": b"{}"}), "leave it out"),
            (tar({"notes.txt": b"x"}), "model.onnx"),
            (tar({"net.onnx": GRAPH, "model.onnx/notes.txt": b"x"}), "not a folder"),
            (tar({"model.onnx": GRAPH}, version="1"), "version"),
        ):
            answer = await send_tar(registry, body)
            assert answer.status_code == 422, answer.text
            assert says in answer.json()["detail"]
        assert list(registry.store.list()) == []
        assert list(settings_of(registry).staging_dir.iterdir()) == []


class TestRepair:
    """Bytes of the right length that were damaged in the store: sending them again by any way puts them right."""

    async def damaged(self, registry: Registry) -> str:
        answer = await registry.register("m")
        assert answer.status_code in (200, 201), answer.text
        registry.store.put_bytes(blob_key(sha256(GRAPH)), bytes(len(GRAPH)))
        path = f"/mlops/models/m/{answer.json()['version']}/verify"
        assert (await registry.client.post(path)).json()["state"] == "bad"
        return path

    async def test_in_pieces(self, registry: Registry) -> None:
        path = await self.damaged(registry)
        assert (await put(registry, GRAPH)).status_code == 201
        assert (await registry.client.post(path)).json()["state"] == "ok"

    async def test_in_a_form_and_in_a_tar_archive(self, registry: Registry) -> None:
        path = await self.damaged(registry)
        assert (await registry.register("m")).status_code == 200
        assert (await registry.client.post(path)).json()["state"] == "ok"
        await self.damaged(registry)
        body = tar({"model.onnx": GRAPH}, changes="a test's")
        assert (await send_tar(registry, body)).status_code == 200
        assert (await registry.client.post(path)).json()["state"] == "ok"


class TestRoom:
    """What registrations in progress hold on the registry's disk is bounded, whatever the way."""

    async def test_who_finds_no_room_comes_again(self, registry: Registry) -> None:
        """Others hold all but a few bytes: bodies are refused, and so is what would be fetched from S3."""
        room: Room = registry.service.state["parts"].room
        await put(registry, GRAPH)
        made = await registry.register("other", classifier(1))
        exported = await registry.client.get(f"/mlops/models/other/{made.json()['version']}/export")
        headers = {"Content-Type": "application/x-tar"}
        with room.share() as others:
            others.take(room.max_bytes - 100)
            answers = [
                await registry.register("m"),
                await send_tar(registry, tar({"model.onnx": GRAPH})),
                await registry.client.post("/mlops/models/import", content=exported.content, headers=headers),
            ]
            for answer in answers:
                assert (answer.status_code, answer.json()["code"]) == (503, "overloaded"), answer.text
                assert "TRIMTAB_REGISTRY_STAGING_BYTES" in answer.json()["detail"]
                assert "retry-after" in answer.headers
            by_digest = await register(registry, {"model.onnx": GRAPH})
            is_linked = registry.store.path_of(blob_key(sha256(GRAPH))) is not None
            assert by_digest.status_code == (201 if is_linked else 503), by_digest.text
            assert room.taken == room.max_bytes - 100, "whoever was refused gave back what it held"
        assert room.taken == 0
        assert (await registry.register("m", classifier(2))).status_code == 201
        assert room.taken == 0

    async def test_a_version_that_no_room_would_hold(self, registry: Registry) -> None:
        room: Room = registry.service.state["parts"].room
        room.max_bytes = 100
        answer = await registry.register("m")
        assert (answer.status_code, "TRIMTAB_REGISTRY_STAGING_BYTES" in answer.json()["detail"]) == (413, True)
        assert room.taken == 0
