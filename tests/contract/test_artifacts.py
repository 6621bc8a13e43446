"""Versions in the store and in the local cache: whole, verified at every load, or refused."""

import gzip
import hashlib
import io
import json
import os
import pickle
import threading
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.features import DType, Feature, Output, Signature
from schemas.manifest import MANIFEST_NAME
from services.kernel import artifacts
from services.kernel.artifacts import (
    blob_key,
    build_manifest,
    discard_version,
    file_sha256,
    keep_blob,
    load_version,
    store_version,
    write_manifest,
)
from services.kernel.errors import IntegrityFailed, InvalidInput, NotFound, TooLarge, Unavailable, UnsupportedMedia
from services.kernel.storage import ArtifactStore
from tests.waiting import until_sync

SIGNATURE = Signature(
    inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=(Output(name="y", dtype=DType.FLOAT32),)
)
PREFIX = "models/threat-classifier/0001"


def make_version(directory: Path, weights: bytes = b"\x08\x0aweights") -> tuple[Path, str]:
    """A directory with a manifest, and its digest."""
    (directory / "extra").mkdir(parents=True)
    (directory / "model.onnx").write_bytes(weights)
    (directory / "extra" / "notes.md").write_text("what was learnt")
    manifest = build_manifest(directory, model_id="threat-classifier", framework="onnx", signature=SIGNATURE)
    return directory, write_manifest(directory, manifest)


@pytest.fixture
def version(tmp_path: Path) -> tuple[Path, str]:
    return make_version(tmp_path / "version")


def test_a_version_comes_back_whole(store: ArtifactStore, version: tuple[Path, str], tmp_path: Path) -> None:
    directory, digest = version
    assert store_version(store, directory, PREFIX) == digest
    loaded = load_version(store, PREFIX, tmp_path / "cache", digest)
    for name in ("model.onnx", "extra/notes.md", MANIFEST_NAME):
        assert (loaded / name).read_bytes() == (directory / name).read_bytes()
    assert load_version(store, PREFIX, tmp_path / "cache", digest) == loaded


def test_a_version_without_its_manifest_is_not_there(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path
) -> None:
    directory, digest = version
    store.put_file(f"{PREFIX}/model.onnx", directory / "model.onnx")
    with pytest.raises(NotFound):
        load_version(store, PREFIX, tmp_path / "cache", digest)


def test_a_discarded_version_is_gone(store: ArtifactStore, version: tuple[Path, str]) -> None:
    store_version(store, version[0], PREFIX)
    discard_version(store, PREFIX)
    assert list(store.list("models")) == []
    with pytest.raises(NotFound):
        load_version(store, PREFIX, Path("nowhere"), version[1])


def test_the_same_bytes_are_stored_once(store: ArtifactStore, tmp_path: Path) -> None:
    first, second = make_version(tmp_path / "first"), make_version(tmp_path / "second")
    store_version(store, first[0], PREFIX)
    store_version(store, second[0], "models/other/0001")
    blobs = [item.key for item in store.list("blobs")]
    assert sorted(blobs) == sorted(blob_key(file_sha256(first[0] / name)) for name in ("model.onnx", "extra/notes.md"))
    discard_version(store, PREFIX)
    assert load_version(store, "models/other/0001", tmp_path / "cache", second[1]).is_dir()


def test_a_version_stored_beside_its_manifest_is_read(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path
) -> None:
    directory, digest = version
    for name in ("model.onnx", "extra/notes.md", MANIFEST_NAME):
        store.put_file(f"{PREFIX}/{name}", directory / name)
    loaded = load_version(store, PREFIX, tmp_path / "cache", digest)
    assert (loaded / "model.onnx").read_bytes() == (directory / "model.onnx").read_bytes()


