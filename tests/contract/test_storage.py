"""What every artifact store does, on a local folder and on a real S3 server."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from services.kernel.errors import InvalidInput, Misconfigured, NotFound, TooLarge, Unavailable
from services.kernel.settings import Settings
from services.kernel.storage import ArtifactStore, open_store
from services.kernel.storage.s3 import PART_BYTES
from tests.contract.stores import s3_settings
from tests.object_store import S3Server

BAD_KEYS = [
    "",
    "/etc/passwd",
    "..",
    "a/../b",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "a\0b",
    "a/%2e%2e/b",
    ".incoming/x",
    "a/.hidden",
    "file:///etc/passwd",
    "naïve",
    "a b",
    "x" * 901,
    "a/" + "x" * 201,
]


def test_bytes_come_back(store: ArtifactStore) -> None:
    store.put_bytes("models/a/model.onnx", b"weights")
    assert store.get_bytes("models/a/model.onnx") == b"weights"
    assert store.stat("models/a/model.onnx").size == 7
    assert store.exists("models/a/model.onnx")


def test_an_empty_object_is_an_object(store: ArtifactStore) -> None:
    store.put_bytes("empty", b"")
    assert store.get_bytes("empty") == b""
    assert store.stat("empty").size == 0


def test_a_put_replaces(store: ArtifactStore) -> None:
    store.put_bytes("a", b"the first, longer")
    store.put_bytes("a", b"the second")
    assert store.get_bytes("a") == b"the second"


def test_a_file_larger_than_a_part_comes_back_whole(store: ArtifactStore, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1 << 20) * ((2 * PART_BYTES >> 20) + 1) + b"tail")
    store.put_file("big/file.bin", source)
    assert store.stat("big/file.bin").size == source.stat().st_size
    store.fetch("big/file.bin", target)
    assert target.read_bytes() == source.read_bytes()
    with store.open("big/file.bin") as reader:
        assert reader.read(1000) == source.read_bytes()[:1000]
        assert reader.read() == source.read_bytes()[1000:]


def test_what_is_not_there(store: ArtifactStore, tmp_path: Path) -> None:
    store.put_bytes("folder/file", b"x")
    for key in ("nothing", "folder", "folder/file/below"):
        assert not store.exists(key)
        for read in (store.get_bytes, store.stat, store.open, lambda k: store.fetch(k, tmp_path / "out")):
            with pytest.raises(NotFound, match=key):
                read(key)
        store.delete(key)
    assert store.exists("folder/file")
    assert not (tmp_path / "out").exists()


def test_delete(store: ArtifactStore) -> None:
    store.put_bytes("a/b/c", b"x")
    store.delete("a/b/c")
    assert not store.exists("a/b/c")
    assert list(store.list()) == []


def test_list_is_by_folder_and_complete(store: ArtifactStore) -> None:
    keys = ["a-b/x", "a/x", "a/x-y/z", "a/xq/z", "ab/x", "b", "models/m/1/manifest.json"]
    for key in keys:
        store.put_bytes(key, key.encode())
    found = sorted(store.list(), key=lambda item: item.key)
    assert [item.key for item in found] == sorted(keys)
    assert [item.size for item in found] == [len(key) for key in sorted(keys)]
    assert all(abs(datetime.now(UTC) - item.modified) < timedelta(minutes=5) for item in found)
    assert sorted(item.key for item in store.list("a")) == ["a/x", "a/x-y/z", "a/xq/z"]
    assert set(store.list("a/")) == set(store.list("a"))
    assert list(store.list("b")) == []
    assert list(store.list("none")) == []


def test_list_pages_beyond_a_thousand(store: ArtifactStore) -> None:
    for number in range(1_050):
        store.put_bytes(f"many/{number:05d}", b"")

    assert sorted(item.key for item in store.list("many")) == [f"many/{number:05d}" for number in range(1_050)]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_hostile_keys_are_refused(store: ArtifactStore, key: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for use in (
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_file(key, source),
        lambda: store.get_bytes(key),
        lambda: store.fetch(key, tmp_path / "out"),
        lambda: store.open(key),
        lambda: store.exists(key),
        lambda: store.stat(key).size,
        lambda: store.delete(key),
    ):
        with pytest.raises(InvalidInput):
            use()
    if key not in ("", "a/"):  # as a prefix these two are the whole store and the folder `a`
        with pytest.raises(InvalidInput):
            list(store.list(key))


def test_get_bytes_stops_at_its_limit(store: ArtifactStore) -> None:
    store.put_bytes("a", b"12345")
    assert store.get_bytes("a", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge):
        store.get_bytes("a", max_bytes=4)


def test_readers_see_whole_objects_while_writers_replace(store: ArtifactStore) -> None:
    values = [bytes([letter]) * 200_000 for letter in b"ab"]
    store.put_bytes("contended", values[0])
    seen: set[bytes] = set()

    def read() -> None:
        for _ in range(20):
            seen.add(store.get_bytes("contended"))

    def write() -> None:
        for number in range(20):
            store.put_bytes("contended", values[number % 2])

    threads = [threading.Thread(target=target) for target in (read, read, write, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(values)
    assert seen


class TestLocal:
    def test_a_link_out_of_the_store_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        store = open_store(Settings(storage_dir=tmp_path / "artifacts"))
        (tmp_path / "artifacts" / "link").symlink_to(tmp_path / "secret")
        (tmp_path / "artifacts" / "folder").symlink_to(tmp_path)
        for key in ("link", "folder/secret"):
            with pytest.raises(NotFound):
                store.get_bytes(key)
        with pytest.raises(NotFound):
            store.put_bytes("folder/new", b"x")
        assert list(store.list()) == []

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        store = open_store(Settings(storage_dir=tmp_path / "artifacts"))
        with pytest.raises(FileNotFoundError):
            store.put_file("a", tmp_path / "none")
        assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []

    def test_a_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(Misconfigured, match="TRIMTAB_STORAGE_DIR"):
            open_store(Settings(storage_dir=tmp_path / "file" / "artifacts"))


class TestS3:
    def test_no_such_bucket(self, s3_server: S3Server) -> None:
        with pytest.raises(Misconfigured, match="no bucket 'missing-bucket'"):
            open_store(s3_settings(s3_server, "missing-bucket"))

    def test_wrong_credentials(self, s3_server: S3Server, s3_bucket: str) -> None:
        with pytest.raises(Misconfigured, match="AWS_SECRET_ACCESS_KEY"):
            open_store(s3_settings(s3_server, s3_bucket, s3_secret_access_key="wrong"))
        with pytest.raises(Misconfigured, match="AWS_ACCESS_KEY_ID"):
            open_store(s3_settings(s3_server, s3_bucket, s3_access_key_id="nobody"))

    def test_no_server(self, s3_server: S3Server, s3_bucket: str) -> None:
        with pytest.raises(Unavailable, match="no S3 server answers"):
            open_store(s3_settings(s3_server, s3_bucket, s3_endpoint_url="http://127.0.0.1:1"))

    def test_not_a_url(self, s3_server: S3Server, s3_bucket: str) -> None:
        with pytest.raises(Misconfigured, match="not a URL"):
            open_store(s3_settings(s3_server, s3_bucket, s3_endpoint_url="weed"))

    def test_no_bucket_named(self) -> None:
        with pytest.raises(Misconfigured, match="S3_BUCKET"):
            open_store(Settings(model_storage_type="s3"))


def test_a_file_is_taken(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for content in (b"the first", b"the second, longer"):
        source.write_bytes(content)
        store.take_file("blobs/x", source)
        assert not source.exists()
        assert store.get_bytes("blobs/x") == content


def test_a_taken_file_is_young(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"bytes")
    os.utime(source, (0, 0))
    store.take_file("blobs/x", source)
    assert datetime.now(UTC) - store.stat("blobs/x").modified < timedelta(minutes=5)


def test_a_file_of_another_filesystem_is_taken(store: ArtifactStore) -> None:
    memory = Path("/dev/shm") / f"trimtab-{os.getpid()}"
    memory.write_bytes(b"bytes")
    try:
        store.take_file("blobs/x", memory)
        assert not memory.exists()
    finally:
        memory.unlink(missing_ok=True)
    assert store.get_bytes("blobs/x") == b"bytes"


def test_a_file_that_may_be_read_in_place(store: ArtifactStore) -> None:
    store.put_bytes("a/b", b"bytes")
    path = store.path_of("a/b")
    assert path is None or path.read_bytes() == b"bytes"
    assert (path is None) == (store.direct is not None)
    with pytest.raises(NotFound):
        store.path_of("a/c")


class TestDirect:
    """Uploads past us, to a real S3 server."""

    @pytest.fixture
    def s3(self, s3_server: S3Server, s3_bucket: str) -> ArtifactStore:
        return open_store(s3_settings(s3_server, s3_bucket))

    @staticmethod
    def put(url: str, data: bytes) -> httpx.Response:
        return httpx.put(url, content=data, trust_env=False)

    def test_parts_become_an_object(self, s3: ArtifactStore) -> None:
        direct = s3.direct
        assert direct is not None
        contents = [os.urandom(PART_BYTES), os.urandom(1000)]
        upload = direct.begin("incoming/x")
        for number, content in enumerate(contents, 1):
            url = direct.url_of("incoming/x", upload, number, len(content), 600)
            assert self.put(url, content).status_code == 200
        sent = direct.sent("incoming/x", upload)
        assert [sent[number].size for number in (1, 2)] == [PART_BYTES, 1000]
        assert not s3.exists("incoming/x")
        direct.complete("incoming/x", upload, {number: part.etag for number, part in sent.items()})
        direct.copy("incoming/x", "blobs/x")
        assert s3.get_bytes("blobs/x") == b"".join(contents)
        with pytest.raises(NotFound):
            direct.sent("incoming/x", upload)

    def test_a_url_takes_what_was_asked_for_and_nothing_else(self, s3: ArtifactStore) -> None:
        direct = s3.direct
        assert direct is not None
        upload = direct.begin("incoming/x")
        url = direct.url_of("incoming/x", upload, 1, 100, 600)
        for refused in (url, url.replace("partNumber=1", "partNumber=2"), url.replace("incoming/x", "blobs/x")):
            assert self.put(refused, bytes(101)).status_code == 403
        assert self.put(url, bytes(100)).status_code == 200
        with pytest.raises(InvalidInput, match="send them again"):
            direct.complete("incoming/x", upload, {1: "0" * 32})
        direct.abort("incoming/x", upload)
        direct.abort("incoming/x", upload)
        assert self.put(url, bytes(100)).status_code == 404
