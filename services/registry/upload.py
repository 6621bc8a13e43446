"""A version that arrives over HTTP: `multipart/form-data` streamed to files, in constant memory, bounded.

The part `metadata` is a JSON document; every part with a file name is a file of the version. Nothing is kept in
memory but the part headers and the metadata.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import MAX_FILES
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.storage.keys import checked_key

METADATA = "metadata"
MAX_METADATA_BYTES = 1 << 20
MAX_HEADER_BYTES = 8 << 10
_FLUSH_BYTES = 1 << 20
"""How much is gathered before a thread parses and writes it."""


async def receive(content_type: str, body: AsyncIterator[bytes], directory: Path, max_bytes: int) -> bytes:
    """Write the files of a multipart `body` into `directory`; returns the bytes of the part `metadata`.

    Raises `InvalidInput` (not multipart, cut off, a name that may not be, a part twice) and `TooLarge`.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInput("send multipart/form-data: a part `metadata` (JSON) and the model's files")
    upload = _Upload(options[b"boundary"], directory)
    received = 0
    gathered = bytearray()
    try:
        async for block in body:
            received += len(block)
            if received > max_bytes:
                raise TooLarge(f"the upload is over {max_bytes} bytes: see TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES")
            gathered += block
            if len(gathered) >= _FLUSH_BYTES:
                await asyncio.to_thread(upload.feed, bytes(gathered))
                gathered.clear()
        await asyncio.to_thread(upload.feed, bytes(gathered))
        return upload.finish()
    finally:
        upload.close()


class _Upload:
    """The parser's callbacks: one part after the other, into a file or into the metadata."""

    def __init__(self, boundary: bytes, directory: Path) -> None:
        self._directory = directory
        self._names: set[str] = set()
        self._metadata: bytearray | None = None
        self._file: IO[bytes] | None = None
        self._in_metadata = False
        self._ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_text,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> None:
        """Parse and write `data`. Blocking."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInput(f"the body is not multipart/form-data as it says: {error}") from error

    def finish(self) -> bytes:
        """The metadata, once the closing boundary has been seen."""
        if not self._ended:
            raise InvalidInput("the upload was cut off: its closing boundary is missing")
        if self._metadata is None:
            raise InvalidInput("the part `metadata` (a JSON document) is missing")
        return bytes(self._metadata)

    def close(self) -> None:
        """Close a file that was not finished."""
        if self._file is not None:
            self._file.close()

    def _part_begin(self) -> None:
        self._headers.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._bound_header()

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound_header()

    def _bound_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > MAX_HEADER_BYTES or len(self._headers) > 20:
            raise InvalidInput("the headers of a part are too long")

    def _header_end(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if options.get(b"name") == METADATA.encode():
            if self._metadata is not None:
                raise InvalidInput("the part `metadata` is there twice")
            self._metadata, self._in_metadata = bytearray(), True
            return
        if b"filename" not in options:
            name = options.get(b"name", b"").decode(errors="replace")
            raise InvalidInput(f"the part {name!r} is neither `metadata` nor a file")
        name = checked_key(options[b"filename"].decode(errors="replace"))
        if name in self._names:
            raise InvalidInput(f"the file {name} is there twice")
        if name == MANIFEST_NAME:
            raise InvalidInput(f"the registry writes {MANIFEST_NAME} itself: leave it out")
        if len(self._names) >= MAX_FILES:
            raise InvalidInput(f"a version holds at most {MAX_FILES} files")
        self._names.add(name)
        path = self._directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(f"{name} is a file and a folder of this version at once") from error

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_metadata:
            assert self._metadata is not None
            self._metadata += data[start:end]
            if len(self._metadata) > MAX_METADATA_BYTES:
                raise TooLarge(f"`metadata` is over {MAX_METADATA_BYTES} bytes")
        elif self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _part_end(self) -> None:
        self._in_metadata = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._ended = True
