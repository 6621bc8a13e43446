"""The embedded broker's jars: what they must be, where they are kept, how they get there.

`jars.txt` beside this file pins each jar by size and SHA-256. Missing ones are fetched by `jgo` (Maven's
layout in pure Python, no Java needed) into a per-user cache, each verified before it takes its name
there, so a cache never holds half a jar. Every start verifies them all again: 45 jars, 45 MB, about a
tenth of a second.
"""

import hashlib
import importlib.resources
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kernel.artifacts import file_sha256
from trimtab.local.errors import JarsMissing

KAFKA_VERSION = "4.4.0"
DOWNLOAD_THREADS = 6
DOWNLOAD_TIMEOUT_SECONDS = 30

Progress = Callable[[int, int], None]
"""Called with (bytes here so far, bytes in all) while jars arrive."""


@dataclass(frozen=True)
class Jar:
    """One pinned jar: its Maven coordinate, its size in bytes and its SHA-256 in hexadecimal."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's file name, as in any Maven repository."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def parse_pins(text: str) -> list[Jar]:
    """The jars of a pin file: a line `SHA-256 bytes group:artifact:version` each; `#` starts a comment.

    Raises:
        ValueError: for a line of another form.
    """
    jars = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        sha256, size_bytes, coordinate = line.split()
        group, artifact, version = coordinate.split(":")
        if len(bytes.fromhex(sha256)) != hashlib.sha256().digest_size:
            raise ValueError(f"not a SHA-256: {sha256}")
        jars.append(Jar(group, artifact, version, int(size_bytes), sha256))
    return jars


def pinned_jars() -> list[Jar]:
    """The jars this version of Trimtab runs its broker on."""
    return parse_pins(importlib.resources.files(__package__).joinpath("jars.txt").read_text("utf-8"))


def jar_cache(cache_dir: Path) -> Path:
    """Where the jars lie under the user's cache directory `cache_dir`."""
    return cache_dir / f"kafka-{KAFKA_VERSION}"


def missing_jars(directory: Path, jars: list[Jar]) -> list[Jar]:
    """Those of `jars` that are not in `directory`.

    Raises:
        JarsMissing: if one is there but is not the pinned file.
    """
    missing = []
    for jar in jars:
        path = directory / jar.filename
        if not path.exists():
            missing.append(jar)
        elif file_sha256(path) != jar.sha256:
            raise JarsMissing(f"{path} is not the pinned {jar} (its SHA-256 differs); delete it and start again.")
    return missing


def ensure_jars(
    directory: Path, *, offline: bool = False, mirror_url: str | None = None, progress: Progress | None = None
) -> Path:
    """Make `directory` hold every pinned jar, verified, and return it.

    Args:
        directory: where the jars lie, or shall lie; made if need be.
        offline: never use the network.
        mirror_url: a Maven repository to use instead of Maven Central.
        progress: told of the bytes as they arrive.

    Raises:
        JarsMissing: if a jar is not the pinned one, cannot be downloaded, or is absent and `offline` is set.
    """
    jars = pinned_jars()
    missing = missing_jars(directory, jars)
    if not missing:
        return directory
    if offline:
        raise JarsMissing(
            f"{len(missing)} of the broker's {len(jars)} jars are not in {directory} and this is offline;"
            f" run 'trimtab fetch-broker DIR' where there is a network and copy what is in DIR to {directory}."
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=directory) as incoming:
            _download(missing, Path(incoming), directory, mirror_url, progress)
    except OSError as error:
        raise JarsMissing(
            f"The broker's jars could not be written to {directory} ({error.strerror or error}); set"
            " TRIMTAB_CACHE_DIR to a directory with 50 MB of room that you may write to."
        ) from error
    return directory


def _download(
    jars: list[Jar], incoming: Path, directory: Path, mirror_url: str | None, progress: Progress | None
) -> None:
    import truststore

    truststore.inject_into_ssl()  # before jgo: the system's certificate authorities, company proxies included
    try:
        _download_all(jars, incoming, directory, mirror_url, progress)
    finally:
        truststore.extract_from_ssl()  # boto3 in the same process would recurse for ever


def _download_all(
    jars: list[Jar], incoming: Path, directory: Path, mirror_url: str | None, progress: Progress | None
) -> None:
    from jgo import MAVEN_CENTRAL_URL, MavenContext

    context = MavenContext(
        repo_cache=incoming,
        remote_repos={"central": (mirror_url or MAVEN_CENTRAL_URL).rstrip("/")},
        timeout=DOWNLOAD_TIMEOUT_SECONDS,
    )
    total_bytes = sum(jar.size_bytes for jar in jars)
    done_bytes = 0
    with ThreadPoolExecutor(DOWNLOAD_THREADS, thread_name_prefix="jars") as pool:
        for jar in pool.map(lambda jar: _download_one(jar, context, directory), jars):
            done_bytes += jar.size_bytes
            if progress is not None:
                progress(done_bytes, total_bytes)


def _download_one(jar: Jar, context: Any, directory: Path) -> Jar:
    import requests

    try:
        path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (requests.RequestException, RuntimeError) as error:  # RuntimeError is jgo's "not found"
        raise JarsMissing(
            f"The broker's jar {jar} could not be downloaded ({_reason(error)}); check the network or proxy,"
            " or set TRIMTAB_MAVEN_MIRROR to a Maven repository that you can reach."
        ) from error
    if file_sha256(path) != jar.sha256:
        raise JarsMissing(
            f"The download of {jar} is not the pinned file (its SHA-256 differs), so it was refused; check"
            " the proxy or the Maven mirror and try again."
        )
    os.replace(path, directory / jar.filename)
    return jar


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