def test_a_used_blob_becomes_young(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert not keep_blob(store, sha256, 7)
    store.put_bytes(blob_key(sha256), b"weights")
    before = store.stat(blob_key(sha256)).modified
    monkeypatch.setattr(artifacts, "TOUCH_AFTER", timedelta(0))

    def touched() -> bool:
        assert keep_blob(store, sha256, 7)
        return store.stat(blob_key(sha256)).modified > before

    until_sync(touched)
    assert store.get_bytes(blob_key(sha256)) == b"weights"
    assert not keep_blob(store, sha256, 8)


@pytest.mark.parametrize("name", ["model.onnx", "extra/notes.md", MANIFEST_NAME])
@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "remove"])
def test_damage_in_the_store_is_noticed(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path, name: str, damage: str
) -> None:
    directory, digest = version
    store_version(store, directory, PREFIX)
    key = f"{PREFIX}/{name}" if name == MANIFEST_NAME else blob_key(file_sha256(directory / name))
    whole = store.get_bytes(key)
    if damage == "remove":
        store.delete(key)
    else:
        store.put_bytes(
            key,
            {"flip": bytes([whole[0] ^ 1]) + whole[1:], "truncate": whole[:-1], "append": whole + b"\0"}[damage],
        )
    expected = NotFound if (damage, name) == ("remove", MANIFEST_NAME) else IntegrityFailed
    with pytest.raises(expected):
        load_version(store, PREFIX, tmp_path / "cache", digest)
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def _flip(cached: Path) -> None:
    path = cached / "model.onnx"
    stat = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _plant(cached: Path) -> None:
    (cached / "weights.bin").write_bytes(b"external data")


def _link(cached: Path) -> None:
    (cached / "model.onnx").rename(cached.parent / "moved.onnx")
    (cached / "model.onnx").symlink_to(cached.parent / "moved.onnx")


def _remove(cached: Path) -> None:
    (cached / MANIFEST_NAME).unlink()


