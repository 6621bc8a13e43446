"""Large files are sent while they are hashed: under a name first, and registered by their digest all the same."""

import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.registry.test_uploading import MIB, Cut, register
from tests.graphs import classifier
from tests.registry_process import RegistryProcess
from tests.waiting import until_sync
from trimtab import Client
from trimtab.ahead import name_of, send_ahead
from trimtab.calls import Upload
from trimtab.errors import NoRoom, Unavailable
from trimtab.uploading import Uploader


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with RegistryProcess(tmp_path_factory.mktemp("registry")) as process:
        yield process


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is 4 MiB and more is large here."""
    monkeypatch.setattr("trimtab.uploading.LEAST_BYTES", 4 * MIB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "version"
    made.mkdir()
    (made / "model.onnx").write_bytes(classifier().SerializeToString())
    (made / "notes.txt").write_bytes(os.urandom(8 * MIB).hex().encode())
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def url_of(registry: RegistryProcess, path: Path) -> str:
    return f"{registry.url}/mlops/blobs/named/{name_of(path)}"


def progress(url: str) -> tuple[int, bool]:
    answer = httpx.head(url, trust_env=False)
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"]), answer.headers["upload-complete"] == "?1"


def kept(found: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["sha256"] for file in found["files"]}


def test_a_large_file_is_sent_once(registry: RegistryProcess, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    puts: list[str] = []
    send = Uploader.send

    def spied(self: Uploader, url: str, *rest: Any) -> None:
        puts.append(url)
        send(self, url, *rest)

    monkeypatch.setattr(Uploader, "send", spied)
    told: list[tuple[int, int]] = []
    found = register(registry.url, folder, on_progress=lambda *now: told.append(now))
    assert kept(found) == {path.name: sha256(path) for path in folder.iterdir()}
    assert puts[0] == url_of(registry, folder / "notes.txt")
    assert puts[1:] == [f"{registry.url}/mlops/blobs/{sha256(folder / 'model.onnx')}"], "by its digest: what is small"
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] == sum(path.stat().st_size for path in folder.iterdir())
    told.clear()
    assert register(registry.url, folder, on_progress=lambda *now: told.append(now)) == {**found, "created": False}
    assert told == [], "nothing was sent"


def test_a_cut_connection_is_gone_on_with(registry: RegistryProcess, folder: Path) -> None:
    proxy = Cut(registry.url, 4 * MIB)
    told: list[int] = []
    with Client(proxy.url) as client:
        found = client.register_model(folder, model_id="cut", on_progress=lambda done, _: told.append(done))
    proxy.close()
    assert proxy.cuts == 1
    assert kept(found)["notes.txt"] == sha256(folder / "notes.txt")
    steps = [after - before for before, after in pairwise(told)]
    assert sum(step for step in steps if step > 0) < 1.5 * told[-1], "what had come was not sent again"


def test_an_upload_goes_on_after_a_crash_of_the_registry(registry: RegistryProcess, folder: Path) -> None:
    pids = {registry.pid}

    def crash(done: int, _: int) -> None:
        if done > 6 * MIB and len(pids) == 1:
            registry.restart()
            pids.add(registry.pid)

    found = register(registry.url, folder, on_progress=crash)
    assert len(pids) == 2
    assert kept(found)["notes.txt"] == sha256(folder / "notes.txt")


def test_a_stopped_sender_goes_on_when_run_again(registry: RegistryProcess, folder: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done > 6 * MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(registry.url, folder, on_progress=stop)
    have, _ = until_sync(lambda: progress(url_of(registry, folder / "notes.txt")))
    assert 0 < have < (folder / "notes.txt").stat().st_size
    told: list[int] = []
    register(registry.url, folder, on_progress=lambda done, _: told.append(done))
    assert told[0] > have


def test_sending_ends_once_the_registry_is_known_to_have_it(
    registry: RegistryProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = register(registry.url, folder)
    notes = folder / "notes.txt"
    data = notes.read_bytes()
    notes.unlink()
    notes.write_bytes(data)  # another file to whoever does not read it
    asked: list[str] = []
    progress_of = Uploader.progress_of

    def spied(self: Uploader, url: str) -> tuple[int, bool] | None:
        found = progress_of(self, url)
        asked.append(url)
        return found

    monkeypatch.setattr(Uploader, "progress_of", spied)
    told: list[int] = []

    def hold(done: int, _: int) -> None:
        told.append(done)
        until_sync(lambda: len(asked) == 2, what="the hash")

    assert register(registry.url, folder, on_progress=hold) == {**first, "created": False}
    assert len(told) == 1, "one block was sent"
    assert progress(url_of(registry, notes)) == (0, False), "and thrown away"


def test_what_was_sent_by_a_name_is_not_believed(registry: RegistryProcess, folder: Path) -> None:
    """The first half came from somewhere else: what the registry made of it has another digest than the file."""
    notes = folder / "notes.txt"
    size = notes.stat().st_size
    sent = httpx.put(url_of(registry, notes), content=b"x" * MIB, headers={"Upload-Length": str(size)}, trust_env=False)
    assert (sent.status_code, sent.json()["sha256"]) == (200, None)
    found = register(registry.url, folder)
    assert kept(found)["notes.txt"] == sha256(notes)
    stored = httpx.head(f"{registry.url}/mlops/blobs/{sha256(notes)}", trust_env=False)
    assert stored.headers["upload-complete"] == "?1"


def test_a_registry_that_knows_no_names(
    registry: RegistryProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.ahead.name_of", lambda path: "none")  # a 422, as an unknown path is a 404
    assert kept(register(registry.url, folder))["notes.txt"] == sha256(folder / "notes.txt")


def test_who_can_not_send_does_not_hash_on(
    registry: RegistryProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def nobody(*_: Any) -> None:
        raise Unavailable("nobody answers")

    def hashed(_self: Uploader, _path: Path, broken: threading.Event | None = None) -> tuple[str, int]:
        if broken is not None:
            assert broken.wait(10)
            ended.append("told")
        return "0" * 64, 1

    monkeypatch.setattr(Uploader, "send", nobody)
    monkeypatch.setattr(Uploader, "hashed", hashed)
    with pytest.raises(Unavailable, match="nobody answers"):
        register(registry.url, folder)
    assert ended == ["told"]


def test_who_breaks_off_does_not_wait_for_the_hash(
    registry: RegistryProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = threading.Event(), threading.Event()

    def unknown(_self: Uploader, _url: str) -> None:
        asked.set()

    def hashed(_self: Uploader, _path: Path, broken: threading.Event | None = None) -> tuple[str, int]:
        assert asked.wait(10)
        assert broken is not None
        for _ in range(10):  # Python hears of one that comes just before it waits for a lock after that wait alone
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if broken.wait(1):
                told.set()
                break
        return "0" * 64, 1

    monkeypatch.setattr(Uploader, "progress_of", unknown)
    monkeypatch.setattr(Uploader, "hashed", hashed)
    with httpx.Client(trust_env=False) as http:
        uploader = Uploader(http, registry.url, Upload([("notes.txt", folder / "notes.txt")], {"model_id": "m"}))
        broken_off = False
        for _ in range(3):  # one that comes while a callback of the interpreter runs is lost there
            try:
                send_ahead(uploader, registry.url, folder / "notes.txt", 1)
            except KeyboardInterrupt:
                broken_off = True
                break
    assert broken_off
    assert told.is_set()


def test_what_is_there_or_was_begun_by_its_digest_needs_no_more_room(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = folder / "notes.txt"
    data, refused = notes.read_bytes(), threading.Event()
    ask, hashed = Uploader.ask, Uploader.hashed

    def asked(self: Uploader, method: str, url: str, **options: Any) -> Any:
        try:
            return ask(self, method, url, **options)
        except NoRoom:
            refused.set()
            raise

    def later(self: Uploader, path: Path, broken: threading.Event | None = None) -> tuple[str, int]:
        assert broken is None or refused.wait(30), "it was refused before its digest was known"
        return hashed(self, path, broken)

    monkeypatch.setattr(Uploader, "ask", asked)
    monkeypatch.setattr(Uploader, "hashed", later)
    room = {"TRIMTAB_REGISTRY_UPLOADS_BYTES": str(2 * (len(data) + MIB))}
    with RegistryProcess(tmp_path / "data", room) as full:

        def begin(of: bytes) -> None:
            url = f"{full.url}/mlops/blobs/{hashlib.sha256(of).hexdigest()}"
            sent = httpx.put(url, content=of[:MIB], headers={"Upload-Length": str(len(data))}, trust_env=False)
            assert sent.status_code == 200

        begin(data)
        assert kept(register(full.url, folder))["notes.txt"] == sha256(notes)
        begin(os.urandom(MIB))
        refused.clear()
        os.utime(notes, ns=(0, 1))
        assert not register(full.url, folder)["created"]
        refused.clear()
        notes.write_bytes(os.urandom(len(data) // 2).hex().encode())
        with pytest.raises(NoRoom, match="TRIMTAB_REGISTRY_UPLOADS_BYTES"):
            register(full.url, folder)


def test_pieces_by_hand(registry: RegistryProcess) -> None:
    data = os.urandom(3 * MIB)
    url = f"{registry.url}/mlops/blobs/named/{'ab' * 32}"
    headers = {"Upload-Length": str(len(data)), "Content-Type": "application/octet-stream"}

    def put(start: int, end: int) -> httpx.Response:
        return httpx.put(
            url, content=data[start:end], headers={**headers, "Upload-Offset": str(start)}, trust_env=False
        )

    assert httpx.delete(url, trust_env=False).status_code == 404
    assert put(0, MIB).json() == {"sha256": None, "size": 3 * MIB, "received": MIB, "complete": False}
    assert (put(0, MIB).status_code, put(0, MIB).json()["offset"]) == (409, MIB)
    assert progress(url) == (MIB, False)
    assert httpx.delete(url, trust_env=False).status_code == 204
    assert progress(url) == (0, False)
    put(0, MIB)
    whole = put(MIB, 3 * MIB)
    digest = hashlib.sha256(data).hexdigest()
    assert (whole.status_code, whole.json()["sha256"], progress(url)) == (201, digest, (0, True))
    assert progress(f"{registry.url}/mlops/blobs/{digest}") == (3 * MIB, True)
    assert httpx.put(f"{url}0", content=b"x", trust_env=False).status_code == 422


def test_a_name_is_of_a_file_as_it_is(folder: Path) -> None:
    notes = folder / "notes.txt"
    before = name_of(notes)
    assert name_of(folder / ".." / folder.name / "notes.txt") == before
    os.utime(notes, ns=(0, 1))
    assert name_of(notes) != before
