"""The SDK's uploads against a registry of its own process: cut connections, crashes, a full disk, constant memory."""

import asyncio
import hashlib
import json
import os
import resource
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tests.graphs import classifier, weighty
from tests.object_store import S3Server
from tests.registry_process import RegistryProcess
from tests.waiting import until, until_sync
from trimtab import AsyncClient, Client
from trimtab.cli.root import app
from trimtab.errors import Conflict, NoRoom, Unavailable

MIB = 1 << 20


@pytest.fixture(scope="module", params=["folder", "s3"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """On a folder, then on S3; one process for all these tests, each of which brings files of its own."""
    environment: dict[str, str] = {}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = f"t{uuid.uuid4().hex[:10]}"
        server.client().create_bucket(Bucket=bucket)
        environment = s3_environment(server, bucket)
    with RegistryProcess(tmp_path_factory.mktemp("registry"), environment) as process:
        yield process


def s3_environment(server: S3Server, bucket: str) -> dict[str, str]:
    return {
        "MODEL_STORAGE_TYPE": "s3",
        "S3_BUCKET": bucket,
        "S3_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version of a small graph and a large text."""
    made = tmp_path / "version"
    made.mkdir()
    (made / "model.onnx").write_bytes(classifier().SerializeToString())
    (made / "notes.txt").write_bytes(os.urandom(8 * MIB).hex().encode())
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def register(url: str, folder: Path, model_id: str = "m", **options: Any) -> dict[str, Any]:
    with Client(url) as client:
        found: dict[str, Any] = client.register_model(folder, model_id=model_id, **options)
    return found


def received(registry: RegistryProcess, path: Path) -> int:
    answer = httpx.head(f"{registry.url}/mlops/blobs/{sha256(path)}", trust_env=False)
    return int(answer.headers["upload-offset"])


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_folder_is_registered_and_sent_once(registry: RegistryProcess, folder: Path, use_async: bool) -> None:
    told: list[tuple[int, int]] = []

    async def once(**metadata: Any) -> dict[str, Any]:
        def progress(done: int, total: int) -> None:
            told.append((done, total))

        if not use_async:
            return await asyncio.to_thread(register, registry.url, folder, on_progress=progress, **metadata)
        async with AsyncClient(registry.url) as client:
            found: dict[str, Any] = await client.register_model(folder, model_id="m", on_progress=progress, **metadata)
            return found

    first = await once()
    total = told[-1][1]
    assert told[-1] == (total, total)
    assert total >= 16 * MIB
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    told.clear()
    assert first["created"]
    assert await once() == {**first, "created": False}
    assert (await once(metrics={"accuracy": 0.5}))["version"] != first["version"]
    assert told == [], "nothing was sent"


class Cut:
    """A proxy that breaks the first connection which carries `after_bytes`."""

    def __init__(self, target: str, after_bytes: int) -> None:
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._after_bytes: int | None = after_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        carried = 0
        with suppress(OSError):
            while data := source.recv(65536):
                carried += len(data)
                if counted and self._after_bytes is not None and carried > self._after_bytes:
                    self._after_bytes = None
                    self.cuts += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_cut_connection_is_gone_on_with(registry: RegistryProcess, folder: Path) -> None:
    proxy = Cut(registry.url, 4 * MIB)
    sent: list[int] = []
    with Client(proxy.url) as client:
        found = client.register_model(folder, model_id="m", on_progress=lambda done, _: sent.append(done))
    proxy.close()
    assert proxy.cuts == 1
    assert {file["path"] for file in found["files"]} == {"model.onnx", "notes.txt"}
    steps = [after - before for before, after in pairwise(sent)]
    assert sum(step for step in steps if step > 0) < 1.5 * sent[-1], "what had come was not sent again"


def test_an_upload_goes_on_after_a_crash_of_the_registry(registry: RegistryProcess, folder: Path) -> None:
    pids = {registry.pid}

    def crash(done: int, _: int) -> None:
        if done > 6 * MIB and len(pids) == 1:
            registry.restart()
            pids.add(registry.pid)

    found = register(registry.url, folder, on_progress=crash)
    assert len(pids) == 2
    assert found["stage"] == "draft"


def test_a_stopped_sender_goes_on_when_run_again(registry: RegistryProcess, folder: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 6 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(registry.url, folder, on_progress=stop)
    have = until_sync(lambda: received(registry, folder / "notes.txt"))
    assert 0 < have < (folder / "notes.txt").stat().st_size
    told: list[int] = []
    register(registry.url, folder, on_progress=lambda done, _: told.append(done))
    assert told[0] >= have


async def test_a_cancelled_upload_ends(registry: RegistryProcess, folder: Path) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def hold(_done: int, _total: int) -> None:
        begun.set()
        cancelled.wait()

    async with AsyncClient(registry.url) as client:
        task = asyncio.ensure_future(client.register_model(folder, model_id="m", on_progress=hold))
        await until(begun.is_set, what="the first block")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    cancelled.set()

    def left() -> list[int]:
        return [received(registry, path) for path in folder.iterdir()]

    assert await asyncio.to_thread(lambda: sum(left())) < 16 * MIB, "the rest was not sent"
    assert (await asyncio.to_thread(register, registry.url, folder))["stage"] == "draft"


def test_fifty_clients_register_one_model(registry: RegistryProcess, folder: Path) -> None:
    (folder / "notes.txt").write_text("small")
    answers: list[dict[str, Any]] = []
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            answers.append(register(registry.url, folder, "fifty", metrics={"run": number}))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must say so
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    minors = sorted(int(answer["version"].split(".")[1]) for answer in answers)
    assert minors == list(range(50))


def test_another_content_under_a_version_is_refused_at_once(registry: RegistryProcess, folder: Path) -> None:
    register(registry.url, folder, "fixed", version="1.0.0")
    (folder / "notes.txt").write_text("other")
    with pytest.raises(Conflict, match="never change"):
        register(registry.url, folder, "fixed", version="1.0.0")


def test_the_command_tells_how_far_it_is(registry: RegistryProcess, folder: Path) -> None:
    arguments = ["models", "register", str(folder), "--model-id", "by-command", "--url", registry.url, "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["stage"] == "draft"
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["event"], last["bytes"], last["seconds_left"]) == ("upload", last["of_bytes"], 0)


class TestDirect:
    """Straight to S3, or by the registry where there is none."""

    def test_a_version(self, registry: RegistryProcess, tmp_path: Path, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(weighty(40).SerializeToString())
        found = register(registry.url, folder, direct=True)
        assert {file["path"] for file in found["files"]} == {"model.onnx", "notes.txt"}
        assert register(registry.url, folder, direct=True) == {**found, "created": False}

    def test_parts_that_came_are_not_sent_again_and_wrong_bytes_are_refused(
        self, s3_server: S3Server, s3_bucket: str, tmp_path: Path
    ) -> None:
        data, other = os.urandom(17 * MIB), os.urandom(17 * MIB)
        s3 = s3_server.client()
        with (
            RegistryProcess(tmp_path / "data", s3_environment(s3_server, s3_bucket)) as registry,
            httpx.Client(base_url=registry.url, trust_env=False, timeout=60) as client,
        ):
            url = f"/mlops/blobs/{hashlib.sha256(data).hexdigest()}"

            def begin() -> dict[str, Any]:
                answer = client.post(f"{url}/parts", json={"size": len(data)})
                assert answer.status_code == 200, answer.text
                document: dict[str, Any] = answer.json()
                return document

            def put(part: dict[str, Any], content: bytes) -> dict[str, Any]:
                start = (part["number"] - 1) * 16 * MIB
                answer = httpx.put(part["url"], content=content[start : start + part["size"]], trust_env=False)
                assert answer.status_code == 200, answer.text
                return {"number": part["number"], "etag": answer.headers["etag"]}

            begun = begin()
            assert [part["size"] for part in begun["parts"]] == [16 * MIB, MIB]
            wrong = [put(part, other) for part in begun["parts"]]
            refused = client.post(f"{url}/complete", json={"upload_id": begun["upload_id"], "parts": wrong})
            assert (refused.status_code, refused.json()["code"]) == (422, "integrity-failed")
            assert s3.list_objects_v2(Bucket=s3_bucket).get("KeyCount") == 0
            begun = begin()
            first = put(begun["parts"][0], data)
            incomplete = client.post(f"{url}/complete", json={"upload_id": begun["upload_id"], "parts": [first]})
            assert (incomplete.status_code, "part 2" in incomplete.json()["detail"]) == (422, True)
            registry.restart()
            resumed = begin()
            assert resumed["upload_id"] == begun["upload_id"]
            assert [part["url"] is None for part in resumed["parts"]] == [True, False]
            sent = [
                {"number": 1, "etag": resumed["parts"][0]["etag"]},
                put(resumed["parts"][1], data),
            ]
            other_size = client.post(f"{url}/parts", json={"size": len(data) + 1})
            assert other_size.status_code == 422
            done = client.post(f"{url}/complete", json={"upload_id": begun["upload_id"], "parts": sent})
            assert (done.status_code, done.json()["complete"]) == (200, True)
            again = client.post(f"{url}/complete", json={"upload_id": begun["upload_id"], "parts": sent})
            assert again.status_code == 200
            assert client.head(url).headers["upload-complete"] == "?1"
            keys = [item["Key"] for item in s3.list_objects_v2(Bucket=s3_bucket)["Contents"]]
            assert keys == [f"blobs/{url[13:15]}/{url[13:]}"]
            s3.put_object(Bucket=s3_bucket, Key=keys[0], Body=bytes(len(data)))  # damaged; the same length
            begun = begin()
            repaired = [put(part, data) for part in begun["parts"]]
            done = client.post(f"{url}/complete", json={"upload_id": begun["upload_id"], "parts": repaired})
            assert done.status_code == 200, done.text
            assert s3.get_object(Bucket=s3_bucket, Key=keys[0])["Body"].read() == data

    def test_a_folder_says_how_else(self, tmp_path: Path) -> None:
        with RegistryProcess(tmp_path / "data") as registry:
            answer = httpx.post(f"{registry.url}/mlops/blobs/{'0' * 64}/parts", json={"size": 5}, trust_env=False)
        assert answer.status_code == 409
        assert "PUT" in answer.json()["detail"]


def limited(bytes_: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


def test_a_disk_that_takes_no_more_is_said_and_nothing_is_lost(tmp_path: Path, folder: Path) -> None:
    """The limit on a file's size stands for the disk: the kernel refuses the write in the same place."""
    with RegistryProcess(tmp_path / "data", preexec=limited(8 * MIB)) as registry:
        with pytest.raises(NoRoom, match="free space"):
            register(registry.url, folder)
        have = received(registry, folder / "notes.txt")
        assert have == 8 * MIB
        assert httpx.get(f"{registry.url}/mlops/models", trust_env=False).json()["models"] == []
    with RegistryProcess(tmp_path / "data") as recovered:
        assert received(recovered, folder / "notes.txt") == have
        assert register(recovered.url, folder)["stage"] == "draft"


def test_room_for_unfinished_uploads_is_bounded(tmp_path: Path) -> None:
    with (
        RegistryProcess(tmp_path / "data", {"TRIMTAB_REGISTRY_UPLOADS_BYTES": str(4 * MIB)}) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as client,
    ):

        def begin(number: int) -> httpx.Response:
            return client.put(
                f"/mlops/blobs/{number:064x}", content=b"x", headers={"Upload-Length": str(MIB), "Upload-Offset": "0"}
            )

        answers = [begin(number) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 507]
    assert "TRIMTAB_REGISTRY_UPLOADS_BYTES" in answers[2].json()["detail"]


def test_memory_does_not_grow_with_the_upload(tmp_path: Path) -> None:
    """192 MiB by each way; what the process holds beyond its start stays far below that."""
    big = tmp_path / "model.onnx"
    big.write_bytes(weighty(192).SerializeToString())
    size = big.stat().st_size
    with big.open("rb") as whole:
        digest = hashlib.file_digest(whole, "sha256").hexdigest()
    with RegistryProcess(tmp_path / "data") as registry, httpx.Client(trust_env=False, timeout=300) as client:
        peak = 0

        def blocks() -> Iterator[bytes]:
            nonlocal peak
            with big.open("rb") as source:
                while data := source.read(MIB):
                    yield data
                    peak = max(peak, registry.resident_bytes())

        warm = client.put(f"{registry.url}/mlops/blobs/{hashlib.sha256(b'x').hexdigest()}", content=b"x")
        assert warm.status_code == 201
        before = registry.resident_bytes()
        headers = {"Content-Length": str(size), "Upload-Length": str(size)}
        sent = client.put(f"{registry.url}/mlops/blobs/{digest}", content=blocks(), headers=headers)
        assert sent.status_code == 201
        with big.open("rb") as model:
            form = {"file": ("model.onnx", model)}
            answer = client.post(f"{registry.url}/mlops/models", data={"metadata": '{"model_id": "m"}'}, files=form)
        assert answer.status_code == 201, answer.text
        peak = max(peak, registry.resident_bytes())
    assert peak - before < 100 * MIB


def test_an_uploader_gives_up_on_a_registry_that_stays_away(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.uploading.PAUSES_SECONDS", (0.01, 0.01))
    with RegistryProcess(tmp_path / "data") as registry:

        def kill(done: int, _: int) -> None:
            if done > MIB:
                registry.kill()

        with pytest.raises(Unavailable, match=registry.url):
            register(registry.url, folder, on_progress=kill)