@pytest.mark.parametrize("damage", [_flip, _plant, _link, _remove])
def test_a_damaged_cache_is_fetched_anew(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    directory, digest = version
    store_version(store, directory, PREFIX)
    damage(load_version(store, PREFIX, tmp_path / "cache", digest))
    loaded = load_version(store, PREFIX, tmp_path / "cache", digest)
    assert (loaded / "model.onnx").read_bytes() == (directory / "model.onnx").read_bytes()
    assert not (loaded / "model.onnx").is_symlink()
    assert sorted(path.name for path in loaded.iterdir()) == ["extra", MANIFEST_NAME, "model.onnx"]


def test_many_loads_at_once(store: ArtifactStore, version: tuple[Path, str], tmp_path: Path) -> None:
    directory, digest = version
    store_version(store, directory, PREFIX)
    loaded: list[Path] = []
    threads = [
        threading.Thread(target=lambda: loaded.append(load_version(store, PREFIX, tmp_path / "cache", digest)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [tmp_path / "cache" / digest] * 8
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [digest]


def test_a_version_over_the_limit_is_not_fetched(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path
) -> None:
    directory, digest = version
    store_version(store, directory, PREFIX)
    with pytest.raises(TooLarge):
        load_version(store, PREFIX, tmp_path / "cache", digest, max_bytes=10)


def test_a_cache_that_cannot_be_written_is_said(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path
) -> None:
    directory, digest = version
    store_version(store, directory, PREFIX)
    (tmp_path / "cache").write_bytes(b"in the way")
    with pytest.raises(Unavailable, match="cannot be written"):
        load_version(store, PREFIX, tmp_path / "cache", digest)


@pytest.mark.parametrize("digest", ["", "../../etc", "A" * 64, "0" * 63])
def test_a_digest_is_a_digest(store: ArtifactStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(InvalidInput):
        load_version(store, PREFIX, tmp_path / "cache", digest)


@pytest.mark.parametrize(
    "path", ["../evil", "/etc/passwd", "a//b", ".hidden", "a\\b", MANIFEST_NAME, "a/./b", "%2e%2e/a"]
)
def test_a_manifest_with_a_hostile_path_is_refused(
    store: ArtifactStore, version: tuple[Path, str], tmp_path: Path, path: str
) -> None:
    document = json.loads((version[0] / MANIFEST_NAME).read_bytes())
    document["files"].append({"path": path, "size": 1, "sha256": "0" * 64})
    data = json.dumps(document).encode()
    store_version(store, version[0], PREFIX)
    store.put_bytes(f"{PREFIX}/{MANIFEST_NAME}", data)
    with pytest.raises(IntegrityFailed):
        load_version(store, PREFIX, tmp_path / "cache", hashlib.sha256(data).hexdigest())
    assert not (tmp_path / "evil").exists()


class TestBuilding:
    """What may not become a version at all."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        (tmp_path / "model.onnx").write_bytes(b"\x08\x0aweights")
        return tmp_path

    def build(self, directory: Path) -> None:
        build_manifest(directory, model_id="m", framework="onnx", signature=SIGNATURE)

    def test_plain_files_are_taken(self, directory: Path) -> None:
        (directory / "README.md").write_text("Grüße " * 20_000)
        (directory / "facts.json").write_text('{"a": 1}')
        self.build(directory)

    def test_links_are_refused(self, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        outside = tmp_path_factory.mktemp("outside") / "secret.json"
        outside.write_text("{}")
        (directory / "facts.json").symlink_to(outside)
        with pytest.raises(InvalidInput, match="link"):
            self.build(directory)

    def test_linked_folders_are_refused(self, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        (directory / "folder").symlink_to(tmp_path_factory.mktemp("outside"))
        with pytest.raises(InvalidInput, match="link"):
            self.build(directory)

    def test_pipes_are_refused(self, directory: Path) -> None:
        os.mkfifo(directory / "facts.json")
        with pytest.raises(InvalidInput, match="special"):
            self.build(directory)

    @pytest.mark.parametrize(
        "name", ["model.onnx", "facts.json", "model.keras", "README.md", "model.pkl", "baseline.parquet"]
    )
    @pytest.mark.parametrize("protocol", range(6))
    def test_pickles_are_refused_under_any_name(self, directory: Path, name: str, protocol: int) -> None:
        (directory / name).write_bytes(pickle.dumps(Path("x"), protocol=protocol))
        with pytest.raises(UnsupportedMedia, match="pickle"):
            self.build(directory)

    @pytest.mark.parametrize("name", ["model.onnx", "facts.json", "README.md", "weights.joblib"])
    @pytest.mark.parametrize("wrap", [gzip.compress, zlib.compress])
    def test_wrapped_pickles_are_refused(self, directory: Path, name: str, wrap: Callable[[bytes], bytes]) -> None:
        (directory / name).write_bytes(wrap(pickle.dumps(Path("x"))))
        with pytest.raises(UnsupportedMedia, match="may hide anything"):
            self.build(directory)

    def test_a_torch_style_zip_is_refused(self, directory: Path) -> None:
        import zipfile

        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Path("x")))
        (directory / "model.onnx").write_bytes(body.getvalue())
        with pytest.raises(UnsupportedMedia, match="zip"):
            self.build(directory)

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("facts.json", b"{"),
            ("facts.json", b"[" * 100_000),
            ("facts.json", b'{"a": NaN}'),
            ("baseline.parquet", b"PAR1 and then nothing"),
            ("model.onnx", b""),
            ("README.md", b"\xff\xfe\x00"),
            ("run.sh", b"#!/bin/sh\n"),
            ("libx.so", b"\x7fELF"),
        ],
    )
    def test_what_is_not_what_its_name_says(self, directory: Path, name: str, data: bytes) -> None:
        (directory / name).write_bytes(data)
        with pytest.raises(InvalidInput):
            self.build(directory)

    def test_without_a_model(self, directory: Path) -> None:
        (directory / "model.onnx").unlink()
        with pytest.raises(InvalidInput, match=r"model\.onnx"):
            self.build(directory)

    def test_changed_after_the_manifest_was_made(
        self, directory: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        from services.kernel.storage.local import LocalStore

        manifest = build_manifest(directory, model_id="m", framework="onnx", signature=SIGNATURE)
        write_manifest(directory, manifest)
        (directory / "model.onnx").write_bytes(b"\x08\x0aWEIGHTS")
        store = LocalStore(tmp_path_factory.mktemp("store"))
        with pytest.raises(IntegrityFailed):
            store_version(store, directory, PREFIX)
        assert list(store.list()) == []


def test_nothing_of_s3_is_imported_by_the_library_part() -> None:
    import subprocess
    import sys

    code = "import sys, services.kernel.artifacts; sys.exit('boto3' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
