"""The broker's jars: pinned, verified, never fetched when that is not allowed."""

import gc
import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trimtab.local.broker_jars import KAFKA_VERSION, Jar, ensure_jars, missing_jars, parse_pins, pinned_jars
from trimtab.local.errors import JarsMissing


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Tests read no access log."""


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A Maven repository is a directory behind HTTP: this one's base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_pins_are_kafka_and_what_it_needs() -> None:
    jars = pinned_jars()
    assert len(jars) == 45
    assert len({jar.filename for jar in jars}) == 45
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in map(str, jars)
    assert sum(jar.size_bytes for jar in jars) < 50_000_000


@pytest.mark.parametrize("line", ["abc 1 g:a:1", "00 1 g:a:1", "f" * 64 + " 1 g:a", "f" * 64 + " x g:a:1"])
def test_a_malformed_pin_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_pins(line)


def test_a_jar_that_is_not_the_pinned_one_is_refused_by_name(tmp_path: Path) -> None:
    good = b"a jar"
    jar = Jar("org.example", "thing", "1.0", len(good), hashlib.sha256(good).hexdigest())
    path = tmp_path / jar.filename
    assert missing_jars(tmp_path, [jar]) == [jar]
    path.write_bytes(good)
    assert missing_jars(tmp_path, [jar]) == []
    path.write_bytes(good + b"!")
    with pytest.raises(JarsMissing, match=r"thing-1\.0\.jar is not the pinned org\.example:thing:1\.0.*delete it"):
        missing_jars(tmp_path, [jar])


def test_offline_with_an_empty_cache_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(JarsMissing, match=r"45 of the broker's 45 jars.*trimtab fetch-broker DIR.*copy"):
        ensure_jars(tmp_path / "none", offline=True)
    assert not (tmp_path / "none").exists()


def test_a_missing_jar_is_taken_from_the_mirror_and_verified(tmp_path: Path, broker_jars: Path) -> None:
    cache, mirror = tmp_path / "cache", tmp_path / "mirror"
    shutil.copytree(broker_jars, cache)
    jar = min(pinned_jars(), key=lambda jar: jar.size_bytes)
    (cache / jar.filename).unlink()
    place = mirror / jar.group.replace(".", "/") / jar.artifact / jar.version
    place.mkdir(parents=True)
    shutil.copy(broker_jars / jar.filename, place)
    seen: list[tuple[int, int]] = []
    with serving(mirror) as url:
        ensure_jars(cache, mirror_url=url, progress=lambda done, total: seen.append((done, total)))
    assert (cache / jar.filename).read_bytes() == (broker_jars / jar.filename).read_bytes()
    assert seen == [(jar.size_bytes, jar.size_bytes)]


def test_a_wrong_download_is_refused_and_leaves_nothing(tmp_path: Path, broker_jars: Path) -> None:
    cache, mirror = tmp_path / "cache", tmp_path / "mirror"
    shutil.copytree(broker_jars, cache)
    jar = min(pinned_jars(), key=lambda jar: jar.size_bytes)
    (cache / jar.filename).unlink()
    place = mirror / jar.group.replace(".", "/") / jar.artifact / jar.version
    place.mkdir(parents=True)
    (place / jar.filename).write_bytes(b"not it")
    with serving(mirror) as url, pytest.raises(JarsMissing, match="is not the pinned file"):
        ensure_jars(cache, mirror_url=url)
    assert not (cache / jar.filename).exists()
    assert not list(cache.glob(".incoming-*"))


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # jgo leaves the answers it refuses unread
def test_a_mirror_without_the_jar_is_one_sentence(tmp_path: Path) -> None:
    with serving(tmp_path) as url, pytest.raises(JarsMissing, match="could not be downloaded") as caught:
        ensure_jars(tmp_path / "cache", mirror_url=url)
    detail = caught.value.detail
    assert "\n" not in detail
    assert "TRIMTAB_MAVEN_MIRROR" in detail
    del caught
    gc.collect()
