"""Sends a version: the digests first, then only the bytes that the registry lacks, then the version that names them.

A large file is sent while it is hashed (`trimtab.ahead`). A broken connection is gone on with where it broke off, a few
times in a row. Blocking; no file is held in memory.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import Any

import httpx

from trimtab.ahead import LEAST_BYTES, Needless, send_ahead
from trimtab.calls import Upload
from trimtab.direct_upload import send_parts
from trimtab.errors import Conflict, IntegrityFailed, InvalidInput, NoRoom, TrimtabError, Unavailable
from trimtab.sending import body_of
from trimtab.surface import answer_of, redirected, unreachable

MODELS = "/mlops/models"
JSON = {"Content-Type": "application/json"}
PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Between tries that get no further; after the last it is given up."""
BLOCK_BYTES = 256 << 10
CHECK_SECONDS = 900.0
"""How long the registry may take to check what it has: it may read every byte, and opens the graph."""


class Uploader:
    """One upload over `http`, a client of `url` that shows the key. Setting `stop` ends it from another thread."""

    def __init__(self, http: httpx.Client, url: str, upload: Upload, stop: threading.Event | None = None) -> None:
        self.http = http
        self.upload = upload
        self.stop = stop or threading.Event()
        self._url = url
        self._done_bytes = 0
        self._total_bytes = 0
        self._ahead_bytes = 0
        self._begun_anew: set[str] = set()

    def run(self) -> Any:
        """Register the version: its document, and whether it was `created` now. Raises an error of `trimtab.errors`."""
        registry = self._registry()
        files = [self._named(registry, name, path) for name, path in self.upload.files]
        document = body_of({"metadata": dict(self.upload.metadata), "files": files})
        paths = {file["sha256"]: path for file, (_, path) in zip(files, self.upload.files, strict=True)}
        pauses = iter((0.0, *PAUSES_SECONDS))  # the first time something is missing is as it should be
        while True:
            try:
                answer = self.request(
                    "POST", f"{registry}{MODELS}", content=document, headers=JSON, timeout=CHECK_SECONDS
                )
                return {**answer_of(answer), "created": answer.status_code == HTTPStatus.CREATED}
            except Conflict as error:
                if error.facts.get("code") != "missing-blobs":
                    raise
                self._pause(next(pauses, None), error)
                missing = {blob["sha256"]: blob for blob in error.facts["missing"]}
            except NoRoom:
                raise
            except Unavailable as error:  # among others: what was sent is being collected as garbage this moment
                self._pause(next(pauses, None), error)
                continue
            self._done_bytes = self._ahead_bytes
            self._total_bytes = self._ahead_bytes + sum(blob["size"] for blob in missing.values())
            for sha256, blob in missing.items():
                url = f"{registry}/mlops/blobs/{sha256}"
                if not (self.upload.direct and blob["size"] and send_parts(self, url, paths[sha256], blob["size"])):
                    self.send(url, paths[sha256], blob["size"], blob["received"])
                self._done_bytes += blob["size"]

    def ask(self, method: str, url: str, **options: Any) -> Any:
        """The answer's JSON. Raises an error of `trimtab.errors`."""
        return answer_of(self.request(method, url, **options))

    def blocks(self, path: Path, offset: int, size: int) -> Iterator[bytes]:
        """`size` bytes of a file from `offset` on."""
        with _opened(path) as file:
            file.seek(offset)
            while size:
                block = file.read(min(BLOCK_BYTES, size))
                if not block:
                    raise InvalidInput(f"{path} became shorter while it was sent: register it once more")
                if self.stop.is_set():
                    raise Unavailable("the upload was stopped; registering once more goes on with it")
                yield block
                size -= len(block)

    def tell(self, sent_bytes: int) -> None:
        """So many bytes of the present file are on their way."""
        if self.upload.on_progress is not None:
            self.upload.on_progress(self._done_bytes + sent_bytes, self._total_bytes)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """The answer, whatever it says. Raises `Unavailable` when there is none."""
        try:
            return self.http.request(method, url, **options)
        except httpx.HTTPError as error:
            raise unreachable(self._url, error) from error

    def progress_of(self, url: str) -> tuple[int, bool] | None:
        """How much of a blob has come, and whether that is all; None when the registry does not say now."""
        try:
            answer = self.request("HEAD", url)
        except Unavailable:
            return None
        if answer.status_code != 200:
            return None
        return int(answer.headers["upload-offset"]), answer.headers["upload-complete"] == "?1"

    def hashed(self, path: Path, broken: threading.Event | None = None) -> tuple[str, int]:
        """SHA-256 and size of a file. Raises `Unavailable` as soon as the upload is stopped or `broken`."""
        digest, size = hashlib.sha256(), 0
        buffer = bytearray(1 << 20)
        with _opened(path) as file:
            while count := file.readinto(buffer):
                if self.stop.is_set() or (broken is not None and broken.is_set()):
                    raise Unavailable("the upload was stopped before anything was registered")
                digest.update(memoryview(buffer)[:count])
                size += count
        return digest.hexdigest(), size

    def send(self, url: str, path: Path, size: int, offset: int, needless: threading.Event | None = None) -> None:
        """Send a file to `url` from `offset` on, until all has come. Raises `Needless` once that is set."""
        pauses, furthest = iter(PAUSES_SECONDS), offset
        while True:
            try:
                if self._put(url, path, size, offset, needless):
                    return
                offset = size  # it came, and the registry says that it is not all: ask how far it is
            except IntegrityFailed:
                if url in self._begun_anew:
                    raise IntegrityFailed(f"{path} changes while it is sent: register it once more") from None
                self._begun_anew.add(url)
                offset = 0
                continue
            except Conflict as error:
                if error.facts.get("code") not in ("wrong-offset", "being-written"):
                    raise
                self._pause(next(pauses, None), error)
            except NoRoom:
                raise
            except Unavailable as error:
                self._pause(next(pauses, None), error)
            offset, complete = self.progress_of(url) or (offset, False)
            if complete:
                return
            if offset > furthest:
                furthest, pauses = offset, iter(PAUSES_SECONDS)

    def _put(self, url: str, path: Path, size: int, offset: int, needless: threading.Event | None) -> bool:
        """Send a file from `offset` on; whether it is complete now."""

        def told() -> Iterator[bytes]:
            sent = offset
            for block in self.blocks(path, offset, size - offset):
                if needless is not None and needless.is_set():
                    raise Needless
                yield block
                sent += len(block)
                self.tell(sent)

        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size - offset),
            "Upload-Offset": str(offset),
            "Upload-Length": str(size),
        }
        return bool(self.ask("PUT", url, content=told(), headers=headers, timeout=CHECK_SECONDS)["complete"])

    def _registry(self) -> str:
        """Where uploads go: asked for without a body, since the gateway only says who takes them (307)."""
        target = redirected(self._url, self.request("POST", MODELS, content=b""))
        if target is None:
            return self._url.rstrip("/")
        if not target.endswith(MODELS):
            raise Unavailable(f"{self._url} sends uploads to {target}, which is no registry: give its url")
        return target.removesuffix(MODELS)

    def _named(self, registry: str, name: str, path: Path) -> dict[str, Any]:
        with _opened(path):
            size = path.stat().st_size
        if self.upload.direct or size < LEAST_BYTES:
            sha256, size = self.hashed(path)
            return {"path": name, "size": size, "sha256": sha256}
        self._done_bytes = self._ahead_bytes
        self._total_bytes = self._ahead_bytes + size
        self._ahead_bytes += size
        return {"path": name, "size": size, "sha256": send_ahead(self, registry, path, size)}

    def _pause(self, seconds: float | None, error: TrimtabError) -> None:
        if seconds is None or self.stop.wait(seconds):
            raise error


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    """The file to read. Raises `InvalidInput` when it can't be read, then or later."""
    try:
        with path.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise InvalidInput(f"{path} can't be read ({error.strerror or error})") from error
