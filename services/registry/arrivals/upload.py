"""A version that comes over HTTP in one body, streamed to files in constant memory: a multipart form or a tar archive.

Of `multipart/form-data` the part `metadata` is a JSON document, and every part with a file name is a file. Of
`application/x-tar` the first member is `metadata.json`, and every other member is a file. Nothing is kept in memory but
headers and the metadata.
"""

from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.kernel.artifacts import MAX_FILES
from services.kernel.errors import InvalidInput, UnsupportedMedia
from services.registry.arrivals.blocks import pour
from services.registry.arrivals.incoming import Incoming
from services.registry.arrivals.tarball import TarReader

METADATA = "metadata"
METADATA_MEMBER = "metadata.json"
MAX_HEADER_BYTES = 8 << 10


async def receive(
    content_type: str, body: AsyncIterator[bytes], incoming: Incoming, *, max_bytes: int, idle_seconds: float
) -> None:
    """Put what `body` holds into `incoming`.

    Raises `UnsupportedMedia` (neither a form nor a tar archive), `InvalidInput` (cut off, a name that may not be, a
    part twice), `TooLarge` and `SenderGone`.
    """
    kind, options = parse_options_header(content_type)
    reader: _Form | _Tar
    if kind == b"multipart/form-data":
        if b"boundary" not in options:
            raise InvalidInput("multipart/form-data names its boundary: the body cannot be read without")
        reader = _Form(options[b"boundary"], incoming)
    elif kind == b"application/x-tar":
        reader = _Tar(incoming)
    else:
        raise UnsupportedMedia(
            "send application/json (metadata and digests), multipart/form-data (a part `metadata` "
            "and the model's files) or application/x-tar (metadata.json first)"
        )
    try:
        await pour(
            body,
            reader.feed,
            max_bytes=max_bytes,
            idle_seconds=idle_seconds,
            limit="TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES",
        )
        reader.finish()
    finally:
        incoming.close()


class _Tar:
    """The members of a tar archive, one after the other."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._first = True
        reader = TarReader(self, MAX_FILES * 3)
        self.feed, self.finish = reader.feed, reader.finish

    def begin(self, name: str, size: int) -> None:
        """See `tarball.Sink`."""
        if self._first != (name == METADATA_MEMBER):
            raise InvalidInput(f"the first member of the tar archive, and no other, is {METADATA_MEMBER}")
        if self._first:
            self._incoming.begin_metadata()
        else:
            self._incoming.begin_file(name)
        self._first = False

    def write(self, data: memoryview) -> None:
        """See `tarball.Sink`."""
        self._incoming.write(data)

    def end(self) -> None:
        """See `tarball.Sink`."""
        self._incoming.end()


class _Form:
    """The parser's callbacks: one part after the other."""

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        self._incoming = incoming
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
            "on_part_end": incoming.end,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> None:
        """Parse and write `data`. Blocking."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInput(f"the body is not multipart/form-data as it says: {error}") from error

    def finish(self) -> None:
        """No more comes. Raises `InvalidInput` unless the closing boundary has been seen."""
        if not self._ended:
            raise InvalidInput("the upload was cut off: its closing boundary is missing")

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
            self._incoming.begin_metadata()
        elif b"filename" in options:
            self._incoming.begin_file(options[b"filename"].decode(errors="replace"))
        else:
            name = options.get(b"name", b"").decode(errors="replace")
            raise InvalidInput(f"the part {name!r} is neither `metadata` nor a file")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._incoming.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._ended = True
